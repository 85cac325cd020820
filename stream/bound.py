"""Upper bounds on scores before they are computed: a cheap estimate, and what the track scored before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .types import Crop, Quality

Estimator = Callable[[Sequence[Crop]], Sequence[float]]
"""Crops → for each about what the scorer will say, in the scorer's units."""

PRIOR_SCORES = 8.0
"""How many scored crops of a track its estimator's reputation from elsewhere is worth."""
MEMORY = 0.98
"""What a scored crop of the track counts, compared with the one scored after it."""

REMEMBERED_TRACKS = 1024
"""The tracks scored last; more faces than that do not live at a time."""


class TrackBound:
    """Bounds on the scores of one source's crops. Implements ScoreBound.

    bound = estimate + offset + margin. margin: a quantile of score − estimate on images the estimator was
    not fitted to. offset: how far the estimator is off on this track's face, because who it is and where
    the camera stands stay the same from look to look: the mean of score − estimate over the track's scored
    crops, the older counting less, drawn to 0 as if PRIOR_SCORES more had been off by nothing.

    Some scores are above their bound, by little; what that costs is measured (benchmarks/cascade.py), not
    proved.
    """

    def __init__(self, estimator: Estimator, margin: float) -> None:
        """margin: in the scorer's units."""
        self._estimator = estimator
        self._margin = margin
        self._estimates: dict[int, float] = {}
        self._off: dict[int, tuple[float, float]] = {}

    def bounds(self, crops: Sequence[Crop]) -> list[float]:
        """For each crop, of different tracks, the best raw score that is to be hoped for."""
        estimates = self._estimator(crops)
        self._estimates = {crop.track: e for crop, e in zip(crops, estimates, strict=True)}
        return [
            estimate + self._offset(crop.track) + self._margin
            for crop, estimate in zip(crops, estimates, strict=True)
        ]

    def learn(self, crops: Sequence[Crop], qualities: Sequence[Quality]) -> None:
        """What the scorer said of crops that were bounded last."""
        for crop, quality in zip(crops, qualities, strict=True):
            total, weight = self._off.pop(crop.track, (0.0, 0.0))
            off = quality.score - self._estimates[crop.track]
            self._off[crop.track] = MEMORY * total + off, MEMORY * weight + 1
        for track in list(self._off)[: max(0, len(self._off) - REMEMBERED_TRACKS)]:
            del self._off[track]

    def _offset(self, track: int) -> float:
        total, weight = self._off.get(track, (0.0, 0.0))
        return total / (weight + PRIOR_SCORES)
