"""The chip against the evaluation warp where nothing shrinks, against exact integration where it does."""

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.stream.align import MAX_OUTSIDE, align, outside_share, resample
from facesieve.stream.geometry import ARCFACE_POINTS, similarity, warp_chip
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import Crop, Detections, Frame, Rejection


def landmarks(scale: float, angle_deg: float, x: float, y: float) -> np.ndarray:
    """A frontal face whose chip is centred at (x, y): scale frame pixels a chip pixel, turned clockwise."""
    a = math.radians(angle_deg)
    turn = scale * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    return ((ARCFACE_POINTS - 55.5) @ turn.T + (x, y)).astype(np.float32)


def one(points: np.ndarray, box: tuple[float, ...] | None = None) -> Detections:
    if box is None:
        box = (*points.min(0), *points.max(0))
    return Detections(
        np.array([box], np.float32), np.array([0.9], np.float32), np.asarray(points, np.float32)[None]
    )


def frame(image: np.ndarray) -> Frame:
    return Frame("test", 7, 0.28, None, ArrayPicture(image))


def cut(image: np.ndarray, found: Detections, **options: float) -> Crop:
    made = align(frame(image), found, 0, 5, **options)
    assert isinstance(made, Crop)
    return made


def integrated(image: np.ndarray, points: np.ndarray, samples: int) -> np.ndarray:
    """The exact area average, pixels taken as squares: nearest neighbour at samples² points a chip pixel."""
    back = cv2.invertAffineTransform(similarity(points, ARCFACE_POINTS))
    at = (np.arange(112 * samples) + 0.5) / samples - 0.5
    x = np.rint(back[0, 0] * at + (back[0, 1] * at + back[0, 2])[:, None]).astype(int)
    y = np.rint(back[1, 0] * at + (back[1, 1] * at + back[1, 2])[:, None]).astype(int)
    height, width = image.shape[:2]
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    values = image[y.clip(0, height - 1), x.clip(0, width - 1)].astype(np.float64) * inside[..., None]
    return values.reshape(112, samples, 112, samples, 3).mean((1, 3))


def rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a.astype(np.float64) - b) ** 2).mean()))


def noise(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


@pytest.mark.parametrize("scale", [0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("angle", [0.0, 17.0, -140.0])
def test_enlarged_chips_equal_the_evaluation_warp(scale: float, angle: float) -> None:
    image = noise(220)
    points = landmarks(scale, angle, 100.3, 120.7)
    chip = cut(image, one(points)).chip
    assert np.abs(chip.astype(int) - warp_chip(image, points)).max() <= 1


def test_over_the_edge_it_still_equals_the_evaluation_warp() -> None:
    image = noise(100) // 2 + 100
    points = landmarks(0.8, 25.0, 82.0, 20.0)
    crop = cut(image, one(points))
    assert np.abs(crop.chip.astype(int) - warp_chip(image, points)).max() <= 1
    assert 0.1 < crop.truncated < MAX_OUTSIDE


# White noise is the worst there is: all of its energy near the Nyquist frequency would fold into the chip.
@pytest.mark.parametrize(
    ("scale", "worst"), [(1.2, 4.5), (1.5, 4.5), (2.0, 3.0), (2.5, 3.5), (3.3, 4.5), (5.0, 5.5), (8.0, 4.5)]
)
def test_shrunk_noise_does_not_alias(scale: float, worst: float) -> None:
    image = noise(int(112 * scale * 1.7))
    points = landmarks(scale, 17.0, image.shape[1] / 2, image.shape[0] / 2)
    exact = integrated(image, points, 8 if scale < 4 else 16)
    ours = rms(cut(image, one(points)).chip, exact)
    assert ours < worst
    if scale >= 1.5:
        assert ours < 0.25 * rms(warp_chip(image, points), exact)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_whole_upright_factors_are_exact_averages(scale: int) -> None:
    image = noise(112 * scale)
    to_image = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]], np.float64)
    blocks = image.reshape(112, scale, 112, scale, 3).mean((1, 3))
    assert np.abs(resample(image, to_image) - blocks).max() <= 1.0


def test_sharpness_does_not_jump_where_shrinking_begins() -> None:
    image = noise(600)

    def energy(scale: float) -> float:
        return float(cut(image, one(landmarks(scale, 10.0, 300, 300))).chip.astype(float).std())

    assert energy(1.01) == pytest.approx(energy(0.999), rel=0.02)
    assert energy(2.01) == pytest.approx(energy(1.99), rel=0.04)
    assert energy(3.01) == pytest.approx(energy(2.99), rel=0.05)


def test_huge_faces_lose_no_brightness() -> None:
    image = np.full((4000, 4000, 3), 131, np.uint8)
    assert (cut(image, one(landmarks(30.0, 10.0, 2000, 2000))).chip == 131).all()


def test_aliasing_on_a_real_face(shared: Path) -> None:
    """Of a sharp face (upright LFW crop), shrunk twofold and more, next to nothing is folded."""
    with (shared / "data/lfw-train/faces.csv").open(newline="") as table:
        row = next(r for r in csv.DictReader(table) if float(r["h"]) > 190)
    image = cv2.imread(str(shared / "data/lfw-train/images" / row["file"]))[..., ::-1].copy()
    points = np.array([[float(row[f"lx{i}"]), float(row[f"ly{i}"])] for i in range(5)], np.float32)
    exact = integrated(image, points, 16)
    assert rms(cut(image, one(points)).chip, exact) < 0.6
    assert rms(warp_chip(image, points), exact) > 0.6


def test_one_region_is_fetched_and_the_portrait_is_its_pixels() -> None:
    image = noise(300)
    made_of = frame(image)
    crop = align(made_of, one(landmarks(0.7, 5, 150, 150), (120.5, 110.0, 180.0, 190.0)), 0, 5, margin=0.5)
    assert isinstance(crop, Crop)
    assert isinstance(made_of.picture, ArrayPicture)
    assert len(made_of.picture.regions) == 1
    assert crop.portrait is not None
    assert crop.portrait_origin == (90, 70)
    assert crop.portrait.shape == (230 - 70, 210 - 90, 3)
    assert np.array_equal(crop.portrait, image[70:230, 90:210])
    assert crop.portrait.base is None


def test_the_portrait_ends_at_the_frame() -> None:
    image = noise(100)
    crop = cut(image, one(landmarks(0.5, 0, 30, 30), (-5.0, -9.0, 50.0, 60.0)), margin=0.3)
    assert crop.portrait is not None
    assert crop.portrait_origin == (0, 0)
    assert np.array_equal(crop.portrait, image[:81, :67])


def test_without_a_portrait_only_the_chip_is_fetched() -> None:
    made_of = frame(noise(1000))
    crop = align(made_of, one(landmarks(0.5, 0, 500, 500), (100, 100, 900, 900)), 0, 5, portrait=False)
    assert isinstance(crop, Crop)
    assert crop.portrait is None
    assert isinstance(made_of.picture, ArrayPicture)
    x0, y0, x1, y1 = made_of.picture.regions[0]
    assert max(x1 - x0, y1 - y0) <= 60


def test_provenance() -> None:
    points = landmarks(1.0, 30, 150, 150)
    crop = cut(noise(300), one(points))
    assert (crop.track, crop.frame_index, crop.pts_s, crop.wall_s) == (5, 7, 0.28, None)
    assert crop.eye_distance_px == pytest.approx(np.hypot(*(ARCFACE_POINTS[1] - ARCFACE_POINTS[0])), rel=1e-5)
    assert crop.detection_score == pytest.approx(0.9)
    assert np.array_equal(crop.landmarks, points)
    assert crop.truncated == 0.0


@given(
    scale=st.floats(0.3, 3),
    angle=st.floats(-180, 180),
    x=st.floats(-150, 350),
    y=st.floats(-150, 350),
)
@settings(max_examples=60, deadline=None)
def test_truncation_is_the_share_of_black_in_a_white_frame(
    scale: float, angle: float, x: float, y: float
) -> None:
    white = np.full((200, 200, 3), 255, np.uint8)
    points = landmarks(scale, angle, x, y)
    corners = np.array([[-0.5, -0.5], [111.5, -0.5], [111.5, 111.5], [-0.5, 111.5]])
    back = cv2.invertAffineTransform(similarity(points, ARCFACE_POINTS))
    outside = outside_share(corners @ back[:, :2].T + back[:, 2], 200, 200)
    counted = 1 - integrated(white, points, 4).mean() / 255
    assert outside == pytest.approx(counted, abs=0.01)
    made = align(frame(white), one(points, (0, 0, 50, 50)), 0, 1)
    if isinstance(made, Crop):
        assert made.truncated == pytest.approx(outside, abs=1e-6)
        black = 1 - made.chip.mean() / 255
        assert black == pytest.approx(outside, abs=0.03)
    else:
        assert made is Rejection.TRUNCATED
        assert outside > MAX_OUTSIDE


NAN, INF = math.nan, math.inf
FACE = landmarks(0.5, 0, 50, 50)


@pytest.mark.parametrize(
    ("points", "box", "why"),
    [
        (np.full((5, 2), 40.0), (30, 30, 70, 70), Rejection.SMALL),  # all in one place
        (FACE * 1e-4 + 50, (30, 30, 70, 70), Rejection.SMALL),  # nearly so
        (np.full((5, 2), NAN), (30, 30, 70, 70), Rejection.TRUNCATED),
        (FACE, (NAN, 30, 70, 70), Rejection.TRUNCATED),
        (FACE * np.float32(INF), (30, 30, 70, 70), Rejection.TRUNCATED),
        (FACE, (30, 30, INF, 70), Rejection.TRUNCATED),
        (FACE + 1e7, (30, 30, 70, 70), Rejection.TRUNCATED),  # far outside
        (FACE * 1e6, (30, 30, 70, 70), Rejection.TRUNCATED),  # gigantic
        ((FACE - 50) * 1e30, (30, 30, 70, 70), Rejection.TRUNCATED),
        (FACE, (70, 30, 30, 70), Rejection.SMALL),  # a box inside out
        (FACE, (30, 30, 30, 70), Rejection.SMALL),
        (FACE, (130, 30, 170, 70), Rejection.TRUNCATED),  # a box beside the frame
    ],
)
def test_what_cannot_be_cut_is_refused_unfetched(
    points: np.ndarray, box: tuple[float, ...], why: Rejection
) -> None:
    asked = frame(noise(100))
    assert align(asked, one(points, box), 0, 1) is why
    assert isinstance(asked.picture, ArrayPicture)
    assert asked.picture.regions == []


@given(
    st.lists(st.floats(width=32), min_size=10, max_size=10),
    st.lists(st.floats(width=32), min_size=4, max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_any_landmarks_whatever_stay_within_the_frame(points: list[float], box: list[float]) -> None:
    asked = frame(np.full((60, 80, 3), 9, np.uint8))
    made = align(asked, one(np.array(points, np.float32).reshape(5, 2), tuple(box)), 0, 1)
    assert isinstance(asked.picture, ArrayPicture)
    for x0, y0, x1, y1 in asked.picture.regions:
        assert 0 <= x0 < x1 <= 80
        assert 0 <= y0 < y1 <= 60
    assert isinstance(made, Crop | Rejection)
