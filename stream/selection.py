"""Keep the few best shots of each track, with a reason for every face that is not among them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .candidates import TICKS_PER_S, Candidate, Candidates, Timeline
from .errors import ConfigError
from .pose import face_pose
from .types import BestShot, Crop, Detections, Quality, Rejection, TrackEnd, TrackResult, TrackSummary


@dataclass(frozen=True, slots=True)
class Selection:
    """What is worth keeping. None switches a test off.

    top_k: shots a track, ≥ 1. min_gap_s: least time between two kept shots of a track, ≥ 0; times are
    compared in whole microseconds of PTS.

    Tests before a chip is cut: min_detection: least score of the detector, in [0, 1]. min_face_px: least
    shorter side of the box, px of the frame. max_yaw_deg, max_pitch_deg, max_roll_deg: from the landmarks, in
    (0, 180]; the defaults are wide because the score already prefers frontal faces and beyond them five
    landmarks say little. max_truncated: largest share of the box outside the frame, in [0, 1]; after cutting,
    of the chip too.

    Tests on the quality: min_sharpness: least component "sharpness", in [0, 1]. min_score: least raw score,
    in the scorer's own units. min_quality: least calibrated score, in [0, 1]; a scorer without a calibration
    passes.

    Tests on the whole track: min_hits: detections of it, ≥ 1. min_track_s: first to last detection, ≥ 0.
    """

    top_k: int = 3
    min_gap_s: float = 0.5
    min_detection: float = 0.0
    min_face_px: float = 40.0
    max_yaw_deg: float | None = 60.0
    max_pitch_deg: float | None = 50.0
    max_roll_deg: float | None = 60.0
    max_truncated: float = 0.3
    min_sharpness: float | None = None
    min_score: float | None = None
    min_quality: float | None = None
    min_hits: int = 3
    min_track_s: float = 0.0

    def __post_init__(self) -> None:
        optional = (
            "max_yaw_deg",
            "max_pitch_deg",
            "max_roll_deg",
            "min_sharpness",
            "min_score",
            "min_quality",
        )
        for name, (low, high, kind) in _BOUNDS.items():
            value = getattr(self, name)
            if value is None and name in optional:
                continue
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                what = "a whole number" if kind is int else "a number"
                raise ConfigError(
                    f"selection.{name}: expected {what} from {low:g} to {high:g}, got {value!r}"
                )


_BOUNDS: dict[str, tuple[float, float, Any]] = {
    "top_k": (1, 1000, int),
    "min_gap_s": (0, 1e9, int | float),
    "min_detection": (0, 1, int | float),
    "min_face_px": (0, math.inf, int | float),
    "max_yaw_deg": (0, 180, int | float),
    "max_pitch_deg": (0, 180, int | float),
    "max_roll_deg": (0, 180, int | float),
    "max_truncated": (0, 1, int | float),
    "min_sharpness": (0, 1, int | float),
    "min_score": (-math.inf, math.inf, int | float),
    "min_quality": (0, 1, int | float),
    "min_hits": (1, math.inf, int),
    "min_track_s": (0, math.inf, int | float),
}


def gate(detections: Detections, width: int, height: int, *, selection: Selection) -> list[Rejection | None]:
    """The tests that need no pixels, for all faces of a width × height frame: why each is refused, or None.

    In this order: DOUBTFUL, TRUNCATED when the box or landmarks are not finite, SMALL, TRUNCATED, POSE (also
    when the landmarks have no pose and an angle is limited). functools.partial(gate, selection=…) fits
    a Pipeline.
    """
    faces = zip(
        detections.boxes.tolist(), detections.landmarks.tolist(), detections.scores.tolist(), strict=True
    )
    return [
        Rejection.DOUBTFUL
        if score < selection.min_detection
        else _refused(box, points, width, height, selection)
        for box, points, score in faces
    ]


def _refused(
    box: list[float], points: list[list[float]], width: int, height: int, selection: Selection
) -> Rejection | None:
    if not all(map(math.isfinite, itertools.chain(box, *points))):
        return Rejection.TRUNCATED
    x0, y0, x1, y1 = box
    if min(x1 - x0, y1 - y0) < max(selection.min_face_px, 1e-6):
        return Rejection.SMALL
    shown = max(min(x1, width) - max(x0, 0), 0) * max(min(y1, height) - max(y0, 0), 0)
    if shown < (1 - selection.max_truncated) * (x1 - x0) * (y1 - y0):
        return Rejection.TRUNCATED
    limits = (selection.max_yaw_deg, selection.max_pitch_deg, selection.max_roll_deg)
    # Compared so that the NaN of a face without a pose is beyond every limit.
    within = (
        limit is None or abs(math.degrees(angle)) <= limit
        for angle, limit in zip(face_pose(points), limits, strict=True)
    )
    return None if all(within) else Rejection.POSE


@dataclass(slots=True)
class _Track:
    """A live track. refused: detections that a test refused, by reason."""

    first_s: float
    last_s: float
    candidates: Candidates
    seen: int = 0
    scored: int = 0
    refused: Counter[Rejection] = field(default_factory=Counter)
    timeline: Timeline = field(default_factory=Timeline)


class TopKSelector:
    """The k best shots of each track of one source that lie min_gap_s or more apart. Implements Selector.

    The rule and its bound on memory are those of Candidates. Times of a track are to arrive in order; within
    a bucket of min_gap_s any order gives the same result.

    Short tracks. A LOST track with fewer than min_hits detections, or shorter than min_track_s, is most
    often no face, and gives no shots. A track that was cut short from outside, by a scene cut, the end of
    the source or a shutdown, was not given the time, so both tests are waived: the last face before the end
    of a file is kept if it is a candidate at all. Nor do they apply to stills.
    """

    def __init__(self, selection: Selection, *, source: str, stills: bool = False) -> None:
        """source: its name. stills: the frames are unrelated pictures."""
        self._selection = selection
        self._source = source
        self._stills = stills
        self._tracks: dict[int, _Track] = {}
        self._ended: set[int] = set()

    @property
    def held(self) -> int:
        """Crops in memory now, of all live tracks: at most 3·top_k − 2 each."""
        return sum(len(track.candidates) for track in self._tracks.values())

    def offer(self, crop: Crop, quality: Quality) -> Rejection | None:
        """A scored candidate, and why it is refused, if it is.

        ConfigError when min_sharpness is set and the scorer does not measure it.

        Refused, besides by the settings' tests: a score that is not finite, as LOW_SCORE.
        """
        refused = self._refusal(crop, quality)
        track = self._see(crop.track, crop.pts_s)
        track.scored += 1
        track.timeline.add(crop, quality.score, refused)
        if refused is not None:
            track.refused[refused] += 1
        else:
            track.candidates.add(Candidate(crop, quality, round(crop.pts_s * TICKS_PER_S)))
        return refused

    def reject(self, track: int, pts_s: float, reason: Rejection) -> None:
        """A detection of the track that a gate refused before it was scored."""
        self._see(track, pts_s).refused[reason] += 1

    def peek(self, track: int) -> tuple[BestShot, ...]:
        """What a live track would give if it were cut short now, best first; () for one not known."""
        known = self._tracks.get(track)
        return self._shots(known, known.candidates.choose()) if known else ()

    def end(self, track: int, why: TrackEnd) -> TrackResult | None:
        """The track's terminal event; None if it was never offered or rejected anything, or has ended."""
        known = self._tracks.pop(track, None)
        if known is None:
            return None
        self._ended.add(track)
        short = self._is_short(known, why)
        chosen = () if short else known.candidates.choose()
        rejected = known.refused.copy()
        if short:
            rejected[Rejection.SHORT_TRACK] += known.seen - rejected.total()
        else:
            rejected += known.candidates.lost(chosen)
        summary = TrackSummary(
            source=self._source,
            track=track,
            identity=None,
            first_pts_s=known.first_s,
            last_pts_s=known.last_s,
            frames_seen=known.seen,
            frames_scored=known.scored,
            kept=len(chosen),
            rejected=MappingProxyType({reason: rejected[reason] for reason in Rejection if rejected[reason]}),
            end=why,
            timeline=known.timeline.points(known.candidates, chosen, short=short),
        )
        return TrackResult(summary, self._shots(known, chosen))

    def _see(self, track: int, pts_s: float) -> _Track:
        if track in self._ended:
            raise ValueError(f"track {track} of {self._source!r} has ended: it cannot be seen at {pts_s} s")
        known = self._tracks.get(track)
        if known is None:
            wanted = self._selection
            known = _Track(pts_s, pts_s, Candidates(wanted.top_k, wanted.min_gap_s))
            self._tracks[track] = known
        known.first_s, known.last_s = min(known.first_s, pts_s), max(known.last_s, pts_s)
        known.seen += 1
        return known

    def _refusal(self, crop: Crop, quality: Quality) -> Rejection | None:
        wanted = self._selection
        if crop.truncated > wanted.max_truncated:
            return Rejection.TRUNCATED
        if wanted.min_sharpness is not None:
            sharpness = quality.factors.get("sharpness")
            if sharpness is None:
                raise ConfigError(
                    f"selection.min_sharpness = {wanted.min_sharpness} needs a scorer with a component "
                    f"'sharpness', got {quality.model!r} with {sorted(quality.factors)}"
                )
            if sharpness < wanted.min_sharpness:
                return Rejection.BLURRED
        low = wanted.min_score is not None and quality.score < wanted.min_score
        if wanted.min_quality is not None and quality.calibrated is not None:
            low = low or quality.calibrated < wanted.min_quality
        return Rejection.LOW_SCORE if low or not math.isfinite(quality.score) else None

    def _is_short(self, track: _Track, why: TrackEnd) -> bool:
        if self._stills or why is not TrackEnd.LOST:
            return False
        wanted = self._selection
        return track.seen < wanted.min_hits or track.last_s - track.first_s < wanted.min_track_s

    def _shots(self, track: _Track, chosen: Sequence[Candidate]) -> tuple[BestShot, ...]:
        best = f"best of {track.scored} scored"
        other = f"next best at {self._selection.min_gap_s:g} s or more from better shots"
        return tuple(
            BestShot(self._source, c.crop, c.quality, rank, best if rank == 1 else other)
            for rank, c in enumerate(chosen, 1)
        )
