"""Where people read: rich's console, but for its end when nobody reads any more."""

from __future__ import annotations

from rich.console import Console


class Terminal(Console):
    """rich would leave with exit code 1, which stands for a bug here; err: standard error instead of output.

    Highlights nothing by itself: names and numbers are those of users.
    """

    def __init__(self, *, err: bool = False) -> None:
        super().__init__(stderr=err, highlight=False)

    def on_broken_pipe(self) -> None:
        """Called where the BrokenPipeError is handled: goes on as such."""
        raise
