"""The report by people: identities.jsonl, several sources, windows, measures of a face, long pages."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from facesieve.stream.components.profile import parse_profile
from facesieve.stream.errors import ConfigError, OutputUnwritable, SourceMissing, SourceUnreadable
from facesieve.stream.sinks import FolderSink, render_report, report
from facesieve.stream.sinks.gallery import read_gallery
from facesieve.stream.sinks.words import shortfall, sieve
from facesieve.stream.types import TrackResult

HOSTILE = "</script><script>alert(1)</script><!--\"'&$cards.mp4"


def write(out: Path, results, run: dict[str, Any] | None = None) -> Path:
    with FolderSink(out) as sink:
        for result in results:
            sink.write(result)
        return sink.finish(run or {"source": {"name": f"{out.name}.mp4", "duration_s": 30.0}})


def identity(number: int, tracks: list[tuple[str, int]], shots: list[tuple[str, int, int]]) -> dict[str, Any]:
    return {
        "schema": "facesieve.identity/1",
        "identity": number,
        "tracks": [{"folder": folder, "track": track, "source": "?"} for folder, track in tracks],
        "shots": [{"folder": folder, "track": track, "rank": rank} for folder, track, rank in shots],
    }


def identities(out: Path, *lines: dict[str, Any]) -> None:
    (out / "identities.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        change(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def card(html: str, name: str) -> str:
    """The HTML of one card."""
    return re.search(rf'<article class="card" id="{name}".*?</article>', html, re.DOTALL).group()


def text(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", " ", html))


@pytest.fixture
def two_sources(tmp_path: Path, make_result) -> Path:
    """Door: tracks 1 and 2; hall: track 1. Person 7 is the door's track 2 and the hall's track 1."""
    write(tmp_path / "door", [make_result(1, (0.5,)), make_result(2, (0.7, 0.6), start_s=4.0)])
    write(tmp_path / "hall", [make_result(1, (0.9, 0.3)), make_result(3, (), start_s=9.0)])
    identities(tmp_path, identity(7, [("door", 2), ("hall", 1)], [("hall", 1, 1), ("door", 2, 2)]))
    return tmp_path


def test_a_person_s_card_spans_sources(two_sources: Path) -> None:
    html = render_report(two_sources).read_text()
    person = card(html, "person-7")
    assert re.findall(r'<a href="([^"]*)" title', person) == ["hall/shots/1/1.jpg", "door/shots/2/2.jpg"]
    said = text(person)
    for words in (
        "Person 7",
        "2 tracks",
        "2 sources",
        "door.mp4",
        "hall.mp4",
        "Kept 4 of 40: outscored (26)",
    ):
        assert words in said, words
    assert person.count("<summary>Track") == 2
    assert "<details open><summary>Track 1" in person  # the best shot's


def test_whoever_is_in_no_identity_has_a_card_too(two_sources: Path) -> None:
    html = render_report(two_sources).read_text()
    assert re.findall(r'<article class="card" id="([^"]*)"', html) == ["track-1", "person-7"]
    assert "Nothing kept of <span>1 track</span>" in html
    assert "1 person" in text(html)
    assert 'href="door/report.html"' in html


def test_without_identities_the_tracks_say_who_is_who(tmp_path: Path, make_result) -> None:
    results = [make_result(1, identity=2), make_result(2, (0.9,), identity=2), make_result(3)]
    html = write(tmp_path, results).read_text()
    assert re.findall(r'<article class="card" id="([^"]*)"', html) == ["person-2", "track-3"]
    assert re.findall(r'href="([^"]*)"', card(html, "person-2"))[:3] == [
        "shots/2/1.jpg",
        "shots/1/1.jpg",
        "shots/1/2.jpg",
    ]


@pytest.mark.parametrize("folder", ["..", "../secret", "/etc", "door/../../secret", "", "nowhere"])
def test_identities_lead_to_no_other_folder(two_sources: Path, folder: str) -> None:
    identities(two_sources, identity(7, [(folder, 1), ("hall", 1)], [(folder, 1, 1), ("hall", 1, 2)]))
    html = render_report(two_sources).read_text()
    person = card(html, "person-7")
    assert 'data-tracks="1:1"' in person
    assert re.findall(r'<a href="([^"]*)" title', person) == ["hall/shots/1/2.jpg"]
    assert "secret" not in html


def test_tracks_and_shots_that_are_not_there_are_passed_over(two_sources: Path) -> None:
    gone = identity(8, [("door", 99)], [("door", 99, 1)])
    odd = identity(9, [("door", 1)], [("door", 1, 5), ("door", 2, 1)])
    identities(two_sources, gone, odd)
    gallery = read_gallery(two_sources)
    (person,) = [person for person in gallery.people if person.identity is not None]
    assert (person.identity, person.tracks) == (9, ((0, 1),))
    kept = gallery.kept(person)
    assert [shown.shot.rank for shown in gallery.chosen(person, kept)] == [1]


def test_a_broken_identities_file_is_named(two_sources: Path) -> None:
    (two_sources / "identities.jsonl").write_text('{"schema": "facesieve.identity/2"}\n')
    with pytest.raises(SourceUnreadable, match=r"identities\.jsonl' line 1: schema: "):
        render_report(two_sources)


def test_links_are_not_sources(two_sources: Path, tmp_path_factory, make_result) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere / "private", [make_result(1)])
    (two_sources / "link").symlink_to(elsewhere / "private")
    assert [source.folder for source in read_gallery(two_sources).sources] == ["door", "hall"]


def test_a_folder_without_results(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceMissing, match=r"expected results of a run in"):
        render_report(tmp_path)


def test_a_page_that_is_not_ours_is_not_overwritten(two_sources: Path) -> None:
    (two_sources / "report.html").write_text("<p>my own notes</p>")
    with pytest.raises(OutputUnwritable, match=r"report\.html' was not written by facesieve"):
        render_report(two_sources)
    assert (two_sources / "report.html").read_text() == "<p>my own notes</p>"


def test_what_a_source_lacks_is_said_with_its_name(two_sources: Path) -> None:
    (two_sources / "hall" / "run.json").unlink()
    html = render_report(two_sources).read_text()
    assert "<b>lobby.mp4</b>: This run did not end by itself" in html  # as its tracks name it


def test_each_source_begins_where_its_own_clock_does(tmp_path: Path, make_result) -> None:
    """A film, and a piece of a stream that had gone on for hours."""
    for folder, start_s, length_s in (("film", 10.0, 40.0), ("piece", 5018.1, 20.0)):
        run = {"source": {"name": folder, "duration_s": length_s}}
        write(tmp_path / folder, [make_result(1, start_s=start_s, identity=1)], run)
    identities(tmp_path, identity(1, [("film", 1), ("piece", 1)], [("film", 1, 1)]))
    html = card(render_report(tmp_path).read_text(), "person-1")
    assert "<span>0:00.0</span><span>0:40.0</span>" in html
    rails = re.findall(
        r'class="rail" y="4" width="([\d.]+)" height="2"/>.*?class="seen".*? x="([\d.]+)"', html
    )
    assert rails == [("1000.0", "250.0"), ("500.0", "452.5")]


def test_windows_are_one_track(tmp_path: Path, make_result) -> None:
    write(tmp_path, [make_result(1, (0.5, 0.4)), make_result(2, (0.9,), start_s=10.0)])

    def second_window(line: dict[str, Any]) -> None:
        if line["track"] == 2:
            line.update(track=1, window=1)
        elif "end" in line:
            line["end"] = "window"

    for name in ("shots.jsonl", "tracks.jsonl"):
        edit(tmp_path / name, second_window)
    (tmp_path / "shots/2").rename(tmp_path / "shots/1-w1")
    html = render_report(tmp_path).read_text()
    assert re.findall(r'<article class="card" id="([^"]*)"', html) == ["track-1"]
    assert re.findall(r'<a href="([^"]*)" title', html) == [
        "shots/1-w1/1.jpg",
        "shots/1/1.jpg",
        "shots/1/2.jpg",
    ]
    said = text(html)
    assert "0:00.0 – 0:11.9" in said
    assert "2 windows" in said
    assert "lost from view" in said
    assert "Kept 3 of 40" in said
    assert "picture not in the folder" not in html


def test_measures_badges_and_failed_requirements(tmp_path: Path, make_result) -> None:
    run = {"source": {"name": "door.mp4"}, "config": {"selection": {"max_yaw_deg": 40.0}}}
    write(tmp_path, [make_result(1, (0.5, 0.4)), make_result(2, (), start_s=3.0)], run)

    def measured(line: dict[str, Any]) -> None:
        line["components"] = {"eyes_visible": 87.0, "yaw_deg": -31.4, "a<b": 500.0}
        line["enrol"] = line["rank"] == 1

    def turned(line: dict[str, Any]) -> None:
        if line["track"] == 2:
            line["rejected"] = {"pose": 12, "unfit": 8}
            line["failed"] = {"yaw": 12, "inter_eye_distance": 8}

    edit(tmp_path / "shots.jsonl", measured)
    edit(tmp_path / "tracks.jsonl", turned)
    html = render_report(tmp_path).read_text()
    track = card(html, "track-1")
    assert track.count(">enrol<") == 1
    assert '<dt>eyes uncovered</dt><dd><svg aria-hidden="true"><rect width="87.0%"/></svg>' in track
    assert '<dt>yaw</dt><dd><svg aria-hidden="true"><rect x="32.6%" width="17.4%"/></svg>' in track
    assert "−31°" in track
    assert '<dt>a&lt;b</dt><dd><svg aria-hidden="true"><rect width="100.0%"/></svg>' in track
    assert "yaw &gt; 40° (12), too small (8)" in html


def test_shots_are_held_against_a_profile(tmp_path: Path, make_result) -> None:
    asked = parse_profile("[yaw_deg]\nmax = 20\n[sharpness]\nmin = 50", "door", "door.toml")
    write(tmp_path, [make_result(1, (0.5, 0.4))])
    with pytest.raises(ConfigError, match=r"no shot was measured, so none can be held against door"):
        render_report(tmp_path, asked)

    def measured(line: dict[str, Any]) -> None:
        line["components"] = {"sharpness": 60.0, "yaw_deg": -31.0 if line["rank"] == 1 else 3.0}

    edit(tmp_path / "shots.jsonl", measured)
    track = card(render_report(tmp_path, asked).read_text(), "track-1")
    assert "Not fit for door: yaw &gt; 20°" in track
    assert track.count(">door<") == 1


def test_a_run_s_profile_says_what_failed(tmp_path: Path, make_result) -> None:
    run = {"source": {"name": "door.mp4"}, "config": {"selection": {"profile": "surveillance"}}}
    write(tmp_path, [make_result(1), make_result(2, (), start_s=3.0)], run)
    failed = {"yaw_deg": 3, "eyes_open": 2}
    edit(tmp_path / "tracks.jsonl", lambda line: line.update(rejected={"unfit": 5}, failed=failed))
    assert "yaw &gt; 45° (3), eyes closed (2)" in render_report(tmp_path).read_text()
    edit_run = {**run, "config": {"selection": {"profile": "/etc/passwd"}}}
    (tmp_path / "run.json").write_text(json.dumps({"schema": "facesieve.run/1", **edit_run}))
    assert "yaw too large (3)" in render_report(tmp_path).read_text()  # a path in a file is not followed


def test_a_shot_kept_for_want_of_a_fit_one_says_what_it_lacks(tmp_path: Path, make_result) -> None:
    run = {"source": {"name": "door.mp4"}, "config": {"selection": {"profile": "surveillance"}}}
    whole = make_result(1, (0.5, 0.4))
    unfit = tuple(dataclasses.replace(shot, unfit=("eyes_open", "yaw_deg")) for shot in whole.shots)
    write(tmp_path, [dataclasses.replace(whole, shots=unfit), make_result(2, start_s=3.0)], run)
    first, *others = [json.loads(line) for line in (tmp_path / "shots.jsonl").read_text().splitlines()]
    assert first["unfit"] == ["eyes_open", "yaw_deg"]
    assert ["unfit" in line for line in others] == [True, False, False]
    html = render_report(tmp_path).read_text()
    assert card(html, "track-1").count(">not fit: eyes closed, yaw &gt; 45°<") == 2
    assert "not fit" not in card(html, "track-2")


def test_a_course_is_drawn_in_the_unit_of_the_shots(tmp_path: Path, make_result) -> None:
    """Raw scores of a network say nothing to people who read 64 % below the picture beside them."""

    def measured(result: TrackResult) -> TrackResult:
        shots = tuple(
            dataclasses.replace(
                shot, quality=dataclasses.replace(shot.quality, calibrated=shot.quality.score**2)
            )
            for shot in result.shots
        )
        course = tuple(dataclasses.replace(p, calibrated=p.score**2) for p in result.summary.timeline)
        return TrackResult(dataclasses.replace(result.summary, timeline=course), shots)

    write(tmp_path / "a", [measured(make_result(1, (0.8, 0.6)))])
    html = render_report(tmp_path / "a").read_text()
    track = card(html, "track-1")
    assert '<span class="y">100\N{NO-BREAK SPACE}%</span>' in track
    assert '<span class="y low">0\N{NO-BREAK SPACE}%</span>' in track
    assert 'data-unit="%"' in track
    assert "[0.4,64.0,1]" in track
    assert "[0.8,36.0,2]" in track
    assert "how likely the face is to be recognised" in html

    whole = measured(make_result(1, (0.8, 0.6)))
    write(tmp_path / "old", [dataclasses.replace(whole, summary=make_result(1, (0.8, 0.6)).summary)])
    track = card(render_report(tmp_path / "old").read_text(), "track-1")  # shots calibrated, courses not
    assert 'data-unit=""' in track
    assert "[0.4,0.8,1]" in track


def test_pictures_are_counted_where_films_have_a_length(tmp_path: Path, make_result) -> None:
    pictures = {"source": {"name": "album", "stills": True, "duration_s": 4.0}, "counts": {"frames": 4}}
    write(tmp_path / "a", [make_result(1)], pictures)
    write(tmp_path / "b", [make_result(1)], {"source": {"name": "door.mp4", "duration_s": 12.0}})
    html = render_report(tmp_path).read_text()
    assert 'album</a></th><td class="number">4 pictures</td>' in html
    assert 'door.mp4</a></th><td class="number">12.0 s</td>' in html


def test_requirements_in_words() -> None:
    assert sieve(0, 41, {"unfit": 41}, {"yaw": 12, "inter_eye_distance": 29}, {"yaw": "yaw > 40°"}) == (
        "Kept 0 of 41: too small (29), yaw > 40° (12)"
    )
    assert sieve(1, 5, {"unfit": 4}, {"yaw": 4, "eyes_open": 1}).endswith("; some faces in several ways")
    assert sieve(0, 5, {"small": 3, "unfit": 2}, {"inter_eye_distance": 2}) == "Kept 0 of 5: too small (5)"
    assert sieve(0, 3, {"unfit": 3}) == "Kept 0 of 3: below the profile (3)"
    assert shortfall("sharpness") == "not sharp"
    assert shortfall("unheard_of") == "unheard of too low"


@pytest.fixture
def long(tmp_path: Path, make_result, monkeypatch) -> str:
    """A page of five people of which two are HTML and three are text, and of more shots than it may hold."""
    monkeypatch.setattr(report, "WHOLE", 4)
    monkeypatch.setattr(report, "FIRST", 2)
    monkeypatch.setattr(report, "INSIDE", 3)
    tracks = [make_result(n, (0.5, 0.4), start_s=2.0 * n, source=HOSTILE) for n in range(1, 6)]
    unkept = [make_result(n, (), start_s=2.0 * n, source=HOSTILE) for n in range(6, 12)]
    return write(tmp_path, tracks + unkept, {"source": {"name": HOSTILE}}).read_text()


def test_a_long_page_keeps_later_people_as_text(long: str) -> None:
    assert long.count("<article") == 2
    assert long.count('<script type="text/plain" class="card"') == 3
    assert "the first 2 of 5 are shown" in long
    assert "<script>alert" not in long


def test_many_pictures_stay_beside_the_page(long: str) -> None:
    assert "data:image" not in long
    assert set(re.findall(r'<img src="([^"]*)"', long)) == {
        f"shots/{n}/{rank}.jpg" for n in range(1, 6) for rank in (1, 2)
    }
    assert "img-src 'self' file:;" in long


def test_a_name_of_a_folder_is_quoted_in_links(tmp_path: Path, make_result, monkeypatch) -> None:
    monkeypatch.setattr(report, "INSIDE", 0)
    for name in ("a 100%#?", "b"):
        write(tmp_path / name, [make_result(1, (0.5,))])
    html = render_report(tmp_path).read_text()
    assert re.findall(r'<img src="([^"]*)"', html) == ["a%20100%25%23%3F/shots/1/1.jpg", "b/shots/1/1.jpg"]


def test_scores_of_two_models_are_not_compared(two_sources: Path) -> None:
    assert '<option value="score">' in render_report(two_sources).read_text()
    edit(two_sources / "hall" / "shots.jsonl", lambda line: line.update(model="another"))
    html = render_report(two_sources).read_text()
    assert '<option value="score">' not in html
    assert 'name="score"' not in html


def test_equal_results_give_an_equal_page(two_sources: Path) -> None:
    first = render_report(two_sources).read_bytes()
    assert render_report(two_sources).read_bytes() == first
    assert str(two_sources).encode() not in first


def test_names_of_sources_keep_their_case(tmp_path: Path, make_result) -> None:
    write(tmp_path / "Door", [make_result(1, identity=1)])
    write(tmp_path / "hall", [make_result(1, identity=2)])
    assert "track 1 in Door.mp4" in re.sub(r"\s+", " ", text(render_report(tmp_path).read_text()))
