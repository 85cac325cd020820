"""PostgreSQL as the store of several machines (`pip install 'facesieve[postgres]'`). People are compared in
memory, exactly, as with SQLite; vectors are kept as bytes, so that no extension is needed."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import EngineUnavailable, OutputUnwritable
from .database import Row

WRITERS = 0x66616365
"""Key of the advisory lock that writers take turns by."""


class PostgresDatabase:
    """One connection; see Database. url: postgresql://…; a password comes from ~/.pgpass or PGPASSWORD."""

    blob = "BYTEA"

    def __init__(self, url: str) -> None:
        """Raises EngineUnavailable without psycopg, OutputUnwritable where nobody answers."""
        try:
            import psycopg
        except ImportError as missing:
            raise EngineUnavailable("PostgreSQL needs `pip install 'facesieve[postgres]'`") from missing
        self.name = url.partition("?")[0]
        self._errors = psycopg.Error
        self._connect = functools.partial(psycopg.connect, url, autocommit=True, connect_timeout=10)
        self._closed = self._inside = False
        with self._naming():
            self._connection = self._connect()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """See Database. A connection that the server has ended since is made anew, but not in the middle of a
        transaction."""
        with self._naming():
            if self._connection.closed and not self._inside and not self._closed:
                self._connection = self._connect()
            cursor = self._connection.execute(sql.replace("?", "%s").encode(), list(parameters))
            return cursor.fetchall() if cursor.description is not None else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Database. Writers wait for each other; readers never wait."""
        self.execute("BEGIN")
        self._inside = True
        try:
            self.execute("SELECT pg_advisory_xact_lock(?)", (WRITERS,))
            yield
            self.execute("COMMIT")
        except BaseException:
            if not self._connection.closed:
                with self._naming():
                    self._connection.rollback()
            raise
        finally:
            self._inside = False

    def has_table(self, name: str) -> bool:
        """See Database."""
        return bool(self.execute("SELECT to_regclass(?) IS NOT NULL", (name,))[0][0])

    def scrub(self) -> None:
        """See Database: tables are written anew. The server's own log (WAL), replicas and backups are its
        operator's."""
        for table in ("tracks", "shots", "embeddings", "identities", "sources", "revisions"):
            self.execute(f"VACUUM FULL {table}")

    def close(self) -> None:
        """Twice does no harm."""
        self._closed = True
        self._connection.close()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise OutputUnwritable(f"the store {self.name!r}: {str(error).strip()}") from error
