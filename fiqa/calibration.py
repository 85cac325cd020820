"""From a model's raw score to the probability that the face's mated comparison succeeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

LEAST_SLOPE = 1e-4
"""Smallest rise between knots: the order of two faces never changes by calibration."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A strictly increasing piecewise-linear map. raw, probability: knots, both strictly ascending; scores
    beyond the ends approach 0 and 1."""

    raw: tuple[float, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.raw) != len(self.probability) or len(self.raw) < 2:
            raise ValueError(f"expected as many raw as probability knots, got {len(self.raw)} and more")
        if (np.diff(self.raw) <= 0).any() or (np.diff(self.probability) <= 0).any():
            raise ValueError("expected strictly ascending knots")
        if not 0.0 < self.probability[0] < self.probability[-1] < 1.0:
            raise ValueError(f"expected probabilities inside (0, 1), got {self.probability}")

    def __call__(self, score: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability in (0, 1); below the first knot p₀·exp(s − r₀), above the last likewise toward 1."""
        score = np.asarray(score, np.float64)
        inside = np.interp(score, self.raw, self.probability)
        below = self.probability[0] * np.exp(np.minimum(score - self.raw[0], 0.0))
        above = 1 - (1 - self.probability[-1]) * np.exp(np.minimum(self.raw[-1] - score, 0.0))
        return np.asarray(np.where(score < self.raw[0], below, np.where(score > self.raw[-1], above, inside)))


def fit_calibration(
    score: NDArray[np.floating], success: NDArray[np.floating], knots: int = 16
) -> Calibration:
    """Isotonic regression (Barlow et al. 1972) over quantile bins of the score.

    score: (n,) raw. success: (n,) share of the face's mated comparisons that succeed, in [0, 1].
    """
    order = np.argsort(score, kind="stable")
    bins = [part for part in np.array_split(order, knots) if len(part)]
    raw = np.array([score[part].mean() for part in bins])
    weight = np.array([float(len(part)) for part in bins])
    share = np.array([success[part].mean() for part in bins])
    rising = np.clip(isotonic_regression(share, weights=weight).x, 1e-3, 1 - 1e-3)
    step = LEAST_SLOPE * np.arange(len(rising))
    rising = (rising + step) / (1 + 2 * step[-1])
    kept = np.concatenate([[True], np.diff(raw) > 1e-9])
    return Calibration(tuple(raw[kept].tolist()), tuple(rising[kept].tolist()))
