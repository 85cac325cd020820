"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double from first_s to most_s, each drawn evenly from its upper half.

    The draw keeps many cameras of one failed switch from coming back in step.
    """

    def __init__(self, first_s: float, most_s: float, rng: random.Random) -> None:
        if not 0 < first_s <= most_s:
            raise ValueError(f"expected 0 < first_s <= most_s, got {first_s} and {most_s}")
        self._first_s, self._most_s, self._rng = first_s, most_s, rng
        self._tries = 0

    @property
    def tries(self) -> int:
        """Waits drawn since the last success."""
        return self._tries

    def next_s(self) -> float:
        """The next wait in seconds, in [first_s / 2, most_s]."""
        full = min(self._most_s, self._first_s * 2.0 ** min(self._tries, 60))
        self._tries += 1
        return full * (0.5 + 0.5 * self._rng.random())

    def reset(self) -> None:
        """It worked: begin anew."""
        self._tries = 0
