"""Files that appear whole or not at all, and errors that name the path and the cause."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputExists, OutputFull, OutputUnwritable
from ..ports import Closing

FOLDER_MODE = 0o700
FILE_MODE = 0o600
PART = ".part"
_MARK = b"facesieve"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an OSError into OutputFull (no space, quota, file size limit) or OutputUnwritable, naming path."""
    try:
        yield
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _FULL:
            raise OutputFull(f"cannot write {str(path)!r}: {cause}") from error
        raise OutputUnwritable(f"cannot write {str(path)!r}: {cause}") from error


def make_folder(path: Path) -> None:
    """Make path and its parents; only the last is closed to others (0700), and only if it is new."""
    with naming(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(FOLDER_MODE)
        except FileExistsError as there:
            if not path.is_dir():
                raise OutputUnwritable(f"expected a folder, {str(there.filename)!r} is a file") from None


def write_whole(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write data beside path and rename: a reader sees the old file or the new one, never half of it.

    durable: also wait for the disk, so that the content survives a power cut.
    """
    with replacing(path, durable=durable) as fd:
        write_all(fd, data)


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[int]:
    """A descriptor to a new file that takes path's place when the block ends well, and goes if not.

    Raises OutputUnwritable for a device or a pipe: nothing takes their place, as root least of all.
    """
    if not path.name:
        raise OutputUnwritable(f"expected the name of a file, got {str(path)!r}")
    part = path.with_name(path.name + PART)
    with naming(path):
        if _is_special(path):
            raise OutputUnwritable(f"expected a file, {str(path)!r} is a device or a pipe: not replaced")
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            try:
                yield fd
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _is_special(path: Path) -> bool:
    """A device or a pipe, or a link that stands for one, whatever it leads to: /dev/stdout."""
    other = path.exists() and not (path.is_file() or path.is_dir())
    return other or path.absolute().parent == Path("/dev")


def write_all(fd: int, data: bytes) -> None:
    """os.write until nothing is left: the kernel may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class LineFile(Closing):
    """Lines appended to `<name>.part`, each on disk whole when append returns; close gives it its name.

    The open file is locked: whoever else wants to write there is refused while this process lives.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + PART)
        self._fd: int | None = None
        self.size = 0
        with naming(self._part):
            try:
                fd = os.open(
                    self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, FILE_MODE
                )
            except FileExistsError:
                raise OutputExists(f"{str(self._part)!r} is there already: another run writes here") from None
            self._fd = fd
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def append(self, line: str) -> None:
        """Add line (without its line break). If that fails, the file is as it was before."""
        fd = self._open()
        data = line.encode() + b"\n"
        with naming(self._part):
            try:
                write_all(fd, data)
            except BaseException:
                os.ftruncate(fd, self.size)
                raise
        self.size += len(data)

    def truncate(self, size_bytes: int) -> None:
        """Go back to an earlier size."""
        with naming(self._part):
            os.ftruncate(self._open(), size_bytes)
        self.size = size_bytes

    def close(self) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        with naming(self._path):
            try:
                os.fsync(fd)
                self._part.replace(self._path)
            finally:
                os.close(fd)

    def _open(self) -> int:
        if self._fd is None:
            raise ValueError(f"{str(self._path)!r} is closed")
        return self._fd


def check_ours(path: Path) -> None:
    """Raise OutputUnwritable unless path is a file that begins as those of facesieve do; a link is none. What
    is gone meanwhile stands in nobody's way."""
    if path.is_symlink():
        raise OutputUnwritable(f"{str(path)!r} is a link: facesieve writes none and overwrites none")
    if path.exists() and not path.is_file():
        raise OutputUnwritable(f"expected a file of facesieve to overwrite, {str(path)!r} is none")
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except FileNotFoundError:
        return
    if start and _MARK not in start:
        raise OutputUnwritable(f"{str(path)!r} was not written by facesieve: it is not overwritten")


def is_locked(path: Path) -> bool:
    """Whether a living process is still writing the LineFile at path."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
