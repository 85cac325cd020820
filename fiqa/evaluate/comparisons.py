"""Genuine comparisons and thresholds of a set, in memory that does not grow with the square of its faces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...stream.types import F32
from ..edc import Verification, unit
from .datasets import Dataset, PairList

BLOCK = 1024


def compare(embeddings: F32, dataset: Dataset, fmr: float) -> Verification:
    """Genuine pairs and the threshold at `fmr`: of the published pairs, else of all pairs of the set.

    embeddings: (n, d). Raises ValueError where a kind of pair is missing.
    """
    vectors = unit(embeddings)
    if dataset.pairs is None:
        return _all_pairs(vectors, dataset, fmr)
    pairs = dataset.pairs
    similarities = pair_similarities(vectors, pairs)
    if pairs.same.all() or not pairs.same.any():
        raise ValueError(f"expected matched and mismatched pairs in {dataset.name}")
    threshold = float(np.quantile(similarities[~pairs.same], 1.0 - fmr))
    return Verification(
        pairs.first[pairs.same], pairs.second[pairs.same], similarities[pairs.same], threshold, fmr
    )


def pair_similarities(vectors: NDArray[np.float64], pairs: PairList) -> NDArray[np.float64]:
    """(p,) cosine of each pair of unit rows."""
    parts = []
    for at in range(0, len(pairs.first), BLOCK):
        first, second = pairs.first[at : at + BLOCK], pairs.second[at : at + BLOCK]
        parts.append(np.einsum("ij,ij->i", vectors[first], vectors[second]))
    return np.concatenate(parts)


def _all_pairs(vectors: NDArray[np.float64], dataset: Dataset, fmr: float) -> Verification:
    _, person = np.unique(dataset.identities, return_inverse=True)
    _, video = np.unique(dataset.videos, return_inverse=True)
    count = len(vectors)
    impostors = count * (count - 1) // 2 - sum(int(n) * (int(n) - 1) // 2 for n in np.bincount(person))
    keep = min(impostors, int(np.ceil(fmr * impostors)) + 2)
    highest = np.empty(0)
    firsts, seconds, similarities = [], [], []
    for start in range(0, count, BLOCK):
        rows = np.arange(start, min(start + BLOCK, count))
        block = vectors[rows] @ vectors[start:].T
        later = np.arange(start, count)[None, :] > rows[:, None]
        same = person[rows][:, None] == person[None, start:]
        highest = np.concatenate([highest, block[later & ~same]])
        if len(highest) > keep:
            highest = np.partition(highest, len(highest) - keep)[len(highest) - keep :]
        first, second = np.nonzero(later & same & (video[rows][:, None] != video[None, start:]))
        firsts.append(first + start)
        seconds.append(second + start)
        similarities.append(block[first, second])
    if not impostors or not sum(map(len, firsts)):
        raise ValueError(
            f"expected pairs of one person and of different people in {dataset.name}, got "
            f"{sum(map(len, firsts))} and {impostors}"
        )
    return Verification(
        np.concatenate(firsts),
        np.concatenate(seconds),
        np.concatenate(similarities),
        upper_quantile(highest, impostors, 1.0 - fmr),
        fmr,
    )


def upper_quantile(highest: NDArray[np.float64], count: int, share: float) -> float:
    """numpy.quantile(values, share) of `count` values of which only the highest are at hand.

    Linear between the two nearest values, as numpy's default; enough of the highest must be there.
    """
    ordered = np.sort(highest)
    position = share * (count - 1)
    below = int(np.floor(position))
    at = below - (count - len(ordered))
    low, high = ordered[at], ordered[min(at + 1, len(ordered) - 1)]
    return float(low + (high - low) * (position - below))


def mated_similarity(pairs: Verification, count: int) -> NDArray[np.float64]:
    """(count,) mean similarity of each face to its mates, −1 where it has none: the oracle's quality."""
    total, mates = np.zeros(count), np.zeros(count)
    for end in (pairs.first, pairs.second):
        np.add.at(total, end, pairs.similarities)
        np.add.at(mates, end, 1)
    return np.where(mates > 0, total / np.maximum(mates, 1), -1.0)
