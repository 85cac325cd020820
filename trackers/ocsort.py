"""OC-SORT: what was observed is trusted over what was predicted (Cao et al., CVPR 2023)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..stream.types import F32, I64, UNCONFIRMED, Detections, Tracking
from .assignment import assign, likeness
from .kalman import F64, Noise
from .tracks import Candidates, Rows, Tracks

_TRAIL = 16  # sights remembered for the direction of motion: half a second at 30 a second
_REPLAY_STEPS = 16  # virtual sights after which one more hardly moves the filter
_STILL = 0.1  # of a face's size: a shorter way is the detector's noise, not a direction


class OCSort:
    """Associates by overlap and by agreement of direction, then by the last observation.

    high_score: detections of a lower score are not looked at. new_score: one that no track wants and that
    has this score, and high_score, starts a track. match_iou: the least likeness (overlap times height ratio)
    of a match. lost_iou: the same for tracks that the last update did not see: where they are is a guess, and
    somebody else may be there. fresh_first: the others choose before them (with False all choose at once, as
    in the paper: fewer switches among steady pedestrians at 25 Hz, but at 8 Hz a lost track takes the face of
    whoever hides it). momentum: weight λ of the direction's agreement against overlap (Cao et al. 2023,
    section 4.2, with .2; .4 makes two switches fewer on TUD and changes nothing on our clips of faces).
    momentum_s: the direction of a track is from where it was this long before its last sight. expand: boxes
    grow by this share of their width and height on every side when tracks that the last update saw are
    recovered by their last observation. max_growth: the most that width or height may change, as a factor.
    lost_s: seconds without a sight after which a track ends. min_hits: sights in successive updates before a
    track gets an id.
    """

    def __init__(
        self,
        *,
        high_score: float = 0.5,
        new_score: float = 0.6,
        match_iou: float = 0.1,
        lost_iou: float = 0.3,
        fresh_first: bool = True,
        momentum: float = 0.4,
        momentum_s: float = 0.25,
        expand: float = 0.5,
        max_growth: float = 2.0,
        lost_s: float = 1.5,
        min_hits: int = 1,
        noise: Noise = Noise(),  # noqa: B008 (frozen)
    ) -> None:
        if not (0 < match_iou <= lost_iou <= 1 and expand >= 0 and max_growth >= 1):
            raise ValueError(
                "expected 0 < match_iou ≤ lost_iou ≤ 1, expand ≥ 0 and max_growth ≥ 1, "
                f"got {match_iou = }, {lost_iou = }, {expand = }, {max_growth = }"
            )
        if not (momentum >= 0 and momentum_s > 0):
            raise ValueError(f"expected momentum ≥ 0 and momentum_s > 0, got {momentum = }, {momentum_s = }")
        self._high_score, self._new_score = high_score, new_score
        self._match_iou, self._lost_iou = match_iou, lost_iou
        self._fresh_first = fresh_first
        self._expand, self._max_growth = expand, max_growth
        self._momentum, self._momentum_s = momentum, momentum_s
        self._tracks = Tracks(noise, lost_s, min_hits, _TRAIL)

    def update(self, detections: Detections, pts_s: float) -> Tracking:
        """Associate the next frame's detections; pts_s must increase."""
        tracks = self._tracks
        ended = tracks.advance(pts_s)
        found = Candidates.of(detections, self._high_score)
        row_of = np.full(len(found.index), -1, np.intp)
        if len(tracks) and len(row_of):
            self._by_motion(found, row_of, pts_s)
            self._by_last_observation(found, row_of)
            seen = np.nonzero(row_of >= 0)[0]
            again = seen[tracks.missed[row_of[seen]] > 0]
            tracks.replay(row_of[again], found.boxes[again], _REPLAY_STEPS)
        born = (row_of < 0) & (found.scores >= self._new_score)
        ids = np.full(len(detections), UNCONFIRMED, np.int64)
        ids[found.index] = tracks.settle(found.boxes, row_of, born, np.ones(len(row_of), bool))
        return Tracking(ids, ended)

    def predict(self, pts_s: float, unseen_s: float | None = None) -> tuple[I64, F32]:
        """Where the live tracks are at pts_s, without changing anything: ids (k,) ascending, boxes (k, 4) px.

        unseen_s: leave out tracks not seen for longer than this at the last update; 0 leaves those it saw.
        """
        return self._tracks.confirmed(pts_s, unseen_s)

    def finish(self) -> tuple[int, ...]:
        """End every live track; returns the ids that ended, ascending. New detections get new ids."""
        return self._tracks.finish()

    def _by_motion(self, found: Candidates, row_of: Rows, pts_s: float) -> None:
        """First stage: overlap with the prediction, plus observation-centric momentum (section 4.2)."""
        near = likeness(self._tracks.predicted(pts_s), found.boxes, 0.0, self._max_growth)
        bonus = self._momentum * self._agreement(found.boxes) * found.scores
        fresh = self._tracks.missed == 0
        stages = (fresh, ~fresh) if self._fresh_first else (np.ones_like(fresh),)
        for some in map(np.flatnonzero, stages):
            cols = np.flatnonzero(row_of < 0)
            if len(some) and len(cols):
                part = np.ix_(some, cols)
                r, c = assign(near[part], self._least()[some], bonus[part])
                row_of[cols[c]] = some[r]

    def _by_last_observation(self, found: Candidates, row_of: Rows) -> None:
        """Second stage: observation-centric recovery (section 4.3), for a face that stopped or turned back
        while the prediction went on. Only tracks seen by the last update may look beyond their box."""
        tracks = self._tracks
        free = np.ones(len(tracks), bool)
        free[row_of[row_of >= 0]] = False
        for expand, rows_in in ((0.0, free), (self._expand, free & (tracks.missed == 0))):
            rows, cols = np.nonzero(rows_in & free)[0], np.nonzero(row_of < 0)[0]
            if not (len(rows) and len(cols)):
                continue
            near = likeness(tracks.boxes[rows], found.boxes[cols], expand, self._max_growth)
            r, c = assign(near, self._least()[rows])
            row_of[cols[c]] = rows[r]
            free[rows[r]] = False

    def _least(self) -> F64:
        """(tracks, 1): the least likeness each asks for."""
        return np.where(self._tracks.missed == 0, self._match_iou, self._lost_iou)[:, None]

    def _agreement(self, boxes: F64) -> F64:
        """(tracks, boxes) in [0, 1]: 1 − |Δθ|/π, where Δθ lies between the track's direction and that from
        the same earlier sight to the box; ½ where there is no direction."""
        trail = self._tracks.trail
        ago = np.abs(trail[:, :1, 0] - trail[:, :, 0] - self._momentum_s)
        ago[:, 0] = np.inf  # the last sight itself gives no direction
        pick = np.where(np.isnan(ago), np.inf, ago).argmin(1)
        origin = trail[np.arange(len(trail)), pick, 1:]
        way = trail[:, 0, 1:] - origin
        size = np.sqrt((self._tracks.boxes[:, 2:] - self._tracks.boxes[:, :2]).prod(1))
        intent = (boxes[:, :2] + boxes[:, 2:])[None] / 2 - origin[:, None]
        turn = np.angle(_complex(intent) * np.conj(_complex(way))[:, None])
        moving = np.hypot(way[:, 0], way[:, 1]) > _STILL * size
        return np.where(moving[:, None], 1 - np.abs(turn) / np.pi, 0.5)


def _complex(vectors: F64) -> npt.NDArray[np.complex128]:
    return np.asarray(vectors[..., 0] + 1j * vectors[..., 1])
