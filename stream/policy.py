"""What is worth keeping of a track, and when it is told: the one object that says it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .errors import ConfigError

Diversity = Literal["none", "time", "pose", "embedding"]
Emit = Literal["quality", "timeliness", "realtime"]
Fit = Callable[[Mapping[str, float]], tuple[str, ...]]
"""Quality components by name → the names of the requirements that they fail; () is fit."""

UNCOVERED = "face_occlusion_prevention"
"""The component that max_occlusion limits: 100 × the share of the face that nothing covers."""


@dataclass(frozen=True, slots=True)
class SelectionPolicy:
    """Which faces of a track are kept, and when they are told. None switches a test off. Times are PTS.

    top_k: shots a track (or a window of it), ≥ 1. min_gap_s: least time between two kept shots of a track,
    ≥ 0; times are compared in whole microseconds of PTS. max_track_s: a track that goes on for so long gives
    a result and begins anew as its next window; at least min_track_s.

    Tests before a chip is cut: min_detection: least score of the detector, in [0, 1]. min_face_px: least
    shorter side of the box, px of the frame. max_yaw_deg, max_pitch_deg, max_roll_deg: from the landmarks, in
    (0, 180]; the defaults are wide because the score already prefers frontal faces and beyond them five
    landmarks say little. max_truncated: largest share of the box outside the frame, in [0, 1].

    Tests on the chip: max_truncated again, of the chip. min_sharpness: least sharpness as AnalyticalScorer
    measures it, in [0, 1], whoever scores.

    Tests on the quality: min_score: least raw score, in the scorer's own units. min_quality: least calibrated
    score, in [0, 1]; a scorer without a calibration passes.

    Tests on the components, which an Assessor measures only of candidates that passed everything else and
    could still become a shot: max_occlusion: largest covered share of the face, in [0, 1], 1 −
    face_occlusion_prevention / 100. fit: a requirement profile. prefer_fit: where no face of a track (or
    window) is fit, the best of those that failed nothing but the profile are kept, and say what they lack;
    with False such a track has no shot.

    Tests on the whole track: min_hits: detections of it, ≥ 1. min_track_s: first to last detection, ≥ 0.

    enrol_min_quality: least calibrated score, in [0, 1], of a shot that is marked fit to enrol; without a
    calibration none is.

    diversity: what the kept shots should differ in, so that near-identical frames don't fill the places;
    diversity_weight: the calibrated quality, in [0, 1], that being wholly unlike the other shots is worth
    (see stream/diversity.py).

    emit: quality: a track's shots are told when it ends. timeliness: besides, one shot is told early: the
    first whose calibrated score reaches quick_threshold, or else the best so far max_wait_s after the first
    detection. realtime: besides, every better shot is told, silent_s apart at least. An early shot waits for
    min_hits and min_track_s, as a shorter track would give none.
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
    max_occlusion: float | None = None
    fit: Fit | None = None
    prefer_fit: bool = False
    min_score: float | None = None
    min_quality: float | None = None
    enrol_min_quality: float | None = None
    min_hits: int = 3
    min_track_s: float = 0.0
    max_track_s: float | None = None
    diversity: Diversity = "none"
    diversity_weight: float = 0.2
    emit: Emit = "quality"
    quick_threshold: float = 0.7
    max_wait_s: float = 2.0
    silent_s: float = 1.0

    def __post_init__(self) -> None:
        for name, (low, high, kind) in _BOUNDS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                what = "a whole number" if kind is int else "a number"
                raise ConfigError(
                    f"selection.{name}: expected {what} from {low:g} to {high:g}, got {value!r}"
                )
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                got = getattr(self, name)
                raise ConfigError(f"selection.{name}: expected one of {', '.join(known)}, got {got!r}")
        if self.prefer_fit and self.fit is None:
            raise ConfigError("selection.prefer_fit: expected a selection.profile to prefer by, got none")
        if self.max_track_s is not None and self.max_track_s < self.min_track_s:
            raise ConfigError(
                f"selection: expected a max_track of at least min_track, {self.min_track_s:g} s, "
                f"got {self.max_track_s:g} s"
            )

    @property
    def judges_components(self) -> bool:
        """Whether a candidate's components decide, so that an Assessor is needed."""
        return self.max_occlusion is not None or self.fit is not None


_OPTIONAL = frozenset(
    (
        *("max_yaw_deg", "max_pitch_deg", "max_roll_deg", "min_sharpness", "max_occlusion"),
        *("min_score", "min_quality", "enrol_min_quality", "max_track_s"),
    )
)
_CHOICES = {"diversity": get_args(Diversity), "emit": get_args(Emit)}
_NUMBER = int | float
_BOUNDS: dict[str, tuple[float, float, Any]] = {
    "top_k": (1, 1000, int),
    "min_gap_s": (0, 1e9, _NUMBER),
    "min_detection": (0, 1, _NUMBER),
    "min_face_px": (0, math.inf, _NUMBER),
    "max_yaw_deg": (0, 180, _NUMBER),
    "max_pitch_deg": (0, 180, _NUMBER),
    "max_roll_deg": (0, 180, _NUMBER),
    "max_truncated": (0, 1, _NUMBER),
    "min_sharpness": (0, 1, _NUMBER),
    "max_occlusion": (0, 1, _NUMBER),
    "min_score": (-math.inf, math.inf, _NUMBER),
    "min_quality": (0, 1, _NUMBER),
    "enrol_min_quality": (0, 1, _NUMBER),
    "min_hits": (1, math.inf, int),
    "min_track_s": (0, math.inf, _NUMBER),
    "max_track_s": (1e-3, 1e9, _NUMBER),
    "diversity_weight": (0, 1, _NUMBER),
    "quick_threshold": (0, 1, _NUMBER),
    "max_wait_s": (0, 1e9, _NUMBER),
    "silent_s": (0, 1e9, _NUMBER),
}
