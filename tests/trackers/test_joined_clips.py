"""Real faces: clips of five people in one room, joined end to end, a cut at each join."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facesieve.stream.cuts import SceneCuts
from facesieve.stream.types import UNCONFIRMED, Detections
from facesieve.trackers.bytetrack import ByteTrack
from facesieve.trackers.ocsort import OCSort

Seen = tuple[float, str, Detections, np.ndarray]
_RATE = 8


@pytest.fixture(scope="module")
def joined(shared: Path) -> list[Seen]:
    """(PTS, clip, faces, strided luma) eight times a second, faces by OpenCV's YuNet."""
    model = shared / "models" / "yunet_n_dynamic.onnx"
    detector = cv2.FaceDetectorYN.create(str(model), "", (320, 240), 0.3, 0.3, 5000)
    looks: list[Seen] = []
    start, due = 0.0, 0.0
    for path in sorted((shared / "videos" / "asl").glob("*.mkv")):
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                assert frame.time is not None
                pts = start + float(frame.time)
                if pts < due - 1e-6:
                    continue
                due = pts + 1 / _RATE
                small = cv2.resize(frame.to_ndarray(format="bgr24"), (320, 240), interpolation=cv2.INTER_AREA)
                faces = detector.detect(small)[1]
                table = np.zeros((0, 15), np.float32) if faces is None else faces
                table[:, :14] *= 2
                corners = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], 1)
                found = Detections(corners, table[:, 14], table[:, 4:14].reshape(-1, 5, 2))
                luma = np.ascontiguousarray(frame.to_ndarray(format="gray")[::6, ::6])
                looks.append((pts, path.stem, found, luma))
            start = pts + 1 / 30
    return looks


@pytest.mark.parametrize("make", [ByteTrack, OCSort])
def test_nobody_merges_with_another(
    joined: list[Seen], shared: Path, make: type[ByteTrack] | type[OCSort]
) -> None:
    rows = csv.DictReader((shared / "videos" / "asl" / "people.csv").read_text().splitlines())
    people = {row["clip"]: row["person"] for row in rows}
    tracker, scenes = make(), SceneCuts()
    clips: dict[int, set[str]] = {}
    main: dict[str, list[int]] = {}
    for pts, clip, found, luma in joined:
        if scenes.is_cut(luma, pts):
            tracker.finish()
        ids = tracker.update(found, pts).ids
        for track in ids[ids != UNCONFIRMED]:
            clips.setdefault(int(track), set()).add(clip)
        # The person who signs has the best face; others pass at the right edge.
        main.setdefault(clip, []).append(int(ids[0]) if len(ids) else UNCONFIRMED)
    assert len(main) == len(people) == 20
    assert all(len({people[clip] for clip in of}) == 1 for of in clips.values())
    assert all(len(of) == 1 for of in clips.values())
    # And the other way round: hands cross the face, yet it stays one track.
    broken = [clip for clip, tracks in main.items() if len({t for t in tracks if t != UNCONFIRMED}) > 1]
    assert broken == []
