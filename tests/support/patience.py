"""Waiting in tests: for a state, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE_S = 120.0
"""Longest wait for what has to come, far beyond what a slow machine needs: only what hangs reaches it."""


def until(done: Callable[[], Found], told: Callable[[], object] = str, within_s: float = PATIENCE_S) -> Found:
    """Wait until done() is true, and return what it gave. told: what the failure shows."""
    deadline = time.monotonic() + within_s
    while not (found := done()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
    return found
