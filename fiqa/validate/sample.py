"""Which candidates of a run are looked at again: all that were kept, and some of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...stream.sinks.candidates import CandidateRecord


@dataclass(frozen=True, slots=True)
class Sample:
    """Candidates in the order in which they were scored.

    rows: (n,) their place among all candidates. tracks, frames: (n,). times_s: (n,) PTS. student: (n,) the
    run's scores. ranks: (n,) of the shot, 0 where none. weights: (n,) how many candidates of its track each
    stands for: 1 where kept, else not kept ones / drawn ones.
    """

    rows: NDArray[np.intp]
    tracks: NDArray[np.intp]
    frames: NDArray[np.intp]
    times_s: NDArray[np.float64]
    student: NDArray[np.float64]
    ranks: NDArray[np.intp]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    def names(self) -> list[str]:
        """`track/frame` of each: seeds the teacher's noise, whatever else is in the sample."""
        return [f"{t}/{f}" for t, f in zip(self.tracks.tolist(), self.frames.tolist(), strict=True)]


def draw(records: Sequence[CandidateRecord], others: int, seed: int, tracks: int | None = None) -> Sample:
    """All kept candidates and `others` of the rest, spread evenly over tracks and uniform within each.

    tracks: look at so many tracks only, drawn uniformly. Candidates without a score are left out. What is
    drawn of a track does not depend on the other tracks, but for how many.
    """
    ids = np.array([c.track for c in records], np.intp)
    chosen = _some(np.unique(ids), tracks, seed)
    scored = np.array([c.score is not None for c in records], bool) & np.isin(ids, chosen)
    ranks = np.array([c.rank for c in records], np.intp)
    rest = {int(t): np.flatnonzero(scored & (ranks == 0) & (ids == t)) for t in chosen}
    share = _spread({t: len(found) for t, found in rest.items()}, others)
    taken = [np.flatnonzero(scored & (ranks > 0))]
    weights = np.ones(len(records))
    for track, found in rest.items():
        if share[track]:
            drawn = np.random.default_rng((seed, track)).permutation(found)[: share[track]]
            weights[drawn] = len(found) / len(drawn)
            taken.append(drawn)
    rows = np.sort(np.concatenate(taken)).astype(np.intp)
    picked = [records[i] for i in rows]
    return Sample(
        rows,
        ids[rows],
        np.array([c.frame_index for c in picked], np.intp),
        np.array([c.pts_s for c in picked], np.float64),
        np.array([c.score for c in picked], np.float64),
        ranks[rows],
        weights[rows],
    )


def seen_together(records: Sequence[CandidateRecord]) -> frozenset[tuple[int, int]]:
    """Pairs (a < b) of tracks with candidates in one frame: nobody is in a frame twice, so two people."""
    by_frame: dict[int, set[int]] = {}
    for candidate in records:
        by_frame.setdefault(candidate.frame_index, set()).add(candidate.track)
    return frozenset((a, b) for tracks in by_frame.values() for a in tracks for b in tracks if a < b)


def _some(tracks: NDArray[np.intp], count: int | None, seed: int) -> NDArray[np.intp]:
    if count is None or count >= len(tracks):
        return tracks
    return np.sort(np.random.default_rng(seed).permutation(tracks)[:count])


def _spread(sizes: dict[int, int], total: int) -> dict[int, int]:
    """How many of each, as even as the sizes allow; what cannot be even goes to the first tracks."""
    share = dict.fromkeys(sizes, 0)
    left = total
    while left and (open_ := [t for t in sizes if share[t] < sizes[t]]):
        step = max(1, left // len(open_))
        for track in open_:
            more = min(step, sizes[track] - share[track], left)
            share[track] += more
            left -= more
    return share
