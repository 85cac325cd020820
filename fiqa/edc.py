"""Error-versus-discard curves: how fast verification errors go away as the worst pairs are dropped.

Genuine pairs are of one person and different videos, impostor pairs of different people. The threshold is a
quantile of the impostors at the wanted false match rate (FMR), fixed on the whole set; pair quality is the
lower of the two qualities (Grother and Tabassi 2007; ISO/IEC 29794-1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Verification:
    """Genuine pairs of a set under one recogniser.

    first, second: (p,) rows of each pair, first < second, in row order. similarities: (p,) cosine.
    threshold: similarity below which a comparison fails, at `fmr`.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    similarities: NDArray[np.float64]
    threshold: float
    fmr: float

    @property
    def errors(self) -> NDArray[np.bool_]:
        """(p,) true for each false non-match."""
        return self.similarities < self.threshold

    @property
    def fnmr(self) -> float:
        """False non-match rate with nothing discarded."""
        return float(self.errors.mean())


def unit(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows scaled to length one."""
    rows = np.asarray(embeddings, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def verification(
    embeddings: NDArray[np.floating],
    identities: NDArray[np.str_],
    videos: NDArray[np.str_],
    fmr: float = 1e-3,
) -> Verification:
    """Pairs and threshold of a set; embeddings (n, d) of any length, identities and videos (n,)."""
    rows = len(embeddings)
    if not len(identities) == len(videos) == rows:
        raise ValueError(
            f"expected one identity and video a face, got {rows}, {len(identities)}, {len(videos)}"
        )
    _, person = np.unique(identities, return_inverse=True)
    _, video = np.unique(videos, return_inverse=True)
    similarity = unit(embeddings) @ unit(embeddings).T
    upper = np.triu(np.ones((rows, rows), bool), 1)
    same = person[:, None] == person[None, :]
    impostors = similarity[upper & ~same]
    first, second = np.nonzero(upper & same & (video[:, None] != video[None, :]))
    if not len(first) or not len(impostors):
        raise ValueError(f"expected genuine and impostor pairs, got {len(first)} and {len(impostors)}")
    threshold = float(np.quantile(impostors, 1.0 - fmr))
    return Verification(first, second, similarity[first, second], threshold, fmr)


def error_versus_discard(pairs: Verification, quality: NDArray[np.floating]) -> NDArray[np.float64]:
    """(p,) FNMR of what is left after 0, 1, … p−1 discarded pairs, lowest pair quality first.

    quality: (n,) one score a face, higher is better. Ties keep the order of the pairs. Faces that could not
    be scored may be −inf; NaN is refused.
    """
    if np.isnan(quality).any():
        raise ValueError(f"expected a quality for every face, got {int(np.isnan(quality).sum())} NaN")
    lower = np.minimum(quality[pairs.first], quality[pairs.second])
    errors = pairs.errors[np.argsort(lower, kind="stable")]
    left = np.cumsum(errors[::-1])[::-1]
    return left / np.arange(len(errors), 0, -1)


def partial_auc(curve: NDArray[np.float64], limit: float = 0.3) -> float:
    """Mean of the curve over discards [0, limit] divided by its start: 1 is useless, lower is better.

    limit 1.0 gives the whole AUC. A set without a single error has no such ratio: NaN.
    """
    points = min(int(np.floor(limit * len(curve) + 1e-9)) + 1, len(curve))
    return float(curve[:points].mean() / curve[0]) if curve[0] > 0.0 else float("nan")


def discard_at(curve: NDArray[np.float64], fraction: float) -> float:
    """FNMR after discarding this fraction of the pairs."""
    return float(curve[min(round(fraction * len(curve)), len(curve) - 1)])
