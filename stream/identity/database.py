"""What a store needs of a database; SQLite in a file is the one that every installation has."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigError, OutputError, OutputFull, OutputUnwritable

Row = tuple[Any, ...]
BUSY_S = 30.0
CACHE_KB = 512  # of pages in memory: a service would take the first hour to fill SQLite's own 2 MB
MAGIC = b"SQLite format 3\x00"


class Database(Protocol):
    """A connection of one thread. Parameters are written `?`."""

    blob: str
    """Its type of bytes."""

    name: str
    """For messages."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of one statement."""

    def transaction(self) -> Any:
        """A context in which this connection alone writes; undone if it ends with an error."""

    def has_table(self, name: str) -> bool: ...
    def scrub(self) -> None:
        """Take deleted rows off the disk, not only out of sight."""

    def close(self) -> None: ...


class SqliteDatabase:
    """One file (with its -wal and -shm beside it while it is open), or memory.

    Readers never wait for the writer (write-ahead log); a second writer waits BUSY_S. Deleted content is
    overwritten with zeros (secure_delete). The file is open to its owner only.
    """

    blob = "BLOB"

    def __init__(self, path: Path | None) -> None:
        """path: None for memory. Raises OutputUnwritable, ConfigError for a file of another kind."""
        self.name = "memory" if path is None else str(path)
        self._path = path
        if path is not None:
            _prepare(path)
        with self._naming():
            self._connection = sqlite3.connect(
                ":memory:" if path is None else path, timeout=BUSY_S, isolation_level=None
            )
        try:
            with self._naming():
                for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                    self._connection.execute(f"PRAGMA {pragma}")
                self._connection.execute("PRAGMA secure_delete = ON")
                self._connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        except BaseException:
            self._connection.close()
            raise

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """See Database."""
        with self._naming():
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Database."""
        with self._naming():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._naming():
                self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def has_table(self, name: str) -> bool:
        """See Database."""
        return bool(self.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)))

    def scrub(self) -> None:
        """See Database: the write-ahead log is emptied and the file written anew.

        Raises OutputUnwritable when another process still reads an older state of the file."""
        if self._path is None:
            return
        self.execute("VACUUM")
        busy, *_ = self.execute("PRAGMA wal_checkpoint(TRUNCATE)")[0]
        if busy:
            raise OutputUnwritable(
                f"{self.name!r}: the rows are deleted, but another process still reads an older state, which "
                "keeps them in the write-ahead log: end it and run the command again"
            )

    def close(self) -> None:
        """Twice does no harm."""
        self._connection.close()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _translated(error, self.name) from error


def _prepare(path: Path) -> None:
    """Make the file with the owner's rights only, or see that it is a database."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return
    except FileExistsError:
        pass
    except OSError as error:
        raise OutputUnwritable(f"cannot make the store {str(path)!r}: {error.strerror}") from error
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError as error:
        raise OutputUnwritable(f"cannot open the store {str(path)!r}: {error.strerror}") from error
    if start and start != MAGIC:
        raise ConfigError(f"expected a store of identities, {str(path)!r} is another kind of file")


def _translated(error: sqlite3.Error, name: str) -> OutputError:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return OutputFull(f"cannot write the store {name!r}: no space left")
    hint = ": another process writes to it" if code == sqlite3.SQLITE_BUSY else ""
    return OutputUnwritable(f"the store {name!r}: {error}{hint}")
