"""How long work is told to end: by Ctrl-C, by SIGTERM, by its terminal's end, or because its time is up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..stream.interrupts import interruptible


@dataclass(slots=True)
class Stopping:
    """Called between two steps: whether this one was the last. interrupted: `asked`, by somebody.

    until_s: of `clock`, infinite for no limit.
    """

    until_s: float = float("inf")
    clock: Callable[[], float] = time.monotonic
    asked: threading.Event = field(default_factory=threading.Event)

    @property
    def interrupted(self) -> bool:
        return self.asked.is_set()

    def __call__(self) -> bool:
        return self.interrupted or self.clock() >= self.until_s


@contextmanager
def stopping(minutes: float | None = None) -> Iterator[Stopping]:
    """A first Ctrl-C, SIGTERM or SIGHUP lets the step at hand end, so that it can be saved; a second one (but
    for SIGHUP) ends at once.

    minutes: from now, after which to end likewise; None for no limit.
    """
    until_s = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    with interruptible() as asked:
        yield Stopping(until_s, asked=asked)
