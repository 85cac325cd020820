"""Rank correlation: worked cases, and scipy's."""

from __future__ import annotations

import numpy as np
import pytest

from facesieve.engines.build.ranks import spearman


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),
        ([1, 2, 2, 3], [1, 2, 2, 3], 1.0),  # ties on both sides
        ([1, 2, 2, 3], [1, 2, 3, 4], np.sqrt(0.9)),  # a tie on one side
        ([1, 2, 3], [5, 5, 5], float("nan")),  # nothing to correlate with
    ],
)
def test_spearman(a: list[float], b: list[float], expected: float) -> None:
    assert spearman(np.array(a, float), np.array(b, float)) == pytest.approx(expected, nan_ok=True)


def test_spearman_agrees_with_scipy() -> None:
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    a = generator.integers(0, 30, 200).astype(float)
    b = a + generator.integers(-9, 10, 200)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
