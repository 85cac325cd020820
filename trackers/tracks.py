"""The life of tracks: born, confirmed, lost, ended. Both trackers keep their tracks here."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..stream.types import F32, I64, UNCONFIRMED, Detections
from . import kalman
from .kalman import F64, Motion, Noise

Rows = npt.NDArray[np.intp]
_NOBODY = np.zeros(0, np.intp)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The detections of one frame that can belong to a track, in an order that does not depend on theirs.

    index: (m,) into the frame's detections. boxes: (m, 4) float64 px, finite, of positive area. scores: (m,).
    """

    index: Rows
    boxes: F64
    scores: F64

    @staticmethod
    def of(detections: Detections, least_score: float) -> Candidates:
        """Those of detections with a score of least_score or more and a box that is one."""
        boxes, scores = detections.boxes.astype(np.float64), detections.scores.astype(np.float64)
        index = np.nonzero(
            np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1) & (scores >= least_score)
        )[0]
        if len(index) > 1:
            # Best first; equal scores by position, so that the order of the input decides nothing.
            index = index[np.lexsort((*boxes[index].T, -scores[index]))]
        return Candidates(index, boxes[index], scores[index])


class Tracks:
    """The live tracks of one source, oldest first, as parallel arrays.

    A track's motion is kept as of its last sight, seen_s, and predicted from there, so a lost track costs
    nothing and asking for a prediction changes nothing. Its memory is that of the faces of the last lost_s
    seconds.

    ids: (n,) int64, UNCONFIRMED until confirmed. hits: (n,) sights. seen_s: (n,) PTS of the last sight.
    missed: (n,) updates since then that did not find it. sure: (n,) whether that sight was a confident
    detection. boxes: (n, 4) as last seen. trail: (n, k, 3), the last k sights as (PTS, cx, cy), newest first,
    nan where there was none.
    """

    def __init__(self, noise: Noise, lost_s: float, min_hits: int, trail: int = 1) -> None:
        if not (lost_s > 0 and min_hits >= 1):
            raise ValueError(f"expected lost_s > 0 and min_hits ≥ 1, got {lost_s = }, {min_hits = }")
        self._noise, self._lost_s, self._min_hits = noise, lost_s, min_hits
        self._next = itertools.count(1)
        self._now_s = -math.inf
        self._trail_len = trail
        self._clear()

    def _clear(self) -> None:
        self.ids: I64 = np.zeros(0, np.int64)
        self.hits: I64 = np.zeros(0, np.int64)
        self.missed: I64 = np.zeros(0, np.int64)
        self.sure: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self.seen_s: F64 = np.zeros(0)
        self.boxes: F64 = np.zeros((0, 4))
        self.trail: F64 = np.zeros((0, self._trail_len, 3))
        self.motion = Motion(np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 4, 3)))

    def __len__(self) -> int:
        return len(self.ids)

    def advance(self, pts_s: float) -> tuple[int, ...]:
        """Move time on to pts_s; returns the ids that ended: not seen for more than lost_s."""
        if not (math.isfinite(pts_s) and pts_s > self._now_s):
            raise ValueError(f"expected pts_s finite and after {self._now_s}, got {pts_s}")
        self._now_s = pts_s
        # A nanosecond of slack: 0.1 + 1.5 must not count as more than 1.5 after 0.1.
        live = pts_s - self.seen_s <= self._lost_s + 1e-9
        if live.all():
            return ()
        ended = self._announced(~live)
        self._keep(live)
        return ended

    def finish(self) -> tuple[int, ...]:
        """End every track; returns the ids that were given out, ascending."""
        ended = self._announced(np.ones(len(self), bool))
        self._clear()
        return ended

    def predicted(self, pts_s: float) -> F64:
        """(n, 4) x0 y0 x1 y1 of every track at pts_s."""
        return kalman.cornered(kalman.extrapolate(self.motion, pts_s - self.seen_s))

    def confirmed(self, pts_s: float, unseen_s: float | None) -> tuple[I64, F32]:
        """ids (k,) ascending and boxes (k, 4) at pts_s of confirmed tracks seen at most unseen_s before the
        last update (None: as long as they live)."""
        rows = np.nonzero(self.ids != UNCONFIRMED)[0]
        if unseen_s is not None:
            rows = rows[self._now_s - self.seen_s[rows] <= unseen_s + 1e-9]
        rows = rows[np.argsort(self.ids[rows])]
        return self.ids[rows], self.predicted(pts_s)[rows].astype(np.float32)

    def settle(
        self, boxes: F64, row_of: Rows, born: npt.NDArray[np.bool_], sure: npt.NDArray[np.bool_]
    ) -> I64:
        """End an update: boxes (m, 4), sure (m,) or not, were matched to tracks row_of (m,), −1 for none, and
        start tracks where born. Returns the id of each box. An unconfirmed track that was not seen again is
        dropped.
        """
        n = len(self)
        matched = np.nonzero(row_of >= 0)[0]
        rows = row_of[matched]
        self.missed += 1
        if len(rows):
            self._see(rows, boxes[matched])
            self.sure[rows] = sure[matched]
        row_of = row_of.copy()
        row_of[born] = n + np.arange(np.count_nonzero(born))
        if born.any():
            self._start(boxes[born])
        fresh = (self.ids == UNCONFIRMED) & (self.hits >= self._min_hits)
        for row in np.nonzero(fresh)[0]:
            self.ids[row] = next(self._next)
        ids = np.where(row_of >= 0, self.ids[row_of] if len(self) else UNCONFIRMED, UNCONFIRMED)
        keep = (self.ids != UNCONFIRMED) | (self.missed == 0)
        if not keep.all():
            self._keep(keep)
        return np.asarray(ids, np.int64)

    def replay(self, rows: Rows, boxes: F64, steps: int) -> None:
        """Move rows, last seen at self.boxes, through virtual sights on the straight line to boxes, at even
        times between then and now, as many as were missed but ≤ steps (Cao et al. 2023, section 4.1)."""
        count = np.minimum(self.missed[rows], steps)
        start, since = self.boxes[rows], self.seen_s[rows]
        step_s = (self._now_s - since) / (count + 1)
        for k in range(1, int(count.max(initial=0)) + 1):
            on = np.nonzero(count >= k)[0]
            some, share = rows[on], (k / (count[on] + 1))[:, None]
            moved = kalman.predict(self.motion.take(some), step_s[on], self._noise)
            line = start[on] + share * (boxes[on] - start[on])
            self._believe(some, kalman.correct(moved, line, self._noise))
            self.seen_s[some] = since[on] + k * step_s[on]

    def _see(self, rows: Rows, boxes: F64) -> None:
        moved = kalman.predict(self.motion.take(rows), self._now_s - self.seen_s[rows], self._noise)
        self._believe(rows, kalman.correct(moved, boxes, self._noise))
        self.hits[rows] += 1
        self.missed[rows] = 0
        self.seen_s[rows] = self._now_s
        self.boxes[rows] = boxes
        self.trail[rows, 1:] = self.trail[rows, :-1]
        self.trail[rows, 0] = self._sight(boxes)

    def _start(self, boxes: F64) -> None:
        n = len(boxes)
        self.ids = np.concatenate([self.ids, np.full(n, UNCONFIRMED, np.int64)])
        self.hits = np.concatenate([self.hits, np.ones(n, np.int64)])
        self.missed = np.concatenate([self.missed, np.zeros(n, np.int64)])
        self.sure = np.concatenate([self.sure, np.ones(n, bool)])
        self.seen_s = np.concatenate([self.seen_s, np.full(n, self._now_s)])
        self.boxes = np.concatenate([self.boxes, boxes])
        trail = np.full((n, self._trail_len, 3), np.nan)
        trail[:, 0] = self._sight(boxes)
        self.trail = np.concatenate([self.trail, trail])
        self.motion = Motion.join(self.motion, kalman.begin(boxes, self._noise))

    def _sight(self, boxes: F64) -> F64:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        return np.concatenate([np.full((len(boxes), 1), self._now_s), centres], 1)

    def _believe(self, rows: Rows, motion: Motion) -> None:
        self.motion.position[rows] = motion.position
        self.motion.velocity[rows] = motion.velocity
        self.motion.covariance[rows] = motion.covariance

    def _keep(self, rows: npt.NDArray[np.bool_]) -> None:
        self.ids, self.hits, self.missed = self.ids[rows], self.hits[rows], self.missed[rows]
        self.sure = self.sure[rows]
        self.seen_s, self.boxes, self.trail = self.seen_s[rows], self.boxes[rows], self.trail[rows]
        self.motion = self.motion.take(rows)

    def _announced(self, rows: npt.NDArray[np.bool_]) -> tuple[int, ...]:
        ids = self.ids[rows]
        return tuple(int(i) for i in np.sort(ids[ids != UNCONFIRMED]))
