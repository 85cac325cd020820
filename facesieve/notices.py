"""What happens before the work begins, told on stderr: weights being fetched, networks being compiled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from .terminal import Terminal

Fetched = Callable[[int, int | None], None]


@contextmanager
def noted(console: Console) -> Iterator[None]:
    """Shows what the package logs from INFO up, a line each, until the block ends."""
    log, handler = logging.getLogger("facesieve"), _Lines(console)
    level = log.level
    log.addHandler(handler)
    log.setLevel(min(logging.INFO, level or logging.INFO))
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@contextmanager
def fetching(name: str, *, quiet: bool = False) -> Iterator[Fetched | None]:
    """A progress callback for Store.path: a bar on a terminal, elsewhere the store's own lines; None if
    quiet. Nothing is shown of a model that is here already."""
    if quiet:
        yield None
        return
    console = Terminal(err=True)
    if not console.is_terminal:
        with noted(console):
            yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with noted(console), Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = None

        def fetched(done: int, total: int | None) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task(name, total=total)
            bar.update(task, completed=done, total=total)

        yield fetched


class _Lines(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        with suppress(OSError):  # a full disk behind stderr does not end the work
            self._console.print(Text(record.getMessage(), style=style), soft_wrap=True)
