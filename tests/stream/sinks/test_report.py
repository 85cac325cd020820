from __future__ import annotations

import base64
import dataclasses
import errno
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.stream.errors import OutputFull, OutputUnwritable, SourceMissing, SourceUnreadable
from facesieve.stream.sinks import FolderSink, render_report, words
from facesieve.stream.sinks.pictures import thumbnail
from facesieve.stream.sinks.plot import Axis
from facesieve.stream.sinks.words import clock, reason, score, sieve, span
from facesieve.stream.types import Rejection, TrackEnd

HOSTILE = "<script>alert(1)</script>\n\"quoted\" & 'more' $cards \u202e.mp4"


def page(out: Path, results, run=None) -> str:
    with FolderSink(out) as sink:
        for result in results:
            sink.write(result)
        return sink.finish(run or {"source": {"name": "lobby.mp4", "duration_s": 12.5}}).read_text("utf-8")


class Elements(HTMLParser):
    """Tags with their attributes, and the text outside style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        if self.tags and self.tags[-1][0] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize(
    ("length_s", "starts", "said", "ends"),
    [
        (12.5, (0, 8), "12.5 s", ("0:00.0", "0:12.5")),
        (9.2, (0.9, 8.1), "9.2 s", ("0:00.8", "0:10.0")),  # its first frame is late
        (20.0, (5000, 5010), "20.0 s", ("1:23:11.9", "1:23:31.9")),  # a piece of a stream
        (12.5, (-0.3, 8), "12.5 s", ("−0:00.3", "0:12.2")),
        (2.0, (1, 8), "8.9 s", ("0:01.0", "0:09.9")),  # shorter by its header than it is
        (None, (1, 8), None, ("0:00.0", "0:09.9")),
    ],
)
def test_the_time_axis_is_as_long_as_the_film(
    tmp_path: Path, make_result, length_s: float | None, starts, said: str | None, ends: tuple[str, str]
) -> None:
    tracks = [make_result(i, start_s=start) for i, start in enumerate(starts, 1)]
    html = page(tmp_path, tracks, {"source": {"name": "film", "duration_s": length_s}})
    found = re.search(
        r'class="presence".*?<figcaption><span>(.*?)</span>.*<span>(.*?)</span></figcaption>', html
    )
    assert found
    assert found.groups() == ends
    length = re.search(r"<li>(.*?) of video</li>", html)
    assert (length and length[1]) == said
    inside = re.search(r'class="presence".*?</svg>', html)
    assert inside
    for x, width in re.findall(r' x="([-\d.]+)" y="\d+" width="([\d.]+)"', inside[0]):
        assert float(x) >= 0
        assert float(x) + float(width) <= 1000.1


def test_the_page_needs_nothing_but_itself(tmp_path: Path, make_result) -> None:
    html = page(tmp_path, [make_result(1), make_result(2)])
    elements = Elements(html)
    assert {image["src"].split(",")[0] for image in elements.all("img")} == {"data:image/jpeg;base64"}
    assert not elements.all("link")
    assert not [script for script in elements.all("script") if script]
    assert "http" not in re.sub(r"http-equiv", "", html)
    policy = elements.all("meta")[2]["content"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_a_hostile_name_is_text(tmp_path: Path, make_result) -> None:
    html = page(tmp_path, [make_result(1, source=HOSTILE)], {"source": {"name": HOSTILE}})
    elements = Elements(html)
    assert len(elements.all("script")) == 1
    assert HOSTILE in elements.text
    assert html.count("<article") == 1


def test_a_name_that_is_no_unicode(tmp_path: Path, make_result) -> None:
    name = "caf\udce9\x00.mp4"  # as Python reads a file name in Latin-1
    html = page(tmp_path, [make_result(1, source=name)], {"source": {"name": name}})
    assert "<h1>caf\ufffd" in html


def test_what_a_track_s_card_says(tmp_path: Path, make_result) -> None:
    text = Elements(page(tmp_path, [make_result(3, (0.8, 0.6), start_s=65.0)])).text
    for said in (
        "12.5 s of video",
        "1 track",
        "20 faces seen",
        "2 shots kept",
        "scored by drawn-1",
        "Track 3",
        "1:05.0 – 1:06.9",
        "Kept 2 of 20: outscored (13), too small (5)",
        "sharpness",
    ):
        assert said in text, said


def test_people_are_counted_when_tracks_have_identities(tmp_path: Path, make_result) -> None:
    results = [make_result(1, identity=4), make_result(2, identity=4), make_result(3, identity=5)]
    text = Elements(page(tmp_path, results)).text
    assert "2 people" in text
    assert "Person 5" in text


def test_the_plot_holds_every_candidate_and_marks_the_kept(tmp_path: Path, make_result) -> None:
    html = page(tmp_path, [make_result(1, (0.8, 0.6, 0.4))])
    marks = re.findall(r'class="mark" data-rank="(\d)"', html)
    assert sorted(marks) == ["1", "2", "3"]
    dots = re.search(r'class="dots" d="([^"]*)"', html).group(1)
    assert dots.count("M") == 17


def test_pictures_are_numbered_instead_of_timed(tmp_path: Path, make_result) -> None:
    run = {"source": {"name": "holiday", "stills": True}, "counts": {"frames": 40}}
    elements = Elements(page(tmp_path, [make_result(1), make_result(2, start_s=1.0)], run))
    assert "40 pictures" in elements.text
    assert "picture 11" in elements.text
    assert "0:0" not in elements.text
    assert [f["name"] for f in elements.all("input") if f["type"] == "range"] == ["score"]


def test_a_person_of_several_pictures_is_counted_in_pictures_and_unkept_ones_are_numbered(
    tmp_path: Path, make_result
) -> None:
    run = {"source": {"name": "holiday", "stills": True}, "counts": {"frames": 40}}
    found = [
        dataclasses.replace(made, summary=dataclasses.replace(made.summary, identity=1))
        for made in (make_result(1), make_result(2, start_s=6.0))
    ]
    elements = Elements(page(tmp_path, [*found, make_result(3, (), start_s=8.0)], run))
    assert "2 pictures" in elements.text
    assert "in view" not in elements.text.replace("In view", "")
    assert "picture 7" in elements.text
    assert "picture 9" in elements.text


def test_tracks_without_shots_are_listed_with_their_reasons(tmp_path: Path, make_result) -> None:
    html = page(tmp_path, [make_result(1), make_result(2, ())])
    assert html.count("<article") == 1
    assert "Nothing kept of <span>1 track</span>" in html
    assert "outscored (15), too small (5)" in html


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            {
                "source": {"name": "empty.mp4", "duration_s": 4.0},
                "counts": {"frames": 100, "frames_detected": 33},
                "models": [{"task": "detection", "name": "CenterFace"}],
            },
            "100 frames read, 33 of them searched for faces with CenterFace.",
        ),
        ({"source": {"stills": True}, "counts": {"frames": 1}}, "1 picture read."),
        ({}, "It is not known what was looked at"),
    ],
)
def test_no_face_says_what_was_looked_at(tmp_path: Path, run, said: str) -> None:
    text = Elements(page(tmp_path, [], run or {"config": {}})).text
    assert "No face was found" in text
    assert said in text


def test_faces_but_no_shot_says_why(tmp_path: Path, make_result) -> None:
    html = page(tmp_path, [make_result(1, ())])
    assert "No shot was kept" in html
    assert '<details class="unkept" open>' in html


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"interrupted": True}, "This run was interrupted"),
        ({"error": "cannot decode 'a<b'"}, "This run failed: cannot decode &#x27;a&lt;b&#x27;."),
        ({"source": {"damage": "ends after 3 s"}}, "Only part of the source could be read: ends after 3 s"),
    ],
)
def test_an_incomplete_run_is_not_shown_as_complete(tmp_path: Path, make_result, run, said: str) -> None:
    assert said in page(tmp_path, [make_result(1)], run)


def test_a_killed_run_can_be_reported(tmp_path: Path, make_result) -> None:
    sink = FolderSink(tmp_path)
    sink.write(make_result(1))
    html = render_report(tmp_path).read_text()
    sink.close()
    assert "This run did not end by itself" in html
    assert html.count("<article") == 1


def test_a_shot_whose_track_was_not_finished_is_not_shown(tmp_path: Path, make_result) -> None:
    page(tmp_path, [make_result(1), make_result(2)])
    (first, _) = (tmp_path / "tracks.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "tracks.jsonl").write_text(first)
    text = Elements(render_report(tmp_path).read_text()).text
    assert "2 shots kept" in text
    assert "Track 2" not in text


def test_a_full_disk_leaves_the_earlier_report(tmp_path: Path, make_result, monkeypatch) -> None:
    first = page(tmp_path, [make_result(1)])

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputFull, match=r"report\.html': No space left"):
        render_report(tmp_path)
    assert (tmp_path / "report.html").read_text("utf-8") == first
    assert not (tmp_path / "report.html.part").exists()


def test_it_can_be_made_again_with_equal_bytes(tmp_path: Path, make_result) -> None:
    first = page(tmp_path, [make_result(1), make_result(2)])
    (tmp_path / "report.html").unlink()
    assert render_report(tmp_path).read_text("utf-8") == first


def test_a_picture_that_was_removed_leaves_a_gap(tmp_path: Path, make_result) -> None:
    page(tmp_path, [make_result(1)])
    (tmp_path / "shots/1/1.jpg").unlink()
    html = render_report(tmp_path).read_text()
    assert html.count("picture not in the folder") == 1
    assert html.count("<img") == 1


def test_pictures_are_reduced_but_never_enlarged_nor_read_through_links(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 400, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for name, image in (("big.jpg", noise), ("small.jpg", noise[:60, :40])):
        cv2.imwrite(str(tmp_path / "in" / name), image)
    big = thumbnail(tmp_path / "in", "big.jpg", 320)
    assert (big.width, big.height) == (213, 320)
    data = base64.b64decode(big.uri.removeprefix("data:image/jpeg;base64,"))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (320, 213, 3)
    small = thumbnail(tmp_path / "in", "small.jpg", 320)
    assert (small.width, small.height) == (40, 60)
    cv2.imwrite(str(tmp_path / "private.jpg"), noise)
    (tmp_path / "in" / "link.jpg").symlink_to(tmp_path / "private.jpg")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    for name in ("link.jpg", "broken.jpg", "empty.jpg", "missing.jpg", "../private.jpg"):
        assert thumbnail(tmp_path / "in", name, 320) is None, name


def test_no_results_here(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"expected results of a run in .*no tracks\.jsonl"):
        render_report(tmp_path)


def test_a_run_record_of_another_kind_is_refused(tmp_path: Path, make_result) -> None:
    page(tmp_path, [make_result(1)])
    (tmp_path / "run.json").write_text('{"schema": "facesieve.run/2"}')
    with pytest.raises(SourceUnreadable, match=r"run\.json': schema: "):
        render_report(tmp_path)


def test_a_folder_in_the_report_s_place(tmp_path: Path, make_result) -> None:
    with FolderSink(tmp_path) as sink:
        sink.write(make_result(1))
        (tmp_path / "report.html").mkdir()
        with pytest.raises(OutputUnwritable, match=r"report\.html'"):
            sink.finish({})


def test_many_tracks_stay_small_and_quick(tmp_path: Path, make_result) -> None:
    with FolderSink(tmp_path) as sink:
        for track in range(300):
            sink.write(make_result(track, (0.8, 0.6, 0.4), start_s=track * 1.5))
    begun = time.process_time()
    assert render_report(tmp_path).stat().st_size < 300 * 30_000
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00.0"),
        (3.24, "0:03.2"),
        (59.96, "1:00.0"),
        (3723.05, "1:02:03.0"),
        (-1.5, "−0:01.5"),
        (-0.01, "0:00.0"),
    ],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (3780, "1 h 3 min")]
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_every_reason_and_end_has_words(make_result) -> None:
    assert (
        sieve(3, 41, {"pose": 9, "small": 29, "blurred": 0})
        == "Kept 3 of 41: too small (29), turned away (9)"
    )
    assert sieve(1, 1, {}) == "Kept 1 of 1"
    assert set(words._REASONS) == set(Rejection)
    assert set(words._ENDS) == set(TrackEnd)
    assert reason("eyes_closed") == "eyes closed"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.815, "0.81"), (0.0123, "0.0123"), (-3.0, "-3.00")]
)
def test_score(value: float, text: str) -> None:
    assert score(value) == text


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([], 0, 1),
        ([0.0], 0, 1),
        ([0.2, 0.81], 0.2, 0.85),
        ([0.7], 0.63, 0.7),
        ([-2.2, 1.0], -2.5, 1),
        ([37.0, 12.0], 10, 40),
    ],
)
def test_the_score_axis_is_round_and_holds_every_score(values, low: float, high: float) -> None:
    axis = Axis.around(values)
    assert (axis.low, axis.high) == pytest.approx((low, high))
