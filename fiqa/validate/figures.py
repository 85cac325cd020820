"""The figures of a validation: agreement with the teacher, regret, and what a recogniser gains.

Intervals are 95 % bootstrap intervals over tracks, because faces of one track are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.build.ranks import spearman
from ..edc import unit
from ..selection import Interval
from .sample import Sample

RESAMPLES = 1000
LEAST_TRACKS = 5
"""With fewer tracks than this, the rank agreement's interval resamples faces."""
LEAST_FACES = 8
"""Faces that a rank correlation needs to be told at all."""
WITHIN_FACES = 4
"""Faces that a track needs to count for the agreement within tracks."""
MATED_GAP_S = 0.5
"""Frames of a track nearer than this in time share their noise and blur: no test of a recogniser."""
LEAST_IMPOSTORS = 50
"""Comparisons of different people that a threshold is read off; 1 / FMR where that is more."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Spearman's rank correlation of the run's scores with the teacher's.

    overall: of all faces, None where there are too few. within: mean over the tracks with WITHIN_FACES or
    more, by faces; selection lives on this one. resampled: `tracks` or `faces`.
    """

    overall: Interval | None
    within: Interval | None
    resampled: str
    faces: int


@dataclass(frozen=True, slots=True)
class Regret:
    """What the best shot of a track lacks to the best available candidate, by the teacher's score.

    mean: over tracks. share: of what a random candidate would lack: 0 = the teacher's own choice, 1 = no
    better than chance; None where chance lacks nothing. tracks, regrets: (t,) each track's.
    """

    mean: Interval
    share: Interval | None
    tracks: NDArray[np.intp]
    regrets: NDArray[np.float64]
    best_rows: NDArray[np.intp]
    kept_rows: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Recognition:
    """False non-match rates of a track's best shot, and of a random candidate, against the person's others.

    threshold: a comparison fails below it. kept, chance: mean over tracks. rise: kept − chance, below 0 is a
    gain. mated, impostor: the cosines. tracks: that had something to compare.
    """

    threshold: float
    kept: Interval
    chance: Interval
    rise: Interval
    tracks: int
    mated: NDArray[np.float64]
    impostor: NDArray[np.float64]


def agreement(sample: Sample, teacher: NDArray[np.float64], seed: int) -> Agreement:
    """Rank agreement of sample.student with teacher (n,)."""
    members = [np.flatnonzero(sample.tracks == t) for t in np.unique(sample.tracks)]
    by_track = len(members) >= LEAST_TRACKS
    units = members if by_track else [np.array([i]) for i in range(len(sample))]
    generator = np.random.default_rng(seed)
    overall = None
    whole = spearman(sample.student, teacher) if len(sample) >= LEAST_FACES else float("nan")
    if np.isfinite(whole):
        values = []
        for _ in range(RESAMPLES):
            rows = np.concatenate([units[i] for i in generator.integers(0, len(units), len(units))])
            values.append(spearman(sample.student[rows], teacher[rows]))
        overall = _interval(whole, np.array(values))
    kept = [m for m in members if len(m) >= WITHIN_FACES]
    each = np.array([(spearman(sample.student[m], teacher[m]), len(m)) for m in kept]).reshape(-1, 2)
    each = each[np.isfinite(each[:, 0])]
    within = _mean_over_tracks(each[:, 0], each[:, 1], generator) if len(each) else None
    return Agreement(overall, within, "tracks" if by_track else "faces", len(sample))


def regret(sample: Sample, teacher: NDArray[np.float64], seed: int) -> Regret | None:
    """Regret of the tracks that kept something and have other candidates; None where there is no such."""
    tracks, rows = [], []
    for track in np.unique(sample.tracks):
        members = np.flatnonzero(sample.tracks == track)
        kept = _best_kept(sample, members)
        if len(kept) and len(members) > 1:
            best = members[int(np.argmax(teacher[members]))]
            chance = float(np.average(teacher[members], weights=sample.weights[members]))
            tracks.append(int(track))
            rows.append((teacher[best] - teacher[kept[0]], teacher[best] - chance, best, kept[0]))
    if not rows:
        return None
    table = np.array(rows, np.float64)
    generator = np.random.default_rng(seed)
    mean = _mean_over_tracks(table[:, 0], np.ones(len(table)), generator)
    picks = generator.integers(0, len(table), (RESAMPLES, len(table)))
    share = None
    if table[:, 1].sum() > 0:
        drawn = table[picks].sum(axis=1)
        values = drawn[:, 0] / np.where(drawn[:, 1] > 0, drawn[:, 1], np.nan)
        share = _interval(float(table[:, 0].sum() / table[:, 1].sum()), values)
    return Regret(
        mean,
        share,
        np.array(tracks, np.intp),
        table[:, 0],
        table[:, 2].astype(np.intp),
        table[:, 3].astype(np.intp),
    )


def recognition(
    sample: Sample,
    embeddings: NDArray[np.floating],
    together: frozenset[tuple[int, int]],
    identities: Mapping[int, int | None],
    *,
    fmr: float,
    threshold: float | None,
    seed: int,
) -> Recognition | str:
    """The recognition error of best shots against random candidates, or why it cannot be told.

    Mated: one track (or one identity, where the run knows it), MATED_GAP_S or more apart. Impostors: tracks
    seen together in a frame (unless the run says that they are one person). threshold: of the recogniser in
    use; None: read off the impostors at `fmr`.
    """
    similarity = unit(embeddings) @ unit(embeddings).T
    known = [identities.get(int(t)) for t in sample.tracks]
    person = np.array(
        [int(t) if who is None else -1 - who for t, who in zip(sample.tracks, known, strict=True)]
    )
    same = person[:, None] == person[None, :]
    track = sample.tracks
    apart = np.abs(sample.times_s[:, None] - sample.times_s[None, :]) >= MATED_GAP_S
    mated = same & (apart | (track[:, None] != track[None, :])) & ~np.eye(len(sample), dtype=bool)
    impostor = _together(track, together) & ~same
    impostors = similarity[np.triu(impostor)]
    if threshold is None:
        least = max(LEAST_IMPOSTORS, math.ceil(1 / fmr - 1e-9))
        if len(impostors) < least:
            return (
                f"{len(impostors)} comparisons of people seen together, {least} make a threshold "
                f"at FMR {fmr:g}: give the recogniser's own"
            )
        threshold = float(np.quantile(impostors, 1.0 - fmr))
    table = _errors_by_track(sample, similarity < threshold, mated)
    if not len(table):
        return f"no track with a kept shot and other faces {MATED_GAP_S} s away from it"
    generator = np.random.default_rng(seed)
    ones = np.ones(len(table))
    state = generator.bit_generator.state
    intervals = []
    for values in (table[:, 0], table[:, 1], table[:, 0] - table[:, 1]):
        generator.bit_generator.state = state  # the same tracks for all three
        intervals.append(_mean_over_tracks(values, ones, generator))
    kept, chance, rise = intervals
    cosines = similarity[np.triu(mated)]
    return Recognition(threshold, kept, chance, rise, len(table), cosines, impostors)


def _best_kept(sample: Sample, members: NDArray[np.intp]) -> NDArray[np.intp]:
    """The best shot of a track, first; after it those of its other windows, if it was cut into windows."""
    first = members[sample.ranks[members] == 1]
    return np.asarray(first[np.argsort(-sample.student[first], kind="stable")], np.intp)


def _errors_by_track(
    sample: Sample, fails: NDArray[np.bool_], mated: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(t, 2) failing share of the best shot's comparisons, and of those of a candidate drawn at random."""
    weights = mated * sample.weights[None, :]
    rows = []
    for track in np.unique(sample.tracks):
        members = np.flatnonzero(sample.tracks == track)
        best = _best_kept(sample, members)
        if not len(best) or not weights[best[0]].sum():
            continue
        own = weights[best[0]]
        drawn = weights[members] * sample.weights[members][:, None]
        rows.append(((own * fails[best[0]]).sum() / own.sum(), (drawn * fails[members]).sum() / drawn.sum()))
    return np.array(rows, np.float64).reshape(-1, 2)


def _together(track: NDArray[np.intp], pairs: frozenset[tuple[int, int]]) -> NDArray[np.bool_]:
    """(n, n) whether the tracks of two faces were seen in one frame."""
    ids, place = np.unique(track, return_inverse=True)
    table = np.zeros((len(ids), len(ids)), bool)
    where = {int(t): i for i, t in enumerate(ids)}
    for a, b in pairs:
        if a in where and b in where:
            table[where[a], where[b]] = table[where[b], where[a]] = True
    return np.asarray(table[place[:, None], place[None, :]])


def _mean_over_tracks(
    values: NDArray[np.float64], weights: NDArray[np.float64], generator: np.random.Generator
) -> Interval:
    picks = generator.integers(0, len(values), (RESAMPLES, len(values)))
    drawn = (values * weights)[picks].sum(axis=1) / weights[picks].sum(axis=1)
    return _interval(float(np.average(values, weights=weights)), drawn)


def _interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    sound = resampled[np.isfinite(resampled)]
    low, high = np.quantile(sound, (0.025, 0.975)) if len(sound) else (value, value)
    return Interval(value, float(low), float(high))
