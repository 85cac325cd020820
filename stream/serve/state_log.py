"""How a camera fares, as lines of the log: each turn once, however often it is tried again."""

from __future__ import annotations

import logging
from typing import Final

from .reader import CameraStatus, State

_LOG = logging.getLogger("facesieve.serve")
REMIND_S: Final = 3600.0
_TROUBLE = (State.LOST, State.STALLED)
_WAITS = (State.CONNECTING, State.BACKING_OFF)


class StateLog:
    """Of one camera; called with every change of its state, one at a time.

    What it is lost for is told when that begins, when the reason changes, and once an hour; that it is live
    again is told with how long it was away. Tries in between are for `--verbose`.
    """

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._state: State | None = None
        self._reason = ""
        self._lost_s: float | None = None
        self._told_s = 0.0
        self._degraded = False
        self._overload_at: float | None = None

    def tell(self, status: CameraStatus, *, hz: float, degraded: bool, now: float) -> None:
        """hz: looks a second now. degraded: whether that is less than was asked for. now: monotonic time."""
        if degraded != self._degraded:
            self._degraded = degraded
            self._load(hz, now)
        if status.state in _TROUBLE:
            self._trouble(status)
        elif status.state in _WAITS:
            _LOG.debug("camera %s: %s: %s", self._camera, status.state, status.reason)
        elif status.state is not self._state:
            self._turn(status)
        self._state = status.state

    def _load(self, hz: float, now: float) -> None:
        """Overload that comes and goes every few seconds is told once in an hour."""
        if self._degraded and (self._overload_at is None or now - self._overload_at >= REMIND_S):
            self._overload_at = now
            _LOG.warning("camera %s: overloaded, looked at %.3g times a second", self._camera, hz)

    def _turn(self, status: CameraStatus) -> None:
        """It is live, or was stopped."""
        if status.state is State.STOPPED:
            _LOG.info("camera %s: stopped", self._camera)
        elif self._lost_s is None:
            _LOG.info("camera %s: live", self._camera)
        else:
            _LOG.info("camera %s: live again after %.0f s", self._camera, status.since_s - self._lost_s)
        self._lost_s, self._reason = None, ""

    def _trouble(self, status: CameraStatus) -> None:
        first = self._lost_s is None
        if first:
            self._lost_s = status.since_s
        if first or status.reason != self._reason or abs(status.since_s - self._told_s) >= REMIND_S:
            self._reason, self._told_s = status.reason, status.since_s
            _LOG.warning("camera %s: %s: %s", self._camera, status.state, status.reason)
