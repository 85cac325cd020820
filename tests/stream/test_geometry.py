"""Similarity transforms against known ones and a general least-squares solver; boxes by counting pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.geometry import ARCFACE_POINTS, iou, similarity, warp_chip

ANGLES = st.floats(-np.pi, np.pi)
SCALES = st.floats(0.05, 20)
SHIFTS = st.floats(-2000, 2000)


def moved(points: np.ndarray, angle: float, scale: float, dx: float, dy: float) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return points @ np.array([[c, s], [-s, c]]) + (dx, dy)


@given(ANGLES, SCALES, SHIFTS, SHIFTS)
def test_a_similarity_is_recovered(angle: float, scale: float, dx: float, dy: float) -> None:
    target = moved(ARCFACE_POINTS.astype(np.float64), angle, scale, dx, dy)
    matrix = similarity(ARCFACE_POINTS, target)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    assert np.allclose(matrix, [[c, -s, dx], [s, c, dy]], atol=1e-6 * max(1, scale))


@given(st.integers(0, 10_000))
def test_it_has_the_least_squared_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(5, 2)) * 30, rng.normal(size=(5, 2)) * 30
    # Unknowns a, b, tx, ty of x' = a·x − b·y + tx, y' = b·x + a·y + ty.
    zero, one = np.zeros(5), np.ones(5)
    rows_x = np.stack([source[:, 0], -source[:, 1], one, zero], 1)
    rows_y = np.stack([source[:, 1], source[:, 0], zero, one], 1)
    solved = np.linalg.lstsq(np.concatenate([rows_x, rows_y]), target.T.ravel(), rcond=None)[0]
    a, b, tx, ty = solved
    assert np.allclose(similarity(source, target), [[a, -b, tx], [b, a, ty]], atol=1e-8)


def test_a_mirrored_face_is_not_reflected_back() -> None:
    mirrored = ARCFACE_POINTS * (-1, 1)
    matrix = similarity(mirrored, ARCFACE_POINTS)[:, :2]
    assert np.linalg.det(matrix) >= 0


def test_many_at_once_are_each_alone() -> None:
    rng = np.random.default_rng(3)
    faces = rng.normal(size=(7, 5, 2)) * 40
    together = similarity(faces, ARCFACE_POINTS)
    assert together.shape == (7, 2, 3)
    for face, matrix in zip(faces, together, strict=True):
        assert np.allclose(matrix, similarity(face, ARCFACE_POINTS))


def test_points_that_coincide_have_no_scale() -> None:
    matrix = similarity(np.full((5, 2), 9.0), ARCFACE_POINTS)
    assert np.isfinite(matrix).all()
    assert not matrix[:, :2].any()


def test_the_chip_of_a_chip_is_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    assert np.abs(warp_chip(image, ARCFACE_POINTS).astype(int) - image).max() <= 1


def test_the_chip_is_black_outside_the_image() -> None:
    image = np.full((112, 112, 3), 200, np.uint8)
    chip = warp_chip(image, ARCFACE_POINTS - (30, 0))
    assert not chip[:, :29].any()
    assert (chip[:, 31:] == 200).all()


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=2, max_size=2))
def test_iou_counts_pixels(boxes: list[tuple[int, int, int, int]]) -> None:
    masks = []
    for x0, y0, x1, y1 in boxes:
        mask = np.zeros((12, 12), bool)
        mask[y0 : max(y1, y0), x0 : max(x1, x0)] = True
        masks.append(mask)
    union = (masks[0] | masks[1]).sum()
    expected = (masks[0] & masks[1]).sum() / union if union else 0.0
    first, second = np.array(boxes, np.float32)[:, None]
    assert iou(first, second)[0, 0] == pytest.approx(expected)


def test_iou_of_nothing_has_its_shape() -> None:
    assert iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
