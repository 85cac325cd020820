"""Degradations: repeatable, harmless when nothing is drawn, harmful in proportion."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from facesieve.fiqa.faces import Faces, read_faces
from facesieve.fiqa.student.degrade import Degradation, degrade, h264
from facesieve.fiqa.student.occlusion import occlude
from facesieve.stream.geometry import warp_chip


@pytest.fixture(scope="module")
def faces(shared: Path) -> Faces:
    return read_faces(shared / "data" / "lfw-train")


def test_none_is_the_plain_warp(faces: Faces) -> None:
    assert faces.landmarks is not None
    chip, eyes = degrade(faces.image(0), faces.landmarks[0], Degradation.none())
    assert np.array_equal(chip, warp_chip(faces.image(0), faces.landmarks[0]))
    assert eyes == pytest.approx(faces.eye_distances_px()[0], rel=1e-6)


def test_the_same_draw_gives_the_same_chip(faces: Faces) -> None:
    assert faces.landmarks is not None
    for row in range(6):
        how = Degradation.draw(np.random.default_rng(row), 1.0)
        first, again = (degrade(faces.image(row), faces.landmarks[row], how)[0] for _ in range(2))
        assert np.array_equal(first, again)


@pytest.mark.parametrize(
    ("field", "mild", "strong"),
    [
        ("motion_px", 4.0, 16.0),
        ("defocus_px", 1.5, 6.0),
        ("noise", 5.0, 30.0),
        ("h264", 26, 45),
        ("eyes_px", 20, 6),
    ],
)
def test_stronger_is_further_from_the_source(faces: Faces, field: str, mild: float, strong: float) -> None:
    assert faces.landmarks is not None
    clean = warp_chip(faces.image(3), faces.landmarks[3]).astype(float)
    error = []
    for value in (mild, strong):
        how = dataclasses.replace(Degradation.none(), **{field: value})
        error.append(np.abs(degrade(faces.image(3), faces.landmarks[3], how)[0] - clean).mean())
    assert 0 < error[0] < error[1]


def test_odd_sizes_survive_the_codec() -> None:
    image = np.random.default_rng(0).integers(0, 255, (33, 41, 3), dtype=np.uint8)
    assert h264(image, 30, np.random.default_rng(0)).shape == image.shape


@pytest.mark.parametrize("kind", ["hand", "patch", "glasses", "mask", "edge"])
def test_occluders_change_some_of_the_face_and_not_the_source(faces: Faces, kind: str) -> None:
    assert faces.landmarks is not None
    image = faces.image(5)
    before = image.copy()
    hidden = occlude(image, faces.landmarks[5], kind, np.random.default_rng(2))
    assert np.array_equal(image, before)
    assert 0.01 < (hidden != image).any(axis=2).mean() < 0.95


def test_unknown_occluder_is_refused() -> None:
    with pytest.raises(ValueError, match="glasses"):
        occlude(np.zeros((9, 9, 3), np.uint8), np.ones((5, 2), np.float32), "hat", np.random.default_rng(0))
