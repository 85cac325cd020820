from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.trackers import kalman
from facesieve.trackers.kalman import Noise

NOISE = Noise()
BOX = np.array([[10.0, 20, 50, 70]])


def full_matrix(dt: float, boxes: list[np.ndarray], noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """The textbook filter of one coordinate (cx) with matrices, to check the closed form against."""
    seen = [kalman.centred(b) for b in boxes]
    size = np.sqrt(seen[0][0, 2] * seen[0][0, 3])
    x, p = (
        np.array([seen[0][0, 0], 0.0]),
        np.diag([(noise.observation * size) ** 2, (noise.speed * size) ** 2]),
    )
    f, h = np.array([[1, dt], [0, 1]]), np.array([[1.0, 0]])
    q = (noise.acceleration * size) ** 2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
    for z in seen[1:]:
        x, p = f @ x, f @ p @ f.T + q
        gain = p @ h.T / (h @ p @ h.T + (noise.observation * size) ** 2)
        x, p = x + gain[:, 0] * (z[0, 0] - x[0]), (np.eye(2) - gain @ h) @ p
    return x, p


def test_closed_form_is_the_matrix_filter() -> None:
    boxes = [BOX + np.array([7.0, 0, 7.0, 0]) * k for k in (0, 1, 2.3, 3.1)]
    motion = kalman.begin(boxes[0], NOISE)
    for box in boxes[1:]:
        motion = kalman.correct(kalman.predict(motion, np.array([0.125]), NOISE), box, NOISE)
    x, p = full_matrix(0.125, boxes, NOISE)
    assert [motion.position[0, 0], motion.velocity[0, 0]] == pytest.approx(x)
    assert motion.covariance[0, 0] == pytest.approx([p[0, 0], p[0, 1], p[1, 1]])


@given(st.floats(0.001, 2), st.floats(0.01, 0.99))
def test_two_steps_are_one(dt: float, share: float) -> None:
    start = kalman.begin(BOX, NOISE)
    start = kalman.correct(kalman.predict(start, np.array([0.1]), NOISE), BOX + 3, NOISE)
    once = kalman.predict(start, np.array([dt]), NOISE)
    twice = kalman.predict(
        kalman.predict(start, np.array([dt * share]), NOISE), np.array([dt * (1 - share)]), NOISE
    )
    assert twice.position == pytest.approx(once.position)
    assert twice.covariance == pytest.approx(once.covariance)


def test_size_never_runs_away() -> None:
    motion = kalman.begin(BOX, NOISE)
    small = np.array([[25.0, 40, 35, 50]])
    motion = kalman.correct(kalman.predict(motion, np.array([0.04]), NOISE), small, NOISE)
    later = kalman.extrapolate(motion, np.array([100.0]))
    assert (later[:, 2:] >= motion.position[:, 2:] / 2).all()


def test_impossible_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="observation > 0"):
        Noise(observation=0)
