"""What a run shows while it goes on."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest
from patience import until
from rich.console import Console

from facesieve import console
from facesieve.outcome import Outcome, Row
from facesieve.stream.progress import Progress
from facesieve.stream.testing import ListSource
from facesieve.stream.types import Quality, Rejection, TrackEnd, TrackSummary


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rich asks about the terminal, whatever these tests were started in."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")


def followed(
    source: ListSource, progress: Progress, capsys: pytest.CaptureFixture[str], wanted: str = "\n"
) -> list[str]:
    """The first lines that are printed meanwhile, until one has what is wanted."""
    screen, told = console.Screen(quiet=False, as_json=False, stop=threading.Event()), [""]

    def printed() -> bool:
        told[0] += capsys.readouterr().err
        going_on = any(thread.name == "facesieve-progress" for thread in threading.enumerate())
        return wanted in told[0].lstrip("\n") or not going_on

    with screen.following():
        screen.watch(source.name, source, progress)
        until(printed)
    return [line for line in told[0].splitlines() if line]


def test_rates_count_from_the_source_s_first_moment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "PLAIN_EVERY_S", 0.2)
    late = Progress(frames=10, began_s=5000.0, pts_s=5001.0)  # a piece of a stream that had gone on for hours
    lines = followed(ListSource([], name="film.mp4"), late, capsys)
    assert lines
    for line in lines:
        rates = re.fullmatch(
            r"film\.mp4: 10 frames, (\d+) fps \(([\d.]+)× real time\), 0 faces, 0 tracks ended", line
        )
        assert rates is not None, line
        assert int(rates[1]) <= 100  # they need .1 s at least
        assert float(rates[2]) <= 10
        assert late.played_s == 1.0


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal wherever it writes
    shown = "".join(followed(ListSource([], name="film.mp4"), Progress(frames=10, faces=4), capsys, "faces"))
    assert "starting" in shown
    assert re.search(r"film\.mp4 .*10 frames, \d+ fps \([\d.]+× real time\), 4 faces", shown)


@pytest.mark.parametrize("both", [True, False], ids=["terminal", "file"])
def test_what_is_for_standard_output_gets_there_beside_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, both: bool
) -> None:
    """It may be a file, whatever standard error is; where both are the terminal, the bar steps aside."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = console.Screen(quiet=False, as_json=True, stop=threading.Event())
    screen._out = Console(force_terminal=both)
    shown = [""]

    def has_bar() -> bool:
        shown[0] += capsys.readouterr().err
        return "faces" in shown[0]

    with screen.following():
        screen.watch("film.mp4", ListSource([], name="film.mp4"), Progress(frames=10, faces=4))
        until(has_bar)
        screen._tell(lambda: shown.append(capsys.readouterr().err))
        assert shown[1].endswith("\x1b[2K") is both
        screen.outcome(Outcome("film.mp4", tmp_path))
        (line,) = capsys.readouterr().out.splitlines()
        assert json.loads(line)["event"] == "source"


def summary(track: int, first_s: float) -> TrackSummary:
    return TrackSummary("album", track, None, first_s, first_s, 1, 1, 1, {}, TrackEnd.SCENE_CUT)


def table(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    console.Screen(quiet=False, as_json=False, stop=threading.Event()).outcome(outcome)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_pictures_are_named_and_numbered_where_films_have_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row(summary(number, first_s), Quality(0.5, "m", 0.75), f"shots/{number}/1.jpg")
        for number, first_s in ((1, 0.0), (2, 2.0))
    ]
    names = ["a.jpg", "b [red].jpg", "c.jpg"]
    stills = table(Outcome("album", tmp_path, pictures=names, rows=rows), capsys)
    assert stills[1] == ["track", "picture", "best", "file"]
    assert stills[2] == ["1", "1", "a.jpg", "75", "%", "shots/1/1.jpg"]
    assert stills[3] == ["2", "3", "c.jpg", "75", "%", "shots/2/1.jpg"]
    film = table(Outcome("film.mp4", tmp_path, rows=rows), capsys)
    assert film[1] == ["track", "from", "–", "to", "seen", "best", "file"]
    assert film[3] == ["2", "0:02.00", "–", "0:02.00", "1", "75", "%", "shots/2/1.jpg"]
    empty = table(Outcome("album", tmp_path, pictures=names), capsys)
    assert empty[2] == ["no", "face", "found"]


def test_a_track_of_which_nothing_was_kept_says_what_its_faces_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rejected = {Rejection.SMALL: 1, Rejection.UNFIT: 8}
    failed = {"eyes_open": 2, "head_size": 8, "sharpness": 2, "roll": 1}
    unfit = TrackSummary("film", 1, None, 0.0, 1.0, 9, 9, 0, rejected, TrackEnd.LOST, failed=failed)
    console.Screen(quiet=False, as_json=False, stop=threading.Event()).outcome(
        Outcome("film", tmp_path, rows=[Row(unfit, None, None)])
    )
    told = " ".join(capsys.readouterr().out.split())
    assert "none kept: small 1, unfit 8 (head size 8, eyes open 2, sharpness 2)" in told


def test_pictures_have_no_real_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "PLAIN_EVERY_S", 0.1)
    album = ListSource([], name="album", stills=True)
    lines = followed(album, Progress(frames=10, pts_s=9.0, faces=4), capsys)
    assert lines
    assert all(re.fullmatch(r"album: 10 pictures, \d+ a second, 4 faces", line) for line in lines)
