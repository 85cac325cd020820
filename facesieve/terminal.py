"""Where people read: rich's console, but for its end when nobody reads any more, or can."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TextIO

from rich.console import Console


def give_up(stream: TextIO) -> None:
    """What is still buffered for a standard stream goes nowhere, and so does what comes, so that the end of
    the process does not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def complain(write: Callable[[], object]) -> None:
    """What is for standard error, which may be gone or full: the exit code says it, too."""
    try:
        write()
        sys.stderr.flush()
    except OSError:
        give_up(sys.stderr)


class Terminal(Console):
    """rich would leave with exit code 1, which stands for a bug here; err: standard error instead of output.

    Highlights nothing by itself: names and numbers are those of users.
    """

    def __init__(self, *, err: bool = False) -> None:
        super().__init__(stderr=err, highlight=False)

    def on_broken_pipe(self) -> None:
        """Called where the BrokenPipeError is handled: goes on as such."""
        raise
