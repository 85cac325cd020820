"""One vector for one appearance of a face: the quality-weighted mean of a track's best shots.

Weighting by quality keeps a blurred frame from pulling the mean towards the place where all bad faces meet
(Yang et al., "Neural Aggregation Network for Video Face Recognition", CVPR 2017, learn such weights; here
they are the scorer's calibrated quality).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..types import F32, BestShot

LEAST_WEIGHT = 1e-3
"""So that a track of hopeless shots still has a direction."""


@dataclass(frozen=True, slots=True)
class Template:
    """vector: (d,) float32 of unit length. quality: in [0, 1], of what it is made of; 1 where the scorer has
    no calibration, since nothing speaks against it."""

    vector: F32
    quality: float


def mean_template(vectors: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]) -> F32:
    """(k, d) vectors and (k,) weights ≥ 0 → (d,) their weighted mean at unit length.

    Raises ValueError where the mean has no direction: opposite vectors, no positive weight, not finite.
    """
    total = np.asarray(weights, np.float64) @ np.asarray(vectors, np.float64)
    length = float(np.linalg.norm(total))
    if not np.isfinite(length) or length <= 1e-12:
        raise ValueError(f"expected vectors with a mean that has a direction, got one of length {length}")
    return np.asarray(total / length, np.float32)


def of_one_face(shots: Sequence[BestShot], vectors: Sequence[F32], least: float) -> list[int]:
    """Places of the shots that are of the face that the track shows most: a tracker that is led astray, when
    one face passes before another, goes on with someone else under the old number.

    Around each shot stand those that are as similar to it as least; the heaviest such group by quality is
    taken, of two equals the one of the better shot.
    """
    alike = np.stack(vectors) @ np.stack(vectors).T >= least
    np.fill_diagonal(alike, True)
    weights = np.maximum(_quality(shots), LEAST_WEIGHT)
    order = sorted(range(len(shots)), key=lambda i: (-float(alike[i] @ weights), -shots[i].quality.score))
    return np.flatnonzero(alike[order[0]]).tolist()


def track_template(shots: Sequence[BestShot], vectors: Sequence[F32], top_k: int = 5) -> Template:
    """The template of the top_k best of a track's shots. vectors: the embedding of each shot, in order.

    Raises ValueError without a shot, or where the embeddings have no mean.
    """
    if not shots or len(shots) != len(vectors):
        raise ValueError(f"expected an embedding a shot and one or more, got {len(vectors)} for {len(shots)}")
    best = sorted(zip(shots, vectors, strict=True), key=lambda pair: -pair[0].quality.score)[:top_k]
    quality = _quality([shot for shot, _ in best])
    weights = np.maximum(quality, LEAST_WEIGHT)
    vector = mean_template(np.stack([v for _, v in best]), weights)
    return Template(vector, float(np.average(quality, weights=weights)))


def _quality(shots: Sequence[BestShot]) -> npt.NDArray[np.float64]:
    """(k,) calibrated qualities; 1 where there is no calibration."""
    return np.array([1.0 if s.quality.calibrated is None else s.quality.calibrated for s in shots])
