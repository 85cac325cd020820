"""Files in a folder that others drop into: which are finished, and where they go."""

from __future__ import annotations

import itertools
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ..errors import OutputError
from ..sinks.files import write_whole

DONE: Final = "done"
FAILED: Final = "failed"
_NOTE = ".facesieve.json"
_NOTE_BYTES = 1 << 16
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
_NAME_BYTES = 255

Version = tuple[int, int, int]
"""Size, time of the last change in ns, and inode: what tells that a file is still the same."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file is. next_index: of the first frame that is not done. verdict: DONE or FAILED once the
    file is finished with and only has to be moved."""

    name: str
    version: Version
    next_index: int
    verdict: str | None = None


def version(path: Path) -> Version | None:
    """Of a regular file; None of anything else."""
    try:
        return _version(path.lstat())
    except FileNotFoundError:
        return None


def _version(facts: os.stat_result) -> Version | None:
    regular = stat.S_ISREG(facts.st_mode)
    return (facts.st_size, facts.st_mtime_ns, facts.st_ino) if regular else None


class Settling:
    """Tells which files of a folder have not changed for settle_s."""

    def __init__(self, folder: Path, settle_s: float) -> None:
        self._folder, self._settle_s = folder, settle_s
        self._seen: dict[str, tuple[Version, float]] = {}

    def finished(self, now: float) -> str | None:
        """The finished file that changed longest ago; None if there is none. now: monotonic seconds. Raises
        OSError when the folder cannot be read."""
        seen: dict[str, tuple[Version, float]] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                    continue
                at = version(self._folder / entry.name)
                if at is None:
                    continue
                before = self._seen.get(entry.name)
                seen[entry.name] = before if before is not None and before[0] == at else (at, now)
        self._seen = seen
        ready = [(at[1], name) for name, (at, since) in seen.items() if now - since >= self._settle_s]
        return min(ready)[1] if ready else None


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, Version]]:
    """A regular file, opened without following a link or waiting for a pipe. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as file:
        of = _version(os.fstat(handle))
        if of is None:
            raise FileNotFoundError(2, "no regular file any more", str(path))
        yield file, of


def away(folder: Path, name: str, verdict: str) -> str:
    """Move a file into folder/verdict under its name, or with a number where that is taken; the new name.
    Raises OSError."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  Path would alter hostile names
    for number in itertools.count():
        mark = f"-{number}{suffix}" if number else suffix
        room = _NAME_BYTES - len(os.fsencode(mark))
        kept = os.fsdecode(os.fsencode(stem)[: max(room, 1)]) + mark
        target = folder / verdict / kept
        try:  # the name is taken first: a rename alone would overwrite
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            continue
        try:
            (folder / name).replace(target)
        except OSError:
            target.unlink()
            raise
        return kept
    raise AssertionError("numbers do not end")


def note(folder: Path, progress: Progress) -> None:
    """Write down how far a file is. Raises OSError."""
    try:
        write_whole(
            folder / _NOTE, json.dumps(asdict(progress)).encode(), durable=progress.verdict is not None
        )
    except OutputError as error:
        raise OSError(5, str(error)) from error


def noted(folder: Path) -> Progress | None:
    """What was written down; None if there is nothing of use."""
    try:
        handle = os.open(folder / _NOTE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            match json.loads(file.read(_NOTE_BYTES)):
                case {
                    "name": str() as name,
                    "version": [int() as size, int() as changed_ns, int() as inode],
                    "next_index": int() as index,
                    "verdict": (None | "done" | "failed") as verdict,
                } if name == os.path.basename(name) and name not in ("", ".", ".."):  # noqa: PTH119
                    return Progress(name, (size, changed_ns, inode), index, verdict)
    except (OSError, ValueError):
        return None
    return None


def forget(folder: Path) -> None:
    """The file is out of the way. Raises OSError."""
    (folder / _NOTE).unlink(missing_ok=True)
