"""Ctrl-C, SIGTERM and a terminal that closes as a wish to end, so that what is finished is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_nothing_begun = False


def wishes() -> tuple[int, ...]:
    """The signals that ask for an end. A closing terminal does not where the process was started to ignore it
    (nohup); SIGINT does, though a script's background jobs inherit that it is ignored: it is sent by hand."""
    deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM) if deaf else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_urgent(number: int) -> bool:
    """Whether a repeated wish means at once. Of a terminal that closes, kernel and shell tell in turn."""
    return number != signal.SIGHUP


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """For as long as the block lasts, such a wish asks for a clean end; a second Ctrl-C or SIGTERM ends at
    once."""
    stop = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        again = stop.is_set() and is_urgent(number)
        stop.set()
        if again or _nothing_begun:
            raise KeyboardInterrupt

    before: dict[int, Any] = {number: signal.signal(number, ask) for number in wishes()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def before_anything_is_begun(stop: threading.Event) -> Iterator[None]:
    """Within the block (waiting for a pipe's first byte, for weights) there is nothing to finish: a wish to
    end, also one of a moment before, raises KeyboardInterrupt at once. Of the main thread only."""
    global _nothing_begun
    _nothing_begun = True
    try:
        if stop.is_set():
            raise KeyboardInterrupt
        yield
        if stop.is_set():  # a library swallowed it
            raise KeyboardInterrupt
    finally:
        _nothing_begun = False
