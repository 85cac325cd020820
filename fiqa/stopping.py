"""How long work is told to end: by Ctrl-C, by SIGTERM, or because its time is up."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(slots=True)
class Stopping:
    """Called between two steps: whether this one was the last. interrupted: because somebody asked.

    until_s: of `clock`, infinite for no limit.
    """

    until_s: float = float("inf")
    clock: Callable[[], float] = time.monotonic
    interrupted: bool = False

    def __call__(self) -> bool:
        return self.interrupted or self.clock() >= self.until_s


@contextmanager
def stopping(minutes: float | None = None) -> Iterator[Stopping]:
    """A first Ctrl-C or SIGTERM lets the step at hand end, so that it can be saved; a second ends at once.

    minutes: from now, after which to end likewise; None for no limit.
    """
    stop = Stopping() if minutes is None else Stopping(time.monotonic() + 60 * minutes)

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.interrupted:
            raise KeyboardInterrupt
        stop.interrupted = True

    before: dict[int, Any] = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
