"""Shots that differ from one another: quality traded against likeness.

Maximal marginal relevance (Carbonell and Goldstein, "The use of MMR, diversity-based reranking", 1998) on
calibrated quality. The best candidate is taken first; then, again and again, the one of greatest

    u(c) − w · max over shots s taken before of likeness(c, s),

u the calibrated score (the raw score within [0, 1] where the model has no calibration), w the policy's
diversity_weight, likeness in [0, 1], 1 for the same:

    time:       exp(−|Δt| / 2 s)
    pose:       max(0, 1 − d / 30°), d the distance in (yaw, pitch) of the landmarks' head pose
    embedding:  max(0, cosine) of the scorer's embeddings

So w is the calibrated quality that a wholly unlike view is worth over a wholly like one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import ConfigError
from .policy import Diversity
from .pose import face_pose
from .types import Crop, Quality

TIME_S = 2.0
POSE_DEG = 30.0
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """Where a candidate stands: utility in [0, 1]; place: (d,), whatever likeness is measured between."""

    utility: float
    place: F64


@dataclass(frozen=True, slots=True)
class Spread:
    """Likeness of one kind and what it costs. weight: w, in [0, 1]."""

    kind: Diversity
    weight: float

    def view(self, crop: Crop, quality: Quality) -> View:
        """Where a candidate stands. ConfigError where diversity of embeddings finds none."""
        utility = quality.score if quality.calibrated is None else quality.calibrated
        return View(min(max(utility, 0.0), 1.0), self._place(crop, quality))

    def next(self, rest: Sequence[View], taken: Sequence[View]) -> int:
        """Which of rest (best first, not empty) to take after those taken; of equals the first."""
        if not taken:
            return 0
        near = self._likeness(_places(rest), _places(taken)).max(1)
        return int(np.argmax(_utilities(rest) - self.weight * near))

    def weakest(self, views: Sequence[View]) -> int:
        """Which of the views, best first, is least missed: poor, or like a better one; of equals the last."""
        places = _places(views)
        near = np.tril(self._likeness(places, places), -1).max(1)
        worth = _utilities(views) - self.weight * near
        return len(views) - 1 - int(np.argmin(worth[::-1]))

    def _place(self, crop: Crop, quality: Quality) -> F64:
        match self.kind:
            case "time":
                return np.array([crop.pts_s])
            case "pose":
                return np.degrees(face_pose(crop.landmarks.tolist())[:2])
            case _:
                if quality.embedding is None:
                    raise ConfigError(
                        f"selection.diversity = 'embedding' needs a scorer that gives embeddings, "
                        f"{quality.model!r} gives none"
                    )
                return quality.embedding.astype(np.float64)

    def _likeness(self, a: F64, b: F64) -> F64:
        """(n, d) and (m, d) → (n, m) in [0, 1]; a face without a pose is like every other."""
        if self.kind == "embedding":
            return np.asarray(np.clip(a @ b.T, 0, 1), np.float64)
        apart = np.linalg.norm(a[:, None] - b[None], axis=2)
        if self.kind == "time":
            return np.asarray(np.exp(-apart / TIME_S), np.float64)
        return np.asarray(np.clip(1 - np.nan_to_num(apart) / POSE_DEG, 0, 1), np.float64)


def _places(views: Sequence[View]) -> F64:
    return np.array([view.place for view in views])


def _utilities(views: Sequence[View]) -> F64:
    return np.array([view.utility for view in views])
