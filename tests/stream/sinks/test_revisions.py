"""Windows and shots told early, on disk."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.stream.errors import OutputFull, OutputUnwritable
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.selection import TopKSelector
from facesieve.stream.sinks import FolderSink, read_candidates
from facesieve.stream.sinks.candidates import CandidateArchive
from facesieve.stream.sinks.records import read_shots, read_tracks
from facesieve.stream.sinks.revisions import read_revisions, revision_record
from facesieve.stream.types import Crop, Quality, ShotRevision, TrackEnd, TrackResult, Why


def window(result: TrackResult, number: int, end: TrackEnd = TrackEnd.WINDOW) -> TrackResult:
    summary = dataclasses.replace(result.summary, window=number, end=end, failed={"yaw": 2})
    return dataclasses.replace(result, summary=summary)


def told(result: TrackResult, number: int = 1, of_window: int = 0) -> ShotRevision:
    shot = result.shots[0]
    return ShotRevision("lobby.mp4", shot.crop.track, of_window, number, 0.5, shot, Why.QUICK)


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_windows_lie_beside_each_other_and_count_as_one_track(tmp_path: Path, make_result) -> None:
    first, last = window(make_result(3), 0), window(make_result(3, (0.9,)), 1, TrackEnd.LOST)
    with FolderSink(tmp_path) as sink:
        sink.write(first)
        sink.write(last)
        with pytest.raises(ValueError, match="got 3, window 1"):
            sink.write(last)
        sink.finish({"source": {"name": "lobby.mp4"}})
    shots, tracks = list(read_shots(tmp_path / "shots.jsonl")), list(read_tracks(tmp_path / "tracks.jsonl"))
    assert [(s.window, s.rank, s.chip) for s in shots] == [
        (0, 1, "shots/3/1_chip.png"),
        (0, 2, "shots/3/2_chip.png"),
        (1, 1, "shots/3-w1/1_chip.png"),
    ]
    assert [(t.window, t.end, t.failed) for t in tracks] == [
        (0, "window", {"yaw": 2}),
        (1, "lost", {"yaw": 2}),
    ]
    for shot, crop in zip(shots, [s.crop for r in (first, last) for s in r.shots], strict=True):
        chip = cv2.imread(str(tmp_path / shot.chip))
        np.testing.assert_array_equal(chip[..., ::-1], crop.chip)
    assert json.loads((tmp_path / "run.json").read_text())["counts"] == {"tracks": 1, "shots": 3}


def test_what_is_told_early_is_on_disk_at_once_with_its_pictures(tmp_path: Path, make_result) -> None:
    result = make_result(3)
    with FolderSink(tmp_path, revisions=True) as sink:
        sink.revise(told(result))
        (revision,) = read_revisions(tmp_path / "revisions.jsonl.part")
        assert (revision.track, revision.revision, revision.why, revision.told_pts_s) == (3, 1, "quick", 0.5)
        assert revision.shot.chip == "shots/3/r1_chip.png"
        chip = cv2.imread(str(tmp_path / revision.shot.chip))
        np.testing.assert_array_equal(chip[..., ::-1], result.shots[0].crop.chip)
        sink.revise(told(result, 2, of_window=1))
        sink.write(result)
    assert names(tmp_path / "shots") == [
        *("3-w1/r2.jpg", "3-w1/r2_chip.png", "3/1.jpg", "3/1_chip.png", "3/2.jpg", "3/2_chip.png"),
        *("3/r1.jpg", "3/r1_chip.png"),
    ]
    assert [r.window for r in read_revisions(tmp_path / "revisions.jsonl")] == [0, 1]
    with FolderSink(tmp_path, overwrite=True):
        assert names(tmp_path) == ["shots.jsonl.part", "tracks.jsonl.part"]


def test_a_line_reads_back_and_is_the_shots_line_but_for_its_files(tmp_path: Path, make_result) -> None:
    result = make_result(3)
    record = revision_record(told(result))
    (tmp_path / "r").write_text(record.line() + "\n")
    assert list(read_revisions(tmp_path / "r")) == [record]
    assert record.line().startswith('{"schema":"facesieve.revision/1","source":"lobby.mp4","track":3,')
    with FolderSink(tmp_path / "out") as sink:
        sink.write(result)
    written = json.loads((tmp_path / "out/shots.jsonl").read_text().splitlines()[0])
    early = json.loads(record.line())["shot"]
    changed = {key for key in written if written[key] != early[key]}
    assert early.keys() == written.keys()
    assert changed == {"chip", "portrait"}
    assert "embedding" not in early
    assert "embedding" in json.loads(revision_record(told(result), embedding=True).line())["shot"]


def test_early_shots_must_be_asked_for(tmp_path: Path, make_result) -> None:
    with FolderSink(tmp_path) as sink, pytest.raises(ValueError, match="revisions=True"):
        sink.revise(told(make_result(1)))
    assert not (tmp_path / "revisions.jsonl").exists()


@pytest.mark.parametrize("fits", [0, 1, 2])
def test_a_full_disk_leaves_the_revisions_before_it(
    tmp_path: Path, make_result, monkeypatch: pytest.MonkeyPatch, fits: int
) -> None:
    """fits: writes that still succeed: the portrait, the chip, the line."""
    sink = FolderSink(tmp_path, revisions=True)
    sink.revise(told(make_result(1)))
    before, write, left = names(tmp_path), os.write, [fits]

    def full(fd: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    for result in (make_result(1), make_result(2)):
        left[0] = fits
        with pytest.raises(OutputFull, match="No space left on device"):
            sink.revise(told(result, 2))
        assert names(tmp_path) == before
    monkeypatch.undo()
    sink.revise(told(make_result(1), 2))
    sink.close()
    assert [r.revision for r in read_revisions(tmp_path / "revisions.jsonl")] == [1, 2]


def test_a_track_that_cannot_be_written_leaves_its_revisions(
    tmp_path: Path, make_result, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = FolderSink(tmp_path, revisions=True)
    sink.revise(told(make_result(1)))
    before = names(tmp_path)

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputFull):
        sink.write(make_result(1))
    assert names(tmp_path) == before
    monkeypatch.undo()
    sink.close()


def test_a_link_in_place_of_a_folder_is_not_written_through(tmp_path: Path, make_result) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with FolderSink(tmp_path / "out", revisions=True) as sink:
        (tmp_path / "out/shots/1").symlink_to(elsewhere)
        with pytest.raises(OutputUnwritable, match="is a link"):
            sink.revise(told(make_result(1)))
    assert list(elsewhere.iterdir()) == []


def test_kept_candidates_agree_with_the_account_of_every_window(tmp_path: Path) -> None:
    policy = SelectionPolicy(top_k=2, min_hits=1, max_track_s=2.0, min_score=0.2)
    selector = TopKSelector(policy, source="film")
    rng = np.random.default_rng(5)
    results: list[TrackResult] = []
    with CandidateArchive(tmp_path, min_gap_s=policy.min_gap_s) as archive:
        for frame in range(64):
            made = Crop(
                *(1, frame, frame / 8, None, np.zeros((112, 112, 3), np.uint8), None, (0, 0)),
                *(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 0.9, 40.0, 0.0),
            )
            scored = Quality(float(rng.random()), "test")
            archive.offer(made, scored, selector.offer(made, scored))
            results += [event for event in selector.advance(made.pts_s) if isinstance(event, TrackResult)]
        last = selector.end(1, TrackEnd.LOST)
        assert last is not None
        results.append(last)
        for result in results:
            archive.settle(result)
        archive.finish()
    records = read_candidates(tmp_path).records
    assert len(results) == 4
    for result in results:
        summary = result.summary
        mine = [r for r in records if summary.first_pts_s <= r.pts_s <= summary.last_pts_s]
        assert {r.rank: r.frame_index for r in mine if r.rank} == {
            shot.rank: shot.crop.frame_index for shot in result.shots
        }
        assert Counter(r.rejected for r in mine if not r.rank) == {
            str(k): n for k, n in summary.rejected.items()
        }
