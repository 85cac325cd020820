"""boxes.jsonl: what was tracked comes back, and nothing else; files appear whole, and are read when cut."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.errors import OutputExists, SourceMissing, SourceUnreadable
from facesieve.stream.sinks.boxes import BOXES, BoxFile, read_boxes
from facesieve.stream.sinks.folder import FolderSink
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import Detections, Frame, Tracking

PICTURE = ArrayPicture(np.zeros((48, 64, 3), np.uint8))


def frame(index: int) -> Frame:
    return Frame("film", index, index / 25, None, PICTURE)


def found(count: int, seed: int = 0) -> Detections:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, 500, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 200, (count, 2))], 1).astype(np.float32)
    points = rng.uniform(0, 500, (count, 5, 2)).astype(np.float32)
    return Detections(boxes, rng.uniform(0, 1, count).astype(np.float32), points)


def write(out: Path, frames: dict[int, tuple[Detections, list[int]]]) -> None:
    with BoxFile(out) as file:
        for index, (detections, ids) in frames.items():
            file.offer(frame(index), detections, Tracking(np.array(ids, np.int64)))


@given(ids=st.lists(st.integers(-1, 10**6), max_size=6), seed=st.integers(0, 99))
def test_what_is_tracked_comes_back(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], seed: int
) -> None:
    out = tmp_path_factory.mktemp("boxes")
    detections = found(len(ids), seed)
    write(out, {7: (detections, ids)})
    rows = [row for row, track in enumerate(ids) if track >= 0]
    records = list(read_boxes(out))
    assert len(records) == (1 if rows else 0)
    for record in records:
        assert (record.frame_index, record.pts_s, record.size) == (7, 0.28, (64, 48))
        assert list(record.tracks) == [ids[row] for row in rows]
        np.testing.assert_allclose(record.boxes, detections.boxes[rows], atol=0.0051)
        np.testing.assert_allclose(record.landmarks, detections.landmarks[rows], atol=0.0051)
        np.testing.assert_allclose(record.scores, detections.scores[rows], atol=0.000051)


def test_a_box_that_is_nowhere_is_left_out(tmp_path: Path) -> None:
    detections = found(3)
    detections.boxes[0, 2] = np.inf
    detections.landmarks[1, 3, 0] = np.nan
    write(tmp_path, {0: (detections, [1, 2, 3])})
    assert [record.tracks for record in read_boxes(tmp_path)] == [(3,)]


def test_the_file_gets_its_name_at_the_end_and_is_read_before(tmp_path: Path) -> None:
    file = BoxFile(tmp_path)
    file.offer(frame(0), found(2), Tracking(np.array([1, 2])))
    assert not (tmp_path / BOXES).exists()
    with (tmp_path / f"{BOXES}.part").open("ab") as torn:
        torn.write(b'{"schema":"facesieve.boxes/1","frame_in')  # a kill in the midst of a line
    assert [record.tracks for record in read_boxes(tmp_path)] == [(1, 2)]
    with pytest.raises(OutputExists, match="another run"):
        BoxFile(tmp_path)
    file.close()
    assert (tmp_path / BOXES).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{}", "line 1"),
        ('{"schema":"facesieve.boxes/2"}', "line 1"),
        ("[1, 2]", "line 1"),
        (
            '{"schema":"facesieve.boxes/1","frame_index":0,"pts_s":0,"size":[1,1],"tracks":[1,2],'
            '"boxes":[[0,0,1,1]],"scores":[1],"landmarks":[[[0,0],[0,0],[0,0],[0,0],[0,0]]]}',
            "as many tracks",
        ),
    ],
)
def test_a_damaged_file_names_its_line(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / BOXES).write_text(line + "\n")
    with pytest.raises(SourceUnreadable, match=said):
        list(read_boxes(tmp_path))


def test_a_run_without_boxes_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match="--boxes"):
        read_boxes(tmp_path)


def test_overwriting_a_run_takes_its_boxes_too(tmp_path: Path) -> None:
    with FolderSink(tmp_path):
        write(tmp_path, {0: (found(1), [1])})
    (tmp_path / "boxes.txt").write_text("mine")
    with FolderSink(tmp_path, overwrite=True):
        assert not (tmp_path / BOXES).exists()
    assert (tmp_path / "boxes.txt").read_text() == "mine"


def test_a_long_film_costs_no_memory(tmp_path: Path) -> None:
    detections, tracking = found(4), Tracking(np.array([1, 2, 3, 4]))
    with BoxFile(tmp_path) as file:
        for index in range(100):
            file.offer(frame(index), detections, tracking)
        tracemalloc.start()
        for index in range(100, 2100):
            file.offer(frame(index), detections, tracking)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 200_000  # 2,000 frames are 1.4 MB on disk
    assert (tmp_path / BOXES).stat().st_size > 1_000_000
