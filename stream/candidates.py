"""The candidates of one track, in bounded memory: which are held, which chosen, what became of the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .diversity import Spread, View
from .types import Crop, Quality, Rejection, ScorePoint

TICKS_PER_S = 1_000_000
TIMELINE_POINTS = 400


def ticks(seconds: float) -> int:
    """Whole microseconds: times are compared in these, so that the noise of floats decides nothing."""
    return round(seconds * TICKS_PER_S)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scored crop that passed every test. ticks: its PTS in whole microseconds. view: for diversity. unfit:
    the requirements that it misses, where it is held for want of a fit one."""

    crop: Crop
    quality: Quality
    ticks: int
    view: View | None = None
    unfit: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[float, int]:
        """Sorts best first: higher score, then earlier."""
        return (-self.quality.score, self.ticks)


class Candidates:
    """The best candidates of one track that can still become shots.

    The rule. PTS is cut into buckets of one gap and a bucket's best candidate (higher score, then earlier
    PTS) stands for it. When the track ends these winners are taken one by one, each unless it lies less than
    a gap from one taken before, until there are k: best first, or with diversity as Spread has it. What is
    chosen does not depend on the order of arrival (with diversity: within a bucket).

    Memory. Only the best 3k−2 winners are held, and that loses nothing: two candidates less than a gap apart
    lie in one bucket or in neighbouring ones, so each one taken rules out at most three winners, its own and
    two neighbours. Before the k-th is taken at most 3(k−1) winners are gone, so the k-th is among the best
    3(k−1)+1 = 3k−2. Nor can a winner that was dropped be missed later: the 3k−2 above it only ever give way
    to better ones. With a gap of 0 every PTS is a bucket, one taken rules out itself only, and k will do.

    With diversity no bounded memory gives just that choice, because any poor winner may yet turn out to be
    the most unlike. 2(3k−2) winners of closed buckets are held besides the open bucket's, and the one given
    up is the weakest by the same trade: poor, or like a better one that is held. No fewer shots come of that,
    but perhaps others: of wandering tracks of one and five minutes 9 in 10 gave the set of unbounded memory,
    and what greedy maximises fell short by .001 on average, .11 at worst, where shots chosen without
    diversity fall short by .08 (tests/stream/test_diversity.py).

    Of candidates that lost, only the PTS is held, and only in the buckets where a shot may still come to lie
    near (times must arrive in order for that count; within a bucket any order will do).
    """

    def __init__(
        self, top_k: int, gap_s: float, *, spread: Spread | None = None, after: int | None = None
    ) -> None:
        """top_k ≥ 1; gap_s ≥ 0, seconds, rounded to microseconds. spread: makes shots differ. after: the PTS,
        in microseconds, of an earlier shot that the gap is to be kept to as well."""
        self._top_k = top_k
        self._gap = ticks(gap_s)
        self._spread = spread
        self.after = after
        self._most = 3 * top_k - 2 if self._gap else top_k
        self._best: dict[int, Candidate] = {}
        self._newest: int | None = None
        self._losers: dict[int, list[int]] = {}
        self._outscored = 0

    def __len__(self) -> int:
        """Crops held, ≤ 3·top_k − 2, with diversity ≤ 2·(3·top_k − 2) + 1."""
        return len(self._best)

    def add(self, candidate: Candidate) -> None:
        """Hold it if it may still become a shot, and let go of what it beats."""
        bucket = self._bucket(candidate.ticks)
        rival = self._best.get(bucket)
        if self._is_taken(candidate.ticks) or (rival is not None and rival.order <= candidate.order):
            self.pass_over(candidate.ticks)
            return
        if rival is not None:
            self._lose(bucket, rival.ticks)
        elif self._spread is not None:
            self._make_room(self._spread)
        self._best[bucket] = candidate
        if self._spread is None and len(self._best) > self._most:
            last = max(self._best, key=lambda b: self._best[b].order)
            self._lose(last, self._best.pop(last).ticks)
        self._arrive(bucket)

    def pass_over(self, at: int) -> None:
        """Count a candidate of that PTS, in microseconds, that cannot become a shot."""
        bucket = self._bucket(at)
        self._lose(bucket, at)
        self._arrive(bucket)

    def wants(self, score: float, at: int) -> bool:
        """Whether a candidate of that score or any lower one could change which shots there are in the end.

        at: its PTS in microseconds; of a bucket before the newest, the answer is always yes.

        No, first, if its bucket has a better one. And no if the winners of the other, earlier buckets give k
        shots, all better than it. Because those k will always be there: let later winners come. Compare the
        shots among the better ones before and after (both sets keep their gaps, so on a line each shot is
        near at most two of the other set: what changed falls into chains of old and new in turn). The best of
        a chain is new, or a better one would have kept it out before; a new one that is no later winner was
        there before and would have been taken; so it is a later winner. A later winner lies after all old
        ones and is near at most one of them: it ends its chain. So no chain has fewer new than old, and k
        better shots remain. The candidate comes after them, wherever it lies; and whatever else wins its
        bucket in its place is no better, and comes after them too.
        """
        bucket, order = self._bucket(at), (-score, at)
        rival = self._best.get(bucket)
        if self._is_taken(at) or (rival is not None and rival.order <= order):
            return False
        if self._spread is not None or (self._newest is not None and bucket < self._newest):
            return True
        better = [c for b, c in self._best.items() if b != bucket and c.order < order]
        return len(better) < self._top_k or len(self._taken(better)) < self._top_k

    def best(self) -> Candidate | None:
        """The best of those held."""
        return min(self._best.values(), key=lambda c: c.order, default=None)

    def choose(self) -> tuple[Candidate, ...]:
        """Of those held, the shots, best first: at most top_k, any two a gap or more apart."""
        return tuple(sorted(self._taken(list(self._best.values())), key=lambda c: c.order))

    def near(self, at: int, chosen: Sequence[Candidate]) -> bool:
        """Whether a PTS in microseconds lies less than a gap from one of those chosen, or an earlier shot."""
        return self._is_taken(at) or any(abs(at - candidate.ticks) < self._gap for candidate in chosen)

    def lost(self, chosen: Sequence[Candidate]) -> Counter[Rejection]:
        """What became of all that were added or passed over and not chosen: NEAR_DUPLICATE or OUTSCORED."""
        times = [at for bucket in self._losers.values() for at in bucket]
        times += [c.ticks for c in self._best.values() if c not in chosen]
        near = sum(self.near(at, chosen) for at in times)
        return Counter(
            {Rejection.NEAR_DUPLICATE: near, Rejection.OUTSCORED: len(times) - near + self._outscored}
        )

    def _bucket(self, at: int) -> int:
        return at // self._gap if self._gap else at

    def _is_taken(self, at: int) -> bool:
        return self.after is not None and abs(at - self.after) < self._gap

    def _taken(self, candidates: list[Candidate]) -> list[Candidate]:
        """Those that the rule takes, in its order."""
        rest = sorted(candidates, key=lambda c: c.order)
        chosen: list[Candidate] = []
        while rest and len(chosen) < self._top_k:
            first = 0
            if self._spread is not None:
                first = self._spread.next(_views(rest), _views(chosen))
            chosen.append(rest[first])
            rest = [c for c in rest if c is not chosen[-1] and abs(c.ticks - chosen[-1].ticks) >= self._gap]
        return chosen

    def _make_room(self, spread: Spread) -> None:
        """Before a bucket opens: give up a winner if more than 2(3k−2) closed buckets have one."""
        if len(self._best) > 2 * self._most:
            held = sorted(self._best, key=lambda b: self._best[b].order)
            weakest = held[spread.weakest(_views([self._best[b] for b in held]))]
            self._lose(weakest, self._best.pop(weakest).ticks)

    def _lose(self, bucket: int, at: int) -> None:
        self._losers.setdefault(bucket, []).append(at)

    def _arrive(self, bucket: int) -> None:
        self._newest = bucket if self._newest is None else max(self._newest, bucket)
        if len(self._losers) <= 3 * self._most + 3:
            return
        near = {bucket + step for bucket in self._best for step in (-1, 0, 1)}
        for old in [b for b in self._losers if b not in near and b < self._newest - 1]:
            self._outscored += len(self._losers.pop(old))


def _views(candidates: Sequence[Candidate]) -> list[View]:
    return [c.view for c in candidates if c.view is not None]


@dataclass(frozen=True, slots=True)
class _Point:
    ticks: int
    pts_s: float
    score: float
    refused: Rejection | None
    calibrated: float | None


class Timeline:
    """Scored points in order of arrival, thinned evenly: every 2^i-th, never 2·TIMELINE_POINTS of them."""

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._stride = 1
        self._seen = 0

    def add(self, crop: Crop, quality: Quality, refused: Rejection | None) -> None:
        """One scored crop; refused: why it never became a candidate."""
        if self._seen % self._stride == 0:
            self._points.append(
                _Point(ticks(crop.pts_s), crop.pts_s, quality.score, refused, quality.calibrated)
            )
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
        shots = [ScorePoint(c.crop.pts_s, c.quality.score, None, c.quality.calibrated) for c in chosen]
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
            shots.append(ScorePoint(p.pts_s, p.score, why, p.calibrated))
        return tuple(sorted(shots, key=lambda p: p.pts_s))
