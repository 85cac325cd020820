"""One session of a camera: its frames placed in time, and a watchdog over the connection."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame

from ..cadence import Cadence
from ..decode.orientation import Orientation, of_frame
from ..decode.picture import Converter, FramePicture
from ..decode.timeline import Timeline
from ..types import U8, Frame
from .live import StreamStalled
from .reader import CameraSettings
from .wall import WallClock

_SET_S = 0.5


class Reading:
    """One session: the times of its frames, which are due, and whether the next still belongs to it.

    aspect: of its pixels, see pixel_aspect.
    """

    def __init__(self, name: str, rate: Fraction | None, converter: Converter, aspect: float = 1.0) -> None:
        self._name, self._converter, self._aspect = name, converter, aspect
        self._timeline, self._wall = Timeline(rate), WallClock()
        self._cadence, self._hz = Cadence(hz=0.0), 0.0
        self._orientations: dict[int, Orientation] = {}
        self._size: tuple[int, int] | None = None
        self._sent_s: float | None = None
        self._least_lag_s = float("inf")
        self._ours_s: float | None = None
        self._index = 0

    def broken(self, frame: VideoFrame, sent_s: float | None, now: float, jump_s: float) -> str:
        """Why this frame does not follow the one before; "" when it does."""
        if self._size is not None and self._size != (frame.width, frame.height):
            return f"the picture changed from {self._size[0]}×{self._size[1]} to {frame.width}×{frame.height}"
        if self._sent_s is None or sent_s is None:
            return ""
        step_s = sent_s - self._sent_s
        # After a gap in the network the camera is ahead of its frame before, but not of our clock.
        ahead_s = self._least_lag_s - (now - sent_s)
        if step_s < -jump_s or (step_s > jump_s and ahead_s > jump_s):
            return f"the camera's clock jumped by {step_s:+.1f} s"
        return ""

    def due(
        self, decoded: VideoFrame, sent_s: float | None, now: float, wall_s: float, hz: float
    ) -> Frame | None:
        """Place the next frame in time; it is given if its turn has come."""
        self._size = decoded.width, decoded.height
        if sent_s is not None:
            self._sent_s, self._least_lag_s = sent_s, min(self._least_lag_s, now - sent_s)
        at_s, index = self._timeline.place(sent_s), self._index
        # By how much our clock was set since the frame before: the other one never is.
        set_s = 0.0 if self._ours_s is None else wall_s - now - self._ours_s
        self._ours_s = wall_s - now
        if abs(set_s) > _SET_S:
            self._wall.set_by(set_s)
        shown_s = self._wall.place(at_s, wall_s)
        self._index += 1
        if hz != self._hz:
            self._cadence, self._hz = Cadence(hz=hz), hz
        if not self._cadence.takes(at_s):
            return None
        angle = decoded.rotation
        if angle not in self._orientations:
            self._orientations[angle] = of_frame(decoded)
        picture = FramePicture(decoded, self._converter, self._orientations[angle], self._aspect)
        return Frame(self._name, index, at_s, shown_s, picture)


class Watchdog:
    """Gives up on a connection that is alive and useless. Silence is not its business: no packet, no look."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        self._sent_s: float | None = None
        self._thumb: U8 | None = None
        self.begin()

    def begin(self) -> None:
        """The connection is open: count from now."""
        self._frame_at = self._moved_at = self._changed_at = time.monotonic()

    def frame(self, now: float, sent_s: float | None) -> None:
        """A frame was decoded. sent_s: its time by the camera."""
        self._frame_at = now
        if sent_s is None or sent_s != self._sent_s:
            self._moved_at = now
        self._sent_s = sent_s

    def picture(self, now: float, thumb: U8) -> None:
        """What a frame looks like."""
        if self._thumb is None or not np.array_equal(thumb, self._thumb):
            self._changed_at = now
        self._thumb = thumb

    def check(self) -> None:
        """Raises StreamStalled."""
        now, stall_s, frozen_s = time.monotonic(), self._settings.stall_s, self._settings.frozen_s
        if now - self._frame_at > stall_s:
            raise StreamStalled(f"no frame could be decoded for {stall_s:g} s")
        if now - self._moved_at > stall_s:
            raise StreamStalled(f"its times have stood still for {stall_s:g} s")
        if frozen_s is not None and now - self._changed_at > frozen_s:
            raise StreamStalled(f"its picture has been frozen for {frozen_s:g} s")
