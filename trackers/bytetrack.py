"""ByteTrack: every detection box is associated, the doubtful ones last (Zhang et al., ECCV 2022)."""

from __future__ import annotations

import numpy as np

from ..stream.types import F32, I64, UNCONFIRMED, Detections, Tracking
from .assignment import assign, likeness
from .kalman import Noise
from .tracks import Candidates, Tracks


class ByteTrack:
    """Associates detections with predicted boxes in two stages by score (Zhang et al. 2022, algorithm 1).

    high_score: detections of this score or more take part in the first stage, among all tracks. low_score:
    those from here up to high_score can only continue a track that the last update saw. new_score:
    a detection that no track wants and that has this score, and high_score, starts one. match_iou: the least
    likeness (overlap times height ratio) of a prediction and its detection. lost_iou: the same for tracks
    that the last update did not see: where they are is a guess, and somebody else may be there. expand: after
    the first stage, tracks that the last update saw in a confident detection look again among the confident
    ones left over, both boxes grown by this share of their width and height on every side; a face that was
    hardly seen, because something covers it, does not reach out for a clear one beside it. max_growth: the
    most that width or height may change between a prediction and its detection, as a factor. lost_s: seconds
    without a sight after which a track ends. min_hits: sights in successive updates before a track gets an
    id.
    """

    def __init__(
        self,
        *,
        high_score: float = 0.5,
        low_score: float = 0.3,
        new_score: float = 0.6,
        match_iou: float = 0.1,
        lost_iou: float = 0.3,
        expand: float = 0.5,
        max_growth: float = 2.0,
        lost_s: float = 1.5,
        min_hits: int = 1,
        noise: Noise = Noise(),  # noqa: B008 (frozen)
    ) -> None:
        if not 0 <= low_score <= high_score <= 1:
            raise ValueError(f"expected 0 ≤ low_score ≤ high_score ≤ 1, got {low_score = }, {high_score = }")
        if not (0 < match_iou <= lost_iou <= 1 and expand >= 0 and max_growth >= 1):
            raise ValueError(
                "expected 0 < match_iou ≤ lost_iou ≤ 1, expand ≥ 0 and max_growth ≥ 1, "
                f"got {match_iou = }, {lost_iou = }, {expand = }, {max_growth = }"
            )
        self._high_score, self._low_score, self._new_score = high_score, low_score, new_score
        self._match_iou, self._lost_iou = match_iou, lost_iou
        self._expand, self._max_growth = expand, max_growth
        self._tracks = Tracks(noise, lost_s, min_hits)

    def update(self, detections: Detections, pts_s: float) -> Tracking:
        """Associate the next frame's detections; pts_s must increase."""
        tracks = self._tracks
        ended = tracks.advance(pts_s)
        found = Candidates.of(detections, self._low_score)
        high = found.scores >= self._high_score
        row_of = np.full(len(found.index), -1, np.intp)
        free = np.ones(len(tracks), bool)
        if len(tracks) and len(row_of):
            predicted, fresh = tracks.predicted(pts_s), tracks.missed == 0
            least = np.where(fresh, self._match_iou, self._lost_iou)[:, None]
            for expand, rows_in, cols_in in (
                (0.0, free, high),
                (self._expand, fresh & tracks.sure, high),
                (0.0, fresh, ~high),
            ):
                rows = np.nonzero(free & rows_in)[0]
                cols = np.nonzero(cols_in & (row_of < 0))[0]
                if not (len(rows) and len(cols)):
                    continue
                near = likeness(predicted[rows], found.boxes[cols], expand, self._max_growth)
                r, c = assign(near, least[rows])
                row_of[cols[c]] = rows[r]
                free[rows[r]] = False
        born = high & (row_of < 0) & (found.scores >= self._new_score)
        ids = np.full(len(detections), UNCONFIRMED, np.int64)
        ids[found.index] = tracks.settle(found.boxes, row_of, born, high)
        return Tracking(ids, ended)

    def predict(self, pts_s: float, unseen_s: float | None = None) -> tuple[I64, F32]:
        """Where the live tracks are at pts_s, without changing anything: ids (k,) ascending, boxes (k, 4) px.

        unseen_s: leave out tracks not seen for longer than this at the last update; 0 leaves those it saw.
        """
        return self._tracks.confirmed(pts_s, unseen_s)

    def finish(self) -> tuple[int, ...]:
        """End every live track; returns the ids that ended, ascending. New detections get new ids."""
        return self._tracks.finish()
