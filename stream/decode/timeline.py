"""Presentation times that can be relied on, out of those that files hold."""

from __future__ import annotations

import math
from fractions import Fraction
from heapq import heapify, heappop, heappush

_RESET_S = 1.0  # back by more than this: the stream's clock was set anew (joined files, a camera restarting)
_GAP_S = 30 * 86400.0  # forward by more than this: a damaged timestamp
_FAR_S = 1e11  # a first timestamp beyond this is damaged; below it doubles still resolve 15 µs
_DEFAULT_RATE = 25


class Timeline:
    """Places each frame in time: finite, ≥ 0, strictly increasing, and the file's own wherever that is so.

    - The first frame keeps its presentation time: a stream that starts at 0.85 s starts at 0.85 s, so times
      agree with what players and the sound show. Only a negative first time moves the whole stream to 0.
    - A frame without a timestamp comes one frame interval after the one before.
    - A duplicate, or one up to 1 s back: half an interval after the one before (a whole one when that
      happens again at once), and the frames after it keep their own times.
    - More than 1 s back, or more than 30 days ahead: the clock was set anew. The frame comes one interval
      after the one before and all later ones move with it.
    """

    def __init__(self, rate: Fraction | float | None) -> None:
        """rate: nominal frames per second; None or an absurd one means 25."""
        sane = rate is not None and 0.1 <= rate <= 1000
        self.interval_s = float(1 / rate) if sane and rate else 1 / _DEFAULT_RATE
        self.last_s: float | None = None
        self._shift_s = 0.0
        self._stuck = False

    def place(self, pts_s: float | None) -> float:
        """The time of the next frame in presentation order. pts_s: as the stream has it, seconds."""
        if pts_s is not None and not math.isfinite(pts_s):
            pts_s = None
        if self.last_s is None:
            at = 0.0 if pts_s is None else pts_s
            if not 0 <= at <= _FAR_S:
                self._shift_s, at = -at, 0.0
            self.last_s = at
            return at
        at = self.last_s + self.interval_s if pts_s is None else self._follow(pts_s, self.last_s)
        self.last_s = max(at, math.nextafter(self.last_s, math.inf))
        return self.last_s

    def _follow(self, pts_s: float, last_s: float) -> float:
        at = pts_s + self._shift_s
        if last_s - _RESET_S <= at <= last_s:
            step = self.interval_s * (1.0 if self._stuck else 0.5)
            self._stuck = True
            return last_s + step
        self._stuck = False
        if last_s < at <= last_s + _GAP_S:
            return at
        self._shift_s = last_s + self.interval_s - pts_s
        return last_s + self.interval_s


class DecodeOrder:
    """Gives frames, which leave a decoder in presentation order, the sorted times of what was put in."""

    def __init__(self) -> None:
        self._waiting: list[int] = []

    def sent(self, time: int | None) -> None:
        """A packet of this time went into the decoder."""
        if time is not None:
            heappush(self._waiting, time)

    def lost(self, time: int | None) -> None:
        """No frame will come of the packet of this time."""
        if time is not None and time in self._waiting:
            self._waiting.remove(time)
            heapify(self._waiting)

    def shown(self, time: int | None) -> int | None:
        """The time of the frame that the decoder gave out under `time`."""
        return heappop(self._waiting) if self._waiting else time
