from __future__ import annotations

import numpy as np
import pytest

from facesieve.engines.build.agreement import Agreement, agreement, require
from facesieve.stream.errors import ConfigError, GateFailed
from facesieve.stream.types import Detections

FACES = 25


def detections(scores: list[float], shift: float = 0.0, moved: float = 0.0) -> Detections:
    """Faces of 100 px side by side, eyes 40 px apart. shift: of the boxes, moved: of the landmarks, px."""
    x = np.arange(len(scores))[:, None] * 200.0
    box = np.concatenate([x + shift, x * 0 + shift, x + 100 + shift, x * 0 + 100 + shift], 1)
    points = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], float)
    landmarks = points + np.stack([x, 0 * x], 2) + [moved, 0]
    return Detections(box.astype(np.float32), np.array(scores, np.float32), landmarks.astype(np.float32))


def test_the_same_faces_agree() -> None:
    seen = [detections([0.9] * FACES)]
    got = agreement(seen, seen, 0.5)
    assert got == Agreement(1, FACES, 1.0, 1.0, 1.0, 0.0, 0.0)
    require(got, "d")


def test_landmarks_are_measured_in_eye_distances() -> None:
    got = agreement([detections([0.9] * FACES)], [detections([0.9] * FACES, moved=2.0)], 0.5)
    assert got.landmarks_mean == pytest.approx(2 / 40)
    with pytest.raises(GateFailed, match=r"landmarks off by 5\.00% of the eye distance \(expected ≤ 3%\)"):
        require(got, "d")


def test_boxes_that_hardly_overlap_are_other_faces() -> None:
    got = agreement([detections([0.9] * FACES)], [detections([0.9] * FACES, shift=40)], 0.5)
    assert (got.found, got.confirmed) == (0, 0)
    with pytest.raises(GateFailed, match=r"0\.00% of 25 faces found"):
        require(got, "d")


def test_a_face_at_the_threshold_may_be_missed_but_a_sure_one_not() -> None:
    original = [detections([0.9] * FACES + [0.55])]
    borderline = agreement(original, [detections([0.9] * FACES)], 0.5)
    assert (borderline.faces, borderline.found) == (FACES, 1)
    assert borderline.all_found == FACES / (FACES + 1)
    require(borderline, "d")
    missing = agreement(original, [detections([0.9] * (FACES - 1))], 0.5)
    with pytest.raises(GateFailed, match=r"96\.00% of 25 faces found and 100\.00% of its own confirmed"):
        require(missing, "d")


def test_a_face_that_only_the_compiled_one_is_sure_of_fails_it() -> None:
    got = agreement([detections([0.9] * FACES)], [detections([0.9] * (FACES + 1))], 0.5)
    assert got.confirmed == FACES / (FACES + 1)
    with pytest.raises(GateFailed, match=r"96\.15% of its own confirmed"):
        require(got, "d")


def test_few_faces_prove_nothing() -> None:
    none = [
        Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    ]
    with pytest.raises(ConfigError, match="20 sure faces or more to measure on, got 0 faces in 1 frames"):
        agreement(none, none, 0.5)
