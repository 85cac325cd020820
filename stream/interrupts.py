"""Ctrl-C and SIGTERM as a wish to end, so that what is finished is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_nothing_begun = False


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """For as long as the block lasts, Ctrl-C (and SIGTERM) ask for a clean end; a second one ends at once."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked_before = stop.is_set()
        stop.set()
        if asked_before or _nothing_begun:
            raise KeyboardInterrupt

    before: dict[int, Any] = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)
    }
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
