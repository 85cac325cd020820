"""Calibration: strictly increasing, and right where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.fiqa.calibration import Calibration, fit_calibration


def test_between_knots_and_beyond() -> None:
    mapping = Calibration((0.0, 2.0), (0.2, 0.8))
    assert mapping(np.array([0.0, 1.0, 2.0])) == pytest.approx([0.2, 0.5, 0.8])
    assert mapping(np.array([-1.0, 3.0])) == pytest.approx([0.2 * np.exp(-1), 1 - 0.2 * np.exp(-1)])


@pytest.mark.parametrize(
    ("raw", "probability"),
    [((0.0, 0.0), (0.1, 0.2)), ((0.0, 1.0), (0.2, 0.2)), ((0.0, 1.0), (0.0, 0.5)), ((0.0,), (0.5,))],
)
def test_what_is_no_such_map_is_refused(raw: tuple[float, ...], probability: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Calibration(raw, probability)


def test_finds_a_known_probability() -> None:
    generator = np.random.default_rng(0)
    score = generator.normal(size=20000)
    truth = 1 / (1 + np.exp(-2 * score))
    mapping = fit_calibration(score, (generator.random(20000) < truth).astype(float))
    assert np.abs(mapping(np.array([-1.0, 0.0, 1.0])) - 1 / (1 + np.exp([2, 0, -2]))).max() < 0.04


@given(st.lists(st.tuples(st.floats(-3, 3, width=32), st.booleans()), min_size=40, max_size=200))
def test_strictly_increasing_whatever_the_data(pairs: list[tuple[float, bool]]) -> None:
    score = np.array([pair[0] for pair in pairs]) + np.arange(len(pairs)) * 1e-6
    mapping = fit_calibration(score, np.array([float(pair[1]) for pair in pairs]))
    assert (np.diff(mapping(np.linspace(-8, 8, 300))) > 0).all()
