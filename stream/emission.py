"""What is told of a track before it ends, and when."""

from __future__ import annotations

from .candidates import Candidate, ticks
from .policy import SelectionPolicy
from .types import Why

REASONS = {
    Why.QUICK: "the first good enough to be told at once",
    Why.DEADLINE: "the best when the time was up",
    Why.IMPROVED: "the best so far",
}


class Emission:
    """Early shots of one window of one track: which is due, and that each is better than the one before."""

    def __init__(self, policy: SelectionPolicy, begun_s: float) -> None:
        """begun_s: PTS of the window's first detection."""
        self._policy = policy
        self._begun = ticks(begun_s)
        self._given: Candidate | None = None
        self._last = self._begun
        self.count = 0

    def due(self, best: Candidate | None, pts_s: float) -> Why | None:
        """Why to tell the best candidate so far at pts_s, or None; what is due counts as told."""
        if best is None or (self._given is not None and best.quality.score <= self._given.quality.score):
            return None
        why = self._timely(best, pts_s) if self._policy.emit == "timeliness" else self._better(pts_s)
        if why is not None:
            self._given, self._last = best, ticks(pts_s)
            self.count += 1
        return why

    def _timely(self, best: Candidate, pts_s: float) -> Why | None:
        if self._given is not None:
            return None
        calibrated = best.quality.calibrated
        if calibrated is not None and calibrated >= self._policy.quick_threshold:
            return Why.QUICK
        late = ticks(pts_s) - self._begun >= ticks(self._policy.max_wait_s)
        return Why.DEADLINE if late else None

    def _better(self, pts_s: float) -> Why | None:
        silent = self._given is not None and ticks(pts_s) - self._last < ticks(self._policy.silent_s)
        return None if silent else Why.IMPROVED
