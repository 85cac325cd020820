"""How a camera fares."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import Detections, Frame, Tracking
from .areas import Areas
from .histogram import Binned
from .reader import CameraStatus


@dataclass(frozen=True, slots=True)
class Look:
    """The newest frame that was looked at, for a preview."""

    frame: Frame
    found: Detections
    tracking: Tracking


@dataclass(frozen=True, slots=True)
class CameraReport:
    """How a camera fares. latencies_s: of the newest frames, from decoded to done; latency: of all. queued:
    frames that wait. degraded: looked at less often than was asked for, because the machine cannot keep up.
    areas: see CameraPlan. sub_stream: whether it has one."""

    status: CameraStatus
    areas: Areas
    sub_stream: bool
    hz: float
    degraded: bool
    processed: int
    dropped: int
    faces: int
    tracks_started: int
    tracks_ended: int
    shots: int
    errors: int
    latencies_s: tuple[float, ...]
    latency: Binned
    queued: int
    quality: float | None
