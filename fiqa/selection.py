"""Selection within tracks: does the picked frame of each video verify better than a random one?

For each track the policy picks its best frame; the false non-match rate is that of picked frames of one
person in different tracks, at the threshold of the whole set. Gap closed = (random − policy) / (random −
oracle), where random is the expectation over uniform draws (the limit of the mean of many), which needs no
seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .edc import Verification, error_versus_discard, partial_auc, unit


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tracks:
    """Rows of each track, and each track's person.

    rows: per track the rows of its frames, in order. persons: (t,) number of the person.
    """

    rows: tuple[NDArray[np.intp], ...]
    persons: NDArray[np.intp]


def tracks_of(identities: NDArray[np.str_], videos: NDArray[np.str_]) -> Tracks:
    """Tracks (videos) in order of their names."""
    _, person = np.unique(identities, return_inverse=True)
    _, video = np.unique(videos, return_inverse=True)
    rows = tuple(np.flatnonzero(video == v) for v in range(int(video.max()) + 1))
    return Tracks(rows, np.array([person[r[0]] for r in rows], np.intp))


def pick_best(tracks: Tracks, quality: NDArray[np.floating]) -> NDArray[np.intp]:
    """(t,) row of each track's best frame; the earlier wins a tie."""
    return np.array([rows[int(np.argmax(quality[rows]))] for rows in tracks.rows], np.intp)


def oracle_quality(embeddings: NDArray[np.floating], tracks: Tracks) -> NDArray[np.float64]:
    """(n,) mean similarity to all frames of the person's other tracks; −1 where there are none."""
    vectors = unit(embeddings)
    quality = np.full(len(vectors), -1.0)
    for track, rows in enumerate(tracks.rows):
        mates = np.flatnonzero(
            (tracks.persons == tracks.persons[track]) & (np.arange(len(tracks.rows)) != track)
        )
        if len(mates):
            others = np.concatenate([tracks.rows[m] for m in mates])
            quality[rows] = (vectors[rows] @ vectors[others].T).mean(axis=1)
    return quality


def _errors_by_person(
    embeddings: NDArray[np.float64], picks: NDArray[np.intp], persons: NDArray[np.intp], threshold: float
) -> NDArray[np.float64]:
    """(people, 2) errors and pairs among the picked frames of each person."""
    counts = np.zeros((int(persons.max()) + 1, 2))
    for person in range(len(counts)):
        vectors = embeddings[picks[persons == person]]
        first, second = np.triu_indices(len(vectors), 1)
        similarities = np.einsum("ij,ij->i", vectors[first], vectors[second])
        counts[person] = (similarities < threshold).sum(), len(similarities)
    return counts


def _expected_errors_by_person(
    embeddings: NDArray[np.float64], tracks: Tracks, threshold: float
) -> NDArray[np.float64]:
    """(people, 2) expected errors and pairs when each track's frame is drawn uniformly."""
    counts = np.zeros((int(tracks.persons.max()) + 1, 2))
    for track, rows in enumerate(tracks.rows):
        for other in range(track + 1, len(tracks.rows)):
            if tracks.persons[other] == tracks.persons[track]:
                similarities = embeddings[rows] @ embeddings[tracks.rows[other]].T
                counts[tracks.persons[track]] += (similarities < threshold).mean(), 1
    return counts


def picked_fnmr(
    embeddings: NDArray[np.floating], tracks: Tracks, picks: NDArray[np.intp], threshold: float
) -> float:
    """FNMR over the pairs of picked frames of one person."""
    errors, pairs = _errors_by_person(unit(embeddings), picks, tracks.persons, threshold).sum(axis=0)
    return float(errors / pairs)


@dataclass(frozen=True, slots=True)
class SelectionResult:
    """fnmr of the policy's picks, of random picks (expected) and the oracle's; gap closed, NaN where the
    oracle is no better than chance."""

    fnmr: Interval
    gap_closed: Interval
    random_fnmr: float
    oracle_fnmr: float


def track_selection(
    embeddings: NDArray[np.floating],
    tracks: Tracks,
    quality: NDArray[np.floating],
    threshold: float,
    resamples: int = 1000,
    seed: int = 0,
) -> SelectionResult:
    """Selection by `quality` (n,) against random and the oracle; the intervals resample people."""
    vectors = unit(embeddings)

    def counts(picks: NDArray[np.intp]) -> NDArray[np.float64]:
        return _errors_by_person(vectors, picks, tracks.persons, threshold)

    policy = counts(pick_best(tracks, quality))
    oracle = counts(pick_best(tracks, oracle_quality(vectors, tracks)))
    chance = _expected_errors_by_person(vectors, tracks, threshold)
    sample = np.random.default_rng(seed).integers(0, len(policy), (resamples, len(policy)))

    def rate(table: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        whole, parts = table.sum(axis=0), table[sample].sum(axis=1)
        return float(whole[0] / whole[1]), parts[:, 0] / parts[:, 1]

    (of_policy, policies), (of_chance, chances), (of_oracle, oracles) = (
        rate(policy),
        rate(chance),
        rate(oracle),
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # some resamples may leave the oracle no room
        gaps = (chances - policies) / (chances - oracles)
    room = of_chance - of_oracle
    gap = (of_chance - of_policy) / room if room != 0.0 else float("nan")
    return SelectionResult(_interval(of_policy, policies), _interval(gap, gaps), of_chance, of_oracle)


def _interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def partial_auc_interval(
    pairs: Verification,
    identities: NDArray[np.str_],
    quality: NDArray[np.floating],
    limit: float = 0.3,
    resamples: int = 300,
    seed: int = 0,
) -> Interval:
    """pAUC with an interval over people: genuine pairs are drawn by person, the threshold stays."""
    _, person = np.unique(identities, return_inverse=True)
    owner = person[pairs.first]
    lower = np.minimum(quality[pairs.first], quality[pairs.second])
    order = np.argsort(lower, kind="stable")
    owner, errors = owner[order], pairs.errors[order].astype(np.float64)
    generator = np.random.default_rng(seed)
    people = int(person.max()) + 1
    values = []
    for _ in range(resamples):
        weight = np.bincount(generator.integers(0, people, people), minlength=people)[owner].astype(
            np.float64
        )
        values.append(_weighted_partial_auc(errors, weight, limit))
    whole = partial_auc(error_versus_discard(pairs, quality), limit)
    return _interval(whole, np.array(values))


def _weighted_partial_auc(errors: NDArray[np.float64], weight: NDArray[np.float64], limit: float) -> float:
    """pAUC of pairs in discard order, each counted `weight` times (the area is over discarded weight)."""
    total = weight.sum()
    discarded = np.concatenate([[0.0], np.cumsum(weight)[:-1]])
    failing = (errors * weight)[::-1].cumsum()[::-1]
    curve = failing / np.maximum(total - discarded, 1e-12)
    inside = weight * (discarded <= limit * total)
    return float((curve * inside).sum() / inside.sum() / curve[0])


def template(
    embeddings: NDArray[np.floating], quality: NDArray[np.floating], best: int, weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(d,) unit mean of the `best` highest-quality rows, weighted by `weights` (n,) ≥ 0 (all zero:
    equally).
    """
    keep = np.argsort(-np.asarray(quality, np.float64), kind="stable")[:best]
    share = np.maximum(np.asarray(weights, np.float64)[keep], 0.0)
    if share.sum() == 0.0:
        share = np.ones_like(share)
    return np.asarray(unit((unit(embeddings)[keep] * share[:, None]).sum(axis=0, keepdims=True))[0])


def template_fnmr(
    embeddings: NDArray[np.floating],
    tracks: Tracks,
    quality: NDArray[np.floating],
    weights: NDArray[np.floating],
    threshold: float,
    best: Sequence[int] = (1, 3, 5),
) -> dict[int, float]:
    """FNMR of track templates made of the best k frames, per k."""
    result = {}
    for k in best:
        means = np.stack([template(embeddings[r], quality[r], k, weights[r]) for r in tracks.rows])
        picks = np.arange(len(means), dtype=np.intp)
        result[k] = picked_fnmr(means, tracks, picks, threshold)
    return result
