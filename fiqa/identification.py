"""Identification, closed and open set: rank-1, cumulative match characteristic, FNIR at a stated FPIR.

After ISO/IEC 19795-1:2021 and NIST's FRTE 1:N (Grother, Ngan and Hanaoka, NISTIR 8271). A search is mated if
its person is enrolled, else non-mated. FNIR(N, R, T): share of mated searches whose mate is not within the
first R candidates or lies below the threshold T. FPIR(N, T): share of non-mated searches with any candidate
at or above T. Rank-R identification rate: 1 − FNIR(N, R, −∞).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .selection import Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Searches:
    """What came of searches, s of them.

    person: (s,) number of the searched person. mated: (s,) whether enrolled. mate: (s,) similarity to the
    mate, −∞ for non-mated. rank: (s,) of the mate, 1 is first; a stranger as similar goes before it. best:
    (s,) highest similarity to anybody. weight: (s,) > 0, what a search counts for.
    """

    person: NDArray[np.intp]
    mated: NDArray[np.bool_]
    mate: Floats
    rank: NDArray[np.intp]
    best: Floats
    weight: Floats


def search(
    similarities: Floats, probes: NDArray[np.intp], gallery: NDArray[np.intp], weight: Floats
) -> Searches:
    """Searches from similarities (s, g) of probes to a gallery that holds each person once.

    probes (s,), gallery (g,): numbers of people. weight: (s,).
    """
    if len(np.unique(gallery)) != len(gallery):
        raise ValueError("expected each person once in the gallery")
    same = probes[:, None] == gallery[None, :]
    mated = same.any(axis=1)
    mate = np.where(same, similarities, -np.inf).max(axis=1)
    others = np.where(same, -np.inf, similarities)
    rank = 1 + ((others >= mate[:, None]) & ~same).sum(axis=1)
    return Searches(probes, mated, mate, rank, similarities.max(axis=1), np.asarray(weight, np.float64))


def joined(parts: Sequence[Searches]) -> Searches:
    """All searches of several galleries of one size."""
    return Searches(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("person", "mated", "mate", "rank", "best", "weight")
        )
    )


def threshold_at(best: Floats, weight: Floats, fpir: float) -> float:
    """The least threshold at which at most the share fpir of non-mated searches has a candidate.

    best, weight: (m,) of the non-mated searches, in any order. Not interpolated.
    """
    order = np.argsort(-best, kind="stable")
    return _threshold(best[order], weight[order], fpir)


def _threshold(falling: Floats, weight: Floats, fpir: float) -> float:
    share = np.cumsum(weight) / weight.sum()
    beyond = int(np.searchsorted(share, fpir + 1e-12, side="right"))  # the first that must find nobody
    return float(np.nextafter(falling[beyond], np.inf)) if beyond < len(falling) else -np.inf


def fnir(searches: Searches, threshold: float, rank: int = 1) -> float:
    """False negative identification rate at a threshold, the mate within the first `rank`."""
    return float(_miss(searches, threshold, rank)[searches.mated] @ _share(searches, searches.mated))


def fpir(searches: Searches, threshold: float) -> float:
    """False positive identification rate at a threshold."""
    out = ~searches.mated
    return float((searches.best[out] >= threshold) @ _share(searches, out))


def match_characteristic(searches: Searches, ranks: int) -> list[float]:
    """Identification rate at rank 1, 2, … (CMC), without a threshold."""
    return [1.0 - fnir(searches, -np.inf, rank) for rank in range(1, ranks + 1)]


def _miss(searches: Searches, threshold: float, rank: int) -> Floats:
    return ((searches.rank > rank) | (searches.mate < threshold)).astype(np.float64)


def _share(searches: Searches, which: NDArray[np.bool_]) -> Floats:
    weight = searches.weight[which]
    return np.asarray(weight / weight.sum())


@dataclass(frozen=True, slots=True)
class Figures:
    """rank_one, and fnir at the threshold of the wanted FPIR, each resampled (b,) over people as well, with
    the same draws for every policy, so that differences can be taken draw by draw."""

    rank_one: float
    fnir: float
    threshold: float
    rank_ones: Floats
    fnirs: Floats


def identification(searches: Searches, fpir: float = 0.01, resamples: int = 1000, seed: int = 0) -> Figures:
    """Rank-1 and FNIR(R = 1) at an FPIR; people are resampled and the threshold found anew each time.

    Galleries stay as they are. Raises ValueError without mated or non-mated searches.
    """
    mated, out = np.flatnonzero(searches.mated), np.flatnonzero(~searches.mated)
    if not len(mated) or not len(out):
        raise ValueError(f"expected mated and non-mated searches, got {len(mated)} and {len(out)}")
    out = out[np.argsort(-searches.best[out], kind="stable")]
    people = int(searches.person.max()) + 1
    present = np.bincount(searches.person, minlength=people) > 0
    generator = np.random.default_rng(seed)
    first = searches.rank[mated] == 1

    def rates(draw: Floats) -> tuple[float, float, float]:
        known, unknown = (searches.weight[rows] * draw[searches.person[rows]] for rows in (mated, out))
        if not known.any() or not unknown.any():
            return np.nan, np.nan, np.nan
        threshold = _threshold(searches.best[out], unknown, fpir)
        found = first & (searches.mate[mated] >= threshold)
        total = known.sum()
        return float(first @ known / total), float(1.0 - found @ known / total), threshold

    whole = rates(np.ones(people))
    ids = np.flatnonzero(present)
    drawn = [
        rates(np.bincount(generator.choice(ids, len(ids)), minlength=people).astype(np.float64))
        for _ in range(resamples)
    ]
    parts = np.array(drawn, np.float64).reshape(-1, 3)
    return Figures(whole[0], whole[1], whole[2], parts[:, 0], parts[:, 1])


def interval(value: float, resampled: Floats) -> Interval:
    """A figure with the middle 95 % of its resamples; draws that left a side empty are passed over."""
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return Interval(value, float(low), float(high))
