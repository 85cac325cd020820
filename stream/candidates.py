"""The candidates of one track, in bounded memory: which are held, which chosen, what became of the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .types import Crop, Quality, Rejection, ScorePoint

TICKS_PER_S = 1_000_000
TIMELINE_POINTS = 400


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scored crop that passed every test. ticks: its PTS in whole microseconds."""

    crop: Crop
    quality: Quality
    ticks: int

    @property
    def order(self) -> tuple[float, int]:
        """Sorts best first: higher score, then earlier."""
        return (-self.quality.score, self.ticks)


class Candidates:
    """The best candidates of one track that can still become shots.

    The rule. PTS is cut into buckets of one gap and a bucket's best candidate (higher score, then earlier
    PTS) stands for it. When the track ends these winners are taken best first, each unless it lies less than
    a gap from one taken before, until there are k. What is chosen does not depend on the order of arrival.

    Memory. Only the best 3k−2 winners are held, and that loses nothing: two candidates less than a gap apart
    lie in one bucket or in neighbouring ones, so each one taken rules out at most three winners, its own and
    two neighbours. Before the k-th is taken at most 3(k−1) winners are gone, so the k-th is among the best
    3(k−1)+1 = 3k−2. Nor can a winner that was dropped be missed later: the 3k−2 above it only ever give way
    to better ones. With a gap of 0 every PTS is a bucket, one taken rules out itself only, and k will do.

    Of candidates that lost, only the PTS is held, and only in the buckets where a shot may still come to lie
    near (times must arrive in order for that count; within a bucket any order will do).
    """

    def __init__(self, top_k: int, gap_s: float) -> None:
        """top_k ≥ 1; gap_s ≥ 0, seconds, rounded to microseconds."""
        self._top_k = top_k
        self._gap = round(gap_s * TICKS_PER_S)
        self._most = 3 * top_k - 2 if self._gap else top_k
        self._best: dict[int, Candidate] = {}
        self._losers: dict[int, list[int]] = {}
        self._outscored = 0

    def __len__(self) -> int:
        """Crops held, ≤ 3·top_k − 2."""
        return len(self._best)

    def add(self, candidate: Candidate) -> None:
        """Hold it if it may still become a shot, and let go of what it beats."""
        bucket = candidate.ticks // self._gap if self._gap else candidate.ticks
        rival = self._best.get(bucket)
        if rival is not None and rival.order <= candidate.order:
            self._losers.setdefault(bucket, []).append(candidate.ticks)
            return
        if rival is not None:
            self._losers.setdefault(bucket, []).append(rival.ticks)
        self._best[bucket] = candidate
        if len(self._best) > self._most:
            last = max(self._best, key=lambda b: self._best[b].order)
            self._losers.setdefault(last, []).append(self._best.pop(last).ticks)
        self._forget(bucket)

    def choose(self) -> tuple[Candidate, ...]:
        """The best of those held, best first: at most top_k, any two a gap or more apart."""
        chosen: list[Candidate] = []
        for candidate in sorted(self._best.values(), key=lambda c: c.order):
            if len(chosen) < self._top_k and not self.near(candidate.ticks, chosen):
                chosen.append(candidate)
        return tuple(chosen)

    def near(self, ticks: int, chosen: Sequence[Candidate]) -> bool:
        """Whether a time lies less than a gap from one of those chosen."""
        return any(abs(ticks - candidate.ticks) < self._gap for candidate in chosen)

    def lost(self, chosen: Sequence[Candidate]) -> Counter[Rejection]:
        """What became of all that were added and not chosen: NEAR_DUPLICATE or OUTSCORED."""
        times = [ticks for bucket in self._losers.values() for ticks in bucket]
        times += [c.ticks for c in self._best.values() if c not in chosen]
        near = sum(self.near(ticks, chosen) for ticks in times)
        return Counter(
            {Rejection.NEAR_DUPLICATE: near, Rejection.OUTSCORED: len(times) - near + self._outscored}
        )

    def _forget(self, newest: int) -> None:
        if len(self._losers) <= 3 * self._most + 3:
            return
        near = {bucket + step for bucket in self._best for step in (-1, 0, 1)}
        for bucket in [b for b in self._losers if b not in near and b < newest - 1]:
            self._outscored += len(self._losers.pop(bucket))


@dataclass(frozen=True, slots=True)
class _Point:
    ticks: int
    pts_s: float
    score: float
    refused: Rejection | None


class Timeline:
    """Scored points in order of arrival, thinned evenly: every 2^i-th, never 2·TIMELINE_POINTS of them."""

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._stride = 1
        self._seen = 0

    def add(self, crop: Crop, score: float, refused: Rejection | None) -> None:
        """One scored crop; refused: why it never became a candidate."""
        if self._seen % self._stride == 0:
            self._points.append(_Point(round(crop.pts_s * TICKS_PER_S), crop.pts_s, score, refused))
            if len(self._points) == 2 * TIMELINE_POINTS:
                self._points = self._points[::2]
                self._stride *= 2
        self._seen += 1

    def points(
        self, candidates: Candidates, chosen: Sequence[Candidate], *, short: bool
    ) -> tuple[ScorePoint, ...]:
        """In time order, at most TIMELINE_POINTS besides those chosen, which are all there.

        short: whether the whole track fell for being too short.
        """
        shots = [ScorePoint(c.crop.pts_s, c.quality.score, None) for c in chosen]
        taken = {(c.ticks, c.quality.score) for c in chosen}
        others = [p for p in self._points if (p.ticks, p.score) not in taken]
        step = max(1, math.ceil(len(others) / TIMELINE_POINTS))
        for p in others[::step]:
            if p.refused is not None:
                why = p.refused
            elif short:
                why = Rejection.SHORT_TRACK
            else:
                near = candidates.near(p.ticks, chosen)
                why = Rejection.NEAR_DUPLICATE if near else Rejection.OUTSCORED
            shots.append(ScorePoint(p.pts_s, p.score, why))
        return tuple(sorted(shots, key=lambda p: p.pts_s))
