"""From a camera's own clock to ours."""

from __future__ import annotations

_HALF_WINDOW_S = 15.0
_SLEW = 0.005  # seconds of correction a second: above any crystal's drift, too slow to be seen as a jump
_LOCKING_S = 5.0


class WallClock:
    """Places presentation times on the wall clock.

    A frame arrives after it was shown to the sensor: encoder, network and our own queue delay it, never
    hasten it. So the least of (arrival − PTS) over the last half minute is the offset that jitter disturbs
    least, and following that least corrects the drift of the camera's crystal. The first seconds take each
    new least at once, later the offset moves by at most 5 ms a second. Times given out never go back, but
    with our own clock.
    """

    def __init__(self) -> None:
        self._start_s: float | None = None
        self._bucket_s = 0.0
        self._before: float | None = None
        self._now = float("inf")
        self._offset = 0.0
        self._last_pts_s = 0.0
        self._last_wall_s = float("-inf")

    def set_by(self, step_s: float) -> None:
        """Our own clock was set ahead or back by so many seconds: what comes is told by it as it is now."""
        self._offset += step_s
        self._now += step_s
        self._before = None if self._before is None else self._before + step_s
        self._last_wall_s += step_s

    def place(self, pts_s: float, arrival_s: float) -> float:
        """Unix seconds at which the frame of pts_s was shown; arrival_s: Unix seconds when it came."""
        lag = arrival_s - pts_s
        if self._start_s is None:
            self._start_s = self._bucket_s = self._last_pts_s = pts_s
            self._offset = lag
        if pts_s - self._bucket_s >= _HALF_WINDOW_S:
            self._bucket_s, self._before, self._now = pts_s, self._now, lag
        self._now = min(self._now, lag)
        least = self._now if self._before is None else min(self._now, self._before)
        step = least - self._offset
        if pts_s - self._start_s > _LOCKING_S:
            most = _SLEW * max(pts_s - self._last_pts_s, 0.0)
            step = min(max(step, -most), most)
        self._offset += step
        self._last_pts_s = pts_s
        self._last_wall_s = max(self._last_wall_s, pts_s + self._offset)
        return self._last_wall_s
