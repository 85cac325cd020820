"""Templates: means that good shots make, of one face."""

from __future__ import annotations

import numpy as np
import pytest

from facesieve.stream.geometry import ARCFACE_POINTS
from facesieve.stream.identity.templates import mean_template, of_one_face, track_template
from facesieve.stream.types import F32, BestShot, Crop, Quality


def shot(score: float, calibrated: float | None = None) -> BestShot:
    crop = Crop(
        1, 0, 0.0, None, np.zeros((112, 112, 3), np.uint8), None, (0, 0), np.zeros(4, np.float32),
        ARCFACE_POINTS, 1.0, 35.0, 0.0,
    )  # fmt: skip
    return BestShot("film", crop, Quality(score, "m", calibrated), 1, "")


def at(degrees: float) -> F32:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


def angle(vector: F32) -> float:
    return float(np.degrees(np.arctan2(vector[1], vector[0])))


def test_better_shots_weigh_more() -> None:
    even = track_template([shot(2), shot(1)], [at(0), at(60)])
    assert angle(even.vector) == pytest.approx(30, abs=1e-3)
    assert even.quality == 1.0, "without a calibration nothing speaks against it"
    uneven = track_template([shot(2, 0.9), shot(1, 0.1)], [at(0), at(60)])
    assert angle(uneven.vector) < 10
    assert uneven.quality == pytest.approx((0.9**2 + 0.1**2) / 1.0)
    assert np.linalg.norm(uneven.vector) == pytest.approx(1.0, abs=1e-6)


def test_only_the_best_take_part() -> None:
    found = track_template([shot(1), shot(3), shot(2)], [at(90), at(0), at(10)], top_k=2)
    assert angle(found.vector) == pytest.approx(5, abs=1e-3)


def test_hopeless_shots_still_have_a_direction() -> None:
    found = track_template([shot(1, 0.0)], [at(45)])
    assert angle(found.vector) == pytest.approx(45, abs=1e-3)
    assert found.quality == 0.0


def test_no_mean_is_an_error() -> None:
    with pytest.raises(ValueError, match="direction"):
        mean_template(np.stack([at(0), at(180)]), np.ones(2))
    with pytest.raises(ValueError, match="an embedding a shot"):
        track_template([shot(1)], [])
    with pytest.raises(ValueError, match="one or more"):
        track_template([], [])


@pytest.mark.parametrize(
    ("angles", "quality", "kept"),
    [
        ((0, 5, 80), (0.7, 0.6, 0.5), [0, 1]),  # a tracker that went astray at the end
        ((80, 0, 5), (0.7, 0.6, 0.5), [1, 2]),  # two shots of one face outweigh a better one of another
        ((0, 80), (0.7, 0.6), [0]),  # one each: the better
        ((0, 30, 60), (0.5, 0.5, 0.5), [0, 1, 2]),  # a head that turns: linked through the middle
        ((7,), (0.01,), [0]),
    ],
)
def test_shots_of_a_second_face_are_told_apart(
    angles: tuple[float, ...], quality: tuple[float, ...], kept: list[int]
) -> None:
    shots = [shot(q, q) for q in quality]
    assert of_one_face(shots, [at(a) for a in angles], float(np.cos(np.radians(40)))) == kept
    assert of_one_face(shots, [at(a) for a in angles], -1.0) == list(range(len(angles)))
