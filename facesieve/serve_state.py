"""The folder of what must survive a restart belongs to one service at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .stream.errors import ConfigError
from .stream.sinks.files import FILE_MODE, make_folder, naming, write_all

_NAME = "lock"


@contextmanager
def sole_user(state: Path) -> Iterator[None]:
    """The folder is there, and nobody else's, for as long as the block lasts.

    Two services there would end each other's tracks as those of a crash, and send everything twice. The
    kernel lets go of the lock when a process dies, however it does. Raises ConfigError while another has it,
    OutputError for a folder that cannot be written.
    """
    make_folder(state)
    path = state / _NAME
    with naming(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        _take(fd, path)
        yield
    finally:
        os.close(fd)


def _take(fd: int, path: Path) -> None:
    with naming(path):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 16, 0).decode("ascii", "replace").strip()
            raise ConfigError(
                f"serve.state: {str(path.parent)!r} is in use by another facesieve serve"
                + (f" (process {pid})" if pid else "")
                + ": each needs a folder of its own"
            ) from None
        with suppress(OSError):  # a full disk keeps nobody from starting; the number is only told
            os.ftruncate(fd, 0)
            write_all(fd, f"{os.getpid()}\n".encode())
