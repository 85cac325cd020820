"""A database in which every vector is sealed, and how a store comes to be one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..sealing import Sealer, must_reseal, proof
from .database import Database, Row

_SEAL = "seal"
_VECTORS = (
    ("identities", "identity", "total"),
    ("tracks", "track_row", "template"),
    ("embeddings", "shot", "vector"),
)


class SealedDatabase:
    """Bytes are sealed on their way in and opened on their way out; nothing else is bytes. See Database."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer
        self.blob, self.name = database.blob, database.name

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """See Database."""
        given = [self._sealer.seal(value) if isinstance(value, bytes) else value for value in parameters]
        rows = self._database.execute(sql, given)
        return [
            tuple(self._sealer.open(value) if isinstance(value, bytes) else value for value in row)
            for row in rows
        ]

    def transaction(self) -> Any:
        """See Database."""
        return self._database.transaction()

    def has_table(self, name: str) -> bool:
        """See Database."""
        return self._database.has_table(name)

    def scrub(self) -> None:
        """See Database."""
        self._database.scrub()

    def close(self) -> None:
        """See Database."""
        self._database.close()


def unlocked(database: Database, sealer: Sealer) -> tuple[Database, bool]:
    """The database of a store as its keys show it, and whether vectors lay open in it until now, so that it
    is to be scrubbed. Inside a transaction, when the tables are there.

    Vectors that no key, or an older one, sealed are sealed with the newest. Raises ConfigError for a wrong
    or a missing key.
    """
    found = database.execute("SELECT value FROM settings WHERE name = ?", (_SEAL,))
    kept = str(found[0][0]).encode() if found else None
    renew = must_reseal(sealer, kept, f"the store {database.name!r}")
    if not sealer.suffix:
        return database, False
    if renew:
        for table, key, column in _VECTORS:
            select = f"SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608
            update = f"UPDATE {table} SET {column} = ? WHERE {key} = ?"  # noqa: S608
            for row, data in database.execute(select):
                vector = bytes(data) if kept is None else sealer.open(bytes(data))
                database.execute(update, (sealer.seal(vector), row))
        database.execute("DELETE FROM settings WHERE name = ?", (_SEAL,))
        insert = "INSERT INTO settings (name, value) VALUES (?, ?)"
        database.execute(insert, (_SEAL, (proof(sealer) or b"").decode()))
    return SealedDatabase(database, sealer), renew
