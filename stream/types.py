"""The values that flow through facesieve. Frozen; arrays in them are not to be written to.

Pixels: x to the right, y down, of the decoded, upright (rotation applied) frame; a box is half-open,
[x0, x1) × [y0, y1); a point (x, y) names the centre of pixel (x, y), as OpenCV's warps have it. Times:
seconds of the source's own clock (PTS), and Unix seconds of the wall clock for live sources only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .ports import Picture

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
TrackKey = tuple[str, str, int, int]
"""Run of the service, camera, session, track: names a track of a live camera for ever."""

CHIP_PX = 112
UNCONFIRMED = -1
_NOTHING: Mapping[str, float] = MappingProxyType({})
_NONE: Mapping[str, int] = MappingProxyType({})


class Rejection(StrEnum):
    """Why a face that was seen is not among the shots."""

    DOUBTFUL = "doubtful"
    SMALL = "small"
    BLURRED = "blurred"
    POSE = "pose"
    OCCLUDED = "occluded"
    UNFIT = "unfit"
    TRUNCATED = "truncated"
    LOW_SCORE = "low_score"
    NEAR_DUPLICATE = "near_duplicate"
    SHORT_TRACK = "short_track"
    OUTSCORED = "outscored"


class TrackEnd(StrEnum):
    """Why a track, or a window of it, ended. Every announced track ends exactly once.

    SLIPPED: the tracker went on with somebody else's face, which has a track of its own from there. WINDOW is
    no end of the track: it goes on, and what came so far was long enough for a result of its own.
    """

    LOST = "lost"
    SLIPPED = "slipped"
    SCENE_CUT = "scene_cut"
    END_OF_SOURCE = "end_of_source"
    SHUTDOWN = "shutdown"
    WINDOW = "window"


class Why(StrEnum):
    """Why a shot was given before its track ended."""

    QUICK = "quick"
    DEADLINE = "deadline"
    IMPROVED = "improved"


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame; its pixels stay in the decoder's planes until asked for.

    source: name of the source. index: position in the source, from 0. pts_s: presentation time in seconds,
    finite and strictly increasing within a source. wall_s: Unix time of arrival, live sources only. chosen:
    whether the source picked it to be looked at, of those near each moment that is due; None where it leaves
    that to a Cadence.
    """

    source: str
    index: int
    pts_s: float
    wall_s: float | None
    picture: Picture
    chosen: bool | None = None


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces found in one frame, best first.

    boxes: (n, 4) float32, x0 y0 x1 y1 in pixels of the decoded frame, half-open; may reach over its edge.
    scores: (n,) float32 in [0, 1].
    landmarks: (n, 5, 2) float32 px: eye on the image's left, other eye, nose tip, mouth corners left, right.
    """

    boxes: F32
    scores: F32
    landmarks: F32

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.boxes.shape != (n, 4) or self.landmarks.shape != (n, 5, 2) or self.scores.shape != (n,):
            raise ValueError(
                "expected boxes (n, 4), scores (n,), landmarks (n, 5, 2), got "
                f"{self.boxes.shape = }, {self.scores.shape = }, {self.landmarks.shape = }"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def empty() -> Detections:
        """No face."""
        return Detections(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
        )


@dataclass(frozen=True, slots=True)
class Tracking:
    """What a tracker made of one frame's detections.

    ids: (n,) int64, the track of each detection in its order; UNCONFIRMED (-1) where it has none (yet).
    ended: tracks that were given out by this tracker before and will never be again.
    """

    ids: I64
    ended: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Crop:
    """One face of one frame, cut out.

    track: its track. frame_index, pts_s, wall_s: of its frame. chip: (112, 112, 3) uint8 RGB, aligned to the
    ArcFace points. portrait: (h, w, 3) uint8 RGB, the box with margin at full resolution, or None when not
    asked for. portrait_origin: (x0, y0) px of the portrait in the frame. box: (4,) float32 and landmarks:
    (5, 2) float32 in px of the frame. detection_score: in [0, 1]. eye_distance_px: between the eye points, in
    pixels of the frame. truncated: share of the chip, in [0, 1], that lies outside the frame (those pixels
    are black, none is invented).
    """

    track: int
    frame_index: int
    pts_s: float
    wall_s: float | None
    chip: U8
    portrait: U8 | None
    portrait_origin: tuple[int, int]
    box: F32
    landmarks: F32
    detection_score: float
    eye_distance_px: float
    truncated: float

    def __post_init__(self) -> None:
        if self.chip.shape != (CHIP_PX, CHIP_PX, 3) or self.chip.dtype != np.uint8:
            raise ValueError(f"expected a chip (112, 112, 3) uint8, got {self.chip.shape} {self.chip.dtype}")

    @staticmethod
    def of_chip(
        chip: U8,
        landmarks: F32,
        *,
        index: int = 0,
        eye_distance_px: float | None = None,
        truncated: float = 0.0,
    ) -> Crop:
        """A chip that comes from a picture rather than from a video, as frame `index` of track 0.

        landmarks: (5, 2) px, where they were before the chip was cut. eye_distance_px: None = theirs.
        """
        eyes = float(np.hypot(*(landmarks[1] - landmarks[0]))) if eye_distance_px is None else eye_distance_px
        return Crop(
            track=0,
            frame_index=index,
            pts_s=float(index),
            wall_s=None,
            chip=chip,
            portrait=None,
            portrait_origin=(0, 0),
            box=np.concatenate([landmarks.min(0), landmarks.max(0)]).astype(np.float32),
            landmarks=landmarks,
            detection_score=1.0,
            eye_distance_px=eyes,
            truncated=truncated,
        )


@dataclass(frozen=True, slots=True)
class Quality:
    """How fit a crop is for recognition.

    score: the model's own, higher is better, comparable only within one model; selection orders by it.
    calibrated: in [0, 1] where the model has a calibration, else None. model: the scorer's name. embedding:
    (d,) float32 of unit length or None. factors: what the score is made of, each in [0, 1], higher is better.
    components: measured on the crop after ISO/IEC 29794-5, each 0–100, higher is better, or degrees where the
    name ends in _deg; empty unless an Assessor measured them.
    """

    score: float
    model: str
    calibrated: float | None = None
    factors: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    embedding: F32 | None = None
    components: Mapping[str, float] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a detection was refused. failed: the requirements that it missed, where the reason has parts."""

    reason: Rejection
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BestShot:
    """A crop that was kept. rank: 1 is the track's best. reason: why it was kept. enrol: good enough to enrol
    its person, not only to recognise. unfit: the requirements that it misses, worst first, where the policy
    keeps the best of the unfit when nothing fit is found."""

    source: str
    crop: Crop
    quality: Quality
    rank: int
    reason: str
    enrol: bool = False
    unfit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShotRevision:
    """A shot that is given before its track ends: the best until then.

    window: of the track (see TrackSummary). revision: from 1 in every window, rising by one; the shot's score
    rises with it. pts_s: when it was given, at or after the shot's own.
    """

    source: str
    track: int
    window: int
    revision: int
    pts_s: float
    shot: BestShot
    why: Why


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """One scored candidate, without its pixels: what a quality-over-time plot needs."""

    pts_s: float
    score: float
    rejected: Rejection | None
    calibrated: float | None = None


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """A track's whole life, made when it ends; or, of a track that is cut into windows, one window of it.

    window: its number, from 0; only the last ends otherwise than with TrackEnd.WINDOW. frames_seen:
    detections of it. frames_scored: those that were scored. rejected: how many detections fell to each
    reason; kept + sum(rejected) = frames_seen. timeline: scored candidates in time order, thinned to a
    bounded number. identity: set by identity clustering, else None. failed: of the faces refused for their
    pose or by a requirement profile, how many failed each requirement, by name; one may fail several.
    """

    source: str
    track: int
    identity: int | None
    first_pts_s: float
    last_pts_s: float
    frames_seen: int
    frames_scored: int
    kept: int
    rejected: Mapping[Rejection, int]
    end: TrackEnd
    timeline: tuple[ScorePoint, ...] = ()
    window: int = 0
    failed: Mapping[str, int] = field(default_factory=lambda: _NONE)


@dataclass(frozen=True, slots=True)
class TrackResult:
    """The terminal event of a track or of a window of it: its summary and the shots kept of it, best first
    (none if all fell)."""

    summary: TrackSummary
    shots: tuple[BestShot, ...]
