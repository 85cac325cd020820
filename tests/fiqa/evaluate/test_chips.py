"""Faces found in sets without landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facesieve.fiqa.evaluate.chips import yunet_finder
from facesieve.fiqa.evaluate.open import open_dataset


def test_the_finder_finds_the_face_of_the_table(shared: Path) -> None:
    found = open_dataset(shared / "data" / "ytf-dev")
    assert found.heights_px is not None
    with yunet_finder(shared / "models" / "yunet_n_dynamic.onnx") as find:
        for row in (0, 700, 1400):
            image = found.images[row].read(found.files[row])
            landmarks = find(image, None)
            assert landmarks is not None
            expected = found.images[row].landmarks
            assert np.abs(landmarks - expected).max() < 0.06 * found.heights_px[row]
        assert find(np.full((200, 200, 3), 128, np.uint8), None) is None


def test_the_box_says_which_of_two_faces(shared: Path) -> None:
    found = open_dataset(shared / "data" / "ytf-dev")
    left, right = (found.images[row].read(found.files[row]) for row in (0, 700))
    height = max(left.shape[0], right.shape[0])
    image = np.zeros((height, left.shape[1] + right.shape[1], 3), np.uint8)
    image[: left.shape[0], : left.shape[1]] = left
    image[: right.shape[0], left.shape[1] :] = right
    middles = [np.mean(found.images[row].landmarks, axis=0) for row in (0, 700)]
    middles[1] = middles[1] + [left.shape[1], 0]
    with yunet_finder(shared / "models" / "yunet_n_dynamic.onnx") as find:
        for x, y in middles:
            landmarks = find(image, (float(x), float(y), 100.0, 100.0))
            assert landmarks is not None
            assert landmarks.mean(axis=0) == pytest.approx([x, y], abs=10)
        away = (float(image.shape[1]) * 3, 0.0, 40.0, 40.0)
        assert find(image, away) is None
