"""A folder that files drop into: each finished video once, whole, and out of the way; nothing overwritten."""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from frame_numbers import number_in, numbered_film
from patience import PATIENCE_S

from facesieve.serve_config import CameraTable, ServeConfig
from facesieve.serve_plan import camera_plan
from facesieve.stream.errors import ConfigError
from facesieve.stream.serve.address import camera_address
from facesieve.stream.serve.buffer import Arrived, FrameBuffer, SessionEnded
from facesieve.stream.serve.drop import DropFolder
from facesieve.stream.serve.drop_files import Settling, away, noted
from facesieve.stream.serve.reader import CameraSettings, CameraStatus, ReaderParts, State

SETTINGS = CameraSettings(hz=0.0, settle_s=0.3, backoff_first_s=0.2)
NOTE = ".facesieve.json"


class Wall:
    def now_s(self) -> float:
        return time.time()


class Watched:
    """A folder's reader, and a taker that is done with each frame at once."""

    def __init__(self, folder: Path, settings: CameraSettings = SETTINGS) -> None:
        self.states: list[CameraStatus] = []
        self.numbers: dict[int, list[int]] = {}
        self.fails = ""
        buffer = FrameBuffer("block", 4)
        parts = ReaderParts("drop", settings, buffer, Wall(), random.Random(0), self.states.append)
        self.reader = DropFolder(camera_address(f"{folder}/"), parts)
        self.reader.start()

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, ([(s.state, s.reason) for s in self.states], self.numbers)
            self.step()

    def step(self) -> None:
        item = self.reader.buffer.take(0.05)
        if isinstance(item, Arrived):
            picture = item.frame.picture
            number = number_in(picture.region(0, 0, picture.width, picture.height))
            self.numbers.setdefault(item.session, []).append(number)
            self.reader.buffer.processed = item
        elif isinstance(item, SessionEnded):
            self.reader.buffer.settle(item.session, self.fails)

    def told(self) -> str:
        return " | ".join(status.reason for status in self.states)


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(folder: Path, settings: CameraSettings = SETTINGS) -> Watched:
        made.append(Watched(folder, settings))
        return made[-1]

    yield make
    for watched in made:
        assert watched.reader.stop(PATIENCE_S)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames that show 0 … 39."""
    return numbered_film(tmp_path_factory.mktemp("films") / "film.mp4")


def put(film: Path, at: Path, *, changed_s: float | None = None) -> None:
    """The film comes under its name whole."""
    coming = at.with_name(".coming")
    coming.write_bytes(film.read_bytes())
    if changed_s is not None:
        os.utime(coming, (changed_s, changed_s))
    coming.rename(at)


def test_files_are_processed_whole_once_in_order_and_moved(drop: Path, film: Path, watch) -> None:
    put(film, drop / "b.mp4", changed_s=1000)
    put(film, drop / "a.mp4", changed_s=2000)
    watched = watch(drop)
    watched.until(lambda: (drop / "done" / "a.mp4").exists())
    assert watched.numbers == {1: list(range(40)), 2: list(range(40))}
    assert watched.told().index("b.mp4") < watched.told().index("a.mp4")
    assert sorted(path.name for path in drop.iterdir()) == ["done", "failed"]
    assert (drop / "done" / "b.mp4").read_bytes() == film.read_bytes()
    watched.until(lambda: watched.reader.status.reason == "waiting for files")
    assert watched.reader.status.state is State.LIVE
    assert watched.reader.buffer.dropped == 0


def test_one_that_is_still_being_written_waits(tmp_path: Path, film: Path, watch) -> None:
    settle_s, early, longest_s = 0.1, False, math.inf
    while longest_s >= settle_s:  # the machine paused for so long that the film did count as finished
        settle_s *= 3
        drop = tmp_path / f"{settle_s:.1f}"
        drop.mkdir()
        watched = watch(drop, replace(SETTINGS, settle_s=settle_s))
        early, longest_s = write_slowly(film.read_bytes(), drop / "slow.mp4", watched, 0.4 * settle_s)
    assert not early
    watched.until(lambda: (drop / "done" / "slow.mp4").exists())
    assert watched.numbers == {1: list(range(40))}


def write_slowly(data: bytes, at: Path, watched: Watched, pause_s: float) -> tuple[bool, float]:
    """Whether it was read meanwhile; the longest time, in seconds, in which it may have stayed as it was."""
    longest_s, part, before = 0.0, len(data) // 12, time.monotonic()
    with at.open("wb", buffering=0) as out:
        for start in range(0, len(data), part):
            changing = time.monotonic()
            out.write(data[start : start + part])
            longest_s, before = max(longest_s, time.monotonic() - before), changing
            while time.monotonic() < changing + pause_s:
                watched.step()
    was_read = bool(watched.numbers)
    return was_read, max(longest_s, time.monotonic() - before)


def test_what_is_no_video_or_cannot_be_read_goes_to_failed_and_the_rest_goes_on(
    drop: Path, film: Path, watch
) -> None:
    data = film.read_bytes()
    (drop / "0-cut.mp4").write_bytes(data[: len(data) // 2])  # its index was at the end
    (drop / "1-text.txt").write_text("no film")
    (drop / "2-empty.mp4").touch()
    put(film, drop / "3-good.mp4")
    watched = watch(drop)
    watched.until(lambda: (drop / "done" / "3-good.mp4").exists())
    watched.until(lambda: len(list((drop / "failed").iterdir())) == 3)
    assert "truncated" in watched.told()
    assert "empty" in watched.told()
    assert list(watched.numbers.values()) == [list(range(40))]


def test_the_readable_part_of_a_damaged_film_is_used_and_the_rest_told(
    drop: Path, tmp_path: Path, watch
) -> None:
    import subprocess

    film, fast = numbered_film(tmp_path / "film.mp4"), tmp_path / "fast.mp4"
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(film), "-c", "copy"]
    subprocess.run([*command, "-movflags", "+faststart", str(fast)], check=True)
    data = fast.read_bytes()
    (drop / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    watched = watch(drop)
    watched.until(lambda: (drop / "done" / "cut.mp4").exists())
    watched.until(lambda: "bytes early" in watched.reader.status.reason)
    [seen] = watched.numbers.values()
    assert 10 < len(seen) < 40
    assert seen == list(range(len(seen)))


def test_nothing_is_overwritten(drop: Path, film: Path, watch) -> None:
    (drop / "done").mkdir()
    (drop / "done" / "a.mp4").write_text("an earlier one")
    put(film, drop / "a.mp4")
    watched = watch(drop)
    watched.until(lambda: (drop / "done" / "a-1.mp4").exists() and not (drop / "a.mp4").exists())
    assert (drop / "done" / "a.mp4").read_text() == "an earlier one"
    assert (drop / "done" / "a-1.mp4").read_bytes() == film.read_bytes()


def test_hidden_and_unfinished_files_links_pipes_and_folders_are_left_alone(
    drop: Path, film: Path, tmp_path: Path, watch
) -> None:
    put(film, drop / ".hidden.mp4")
    put(film, drop / "upload.mp4.part")
    put(film, tmp_path / "elsewhere.mp4")
    (drop / "link.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    os.mkfifo(drop / "pipe.mp4")
    (drop / "folder.mp4").mkdir()
    before = sorted(path.name for path in drop.iterdir())
    watched = watch(drop)
    put(film, drop / "z.mp4")
    watched.until(lambda: (drop / "done" / "z.mp4").exists())
    until = time.monotonic() + 1.0
    watched.until(lambda: time.monotonic() > until)
    assert sorted(path.name for path in drop.iterdir() if path.name != NOTE) == sorted(
        [*before, "done", "failed"]
    )
    assert len(watched.numbers) == 1
    assert (tmp_path / "elsewhere.mp4").exists()


def test_hostile_names(drop: Path, film: Path, watch) -> None:
    names = [
        b"-rf.mp4",
        b"a\nb\x1b[31m.mp4",
        b"\xff\xfe.mp4",
        "…/".replace("/", "⁄").encode() + "‮4pm.exe".encode(),
        b"x" * 251 + b".mp4",
        b"%s {} $(reboot) `id`.mp4",
    ]
    for name in names:
        put(film, drop / os.fsdecode(name))
    (drop / "done").mkdir()
    (drop / "done" / ("x" * 251 + ".mp4")).write_text("an earlier one")
    watched = watch(drop)
    watched.until(lambda: len(os.listdir(os.fsencode(drop / "done"))) == len(names) + 1)
    moved = os.listdir(os.fsencode(drop / "done"))
    assert set(names) <= set(moved)
    assert max(map(len, moved)) <= 255
    assert all(seen == list(range(40)) for seen in watched.numbers.values())
    assert "\n" not in watched.told()
    assert "\x1b" not in watched.told()


def test_a_restart_goes_on_where_the_film_was(drop: Path, film: Path, watch) -> None:
    put(film, drop / "a.mp4")
    first = watch(drop)
    first.until(lambda: len(first.numbers.get(1, [])) >= 15)
    assert first.reader.stop(PATIENCE_S)
    assert (drop / "a.mp4").exists()
    seen = first.numbers[1]
    second = watch(drop)
    second.until(lambda: (drop / "done" / "a.mp4").exists())
    assert seen + second.numbers[1] == list(range(40))


def test_a_file_that_was_done_before_a_crash_is_only_moved(drop: Path, film: Path, watch) -> None:
    put(film, drop / "a.mp4")
    facts = (drop / "a.mp4").lstat()
    told = {
        "name": "a.mp4",
        "version": [facts.st_size, facts.st_mtime_ns, facts.st_ino],
        "next_index": 0,
        "verdict": "done",
    }
    (drop / NOTE).write_text(json.dumps(told))
    watched = watch(drop)
    watched.until(lambda: (drop / "done" / "a.mp4").exists())
    until = time.monotonic() + 1.0
    watched.until(lambda: time.monotonic() > until)
    assert not watched.numbers
    assert not (drop / NOTE).exists()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"name": "../x", "version": [1, 2, 3], "next_index": 0, "verdict": null}',
     '{"name": "x", "version": [1, 2], "next_index": 0, "verdict": null}',
     '{"name": "x", "version": [1, 2, 3], "next_index": 0, "verdict": "elsewhere"}'],
)  # fmt: skip
def test_a_note_that_is_not_ours_says_nothing(drop: Path, text: str) -> None:
    (drop / NOTE).write_text(text)
    assert noted(drop) is None


def test_a_session_that_the_pipeline_failed_is_told(drop: Path, film: Path, watch) -> None:
    put(film, drop / "a.mp4")
    watched = watch(drop)
    watched.fails = "processing it failed, see the log"
    watched.until(lambda: (drop / "failed" / "a.mp4").exists())
    watched.until(lambda: "processing it failed" in watched.reader.status.reason)


def test_a_folder_that_is_away_is_told_and_comes_back(tmp_path: Path, film: Path, watch) -> None:
    watched = watch(tmp_path / "later")
    watched.until(lambda: watched.reader.status.state is State.BACKING_OFF)
    assert "no such folder" in watched.reader.status.reason
    (tmp_path / "later").mkdir()
    put(film, tmp_path / "later" / "a.mp4")
    watched.until(lambda: (tmp_path / "later" / "done" / "a.mp4").exists())


def test_done_must_not_lead_elsewhere(drop: Path, film: Path, tmp_path: Path, watch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (drop / "done").symlink_to(tmp_path / "elsewhere")
    put(film, drop / "a.mp4")
    watched = watch(drop)
    watched.until(lambda: watched.reader.status.state is State.BACKING_OFF)
    assert "link" in watched.reader.status.reason
    assert not watched.numbers
    assert not list((tmp_path / "elsewhere").iterdir())


def test_settling_counts_anew_with_each_change(drop: Path) -> None:
    path, settling = drop / "a.mp4", Settling(drop, 5.0)
    path.write_bytes(b"1")
    assert settling.finished(0.0) is None
    assert settling.finished(4.9) is None
    path.write_bytes(b"12")
    assert settling.finished(5.1) is None
    assert settling.finished(10.0) is None
    assert settling.finished(10.2) == "a.mp4"


def test_a_name_that_is_taken_gets_a_number(drop: Path) -> None:
    (drop / "done").mkdir()
    kept = []
    for i in range(3):
        (drop / "a.b.mp4").write_text(str(i))
        kept.append(away(drop, "a.b.mp4", "done"))
    assert kept == ["a.b.mp4", "a.b-1.mp4", "a.b-2.mp4"]
    assert [(drop / "done" / name).read_text() for name in kept] == ["0", "1", "2"]


def test_configuration(tmp_path: Path) -> None:
    plan = camera_plan(CameraTable(name="drop", url=str(tmp_path), settle_s=2), ServeConfig())
    assert (plan.address.transport, plan.policy, plan.settings.settle_s) == ("folder", "block", 2)
    assert camera_plan(CameraTable(name="x", url="/not/there/"), ServeConfig()).address.transport == "folder"
    with pytest.raises(ConfigError, match="two streams"):
        camera_plan(CameraTable(name="x", url=str(tmp_path), detect_url="rtsp://h/x"), ServeConfig())
