"""The store in SQL, over SQLite or PostgreSQL."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np

from ..errors import ConfigError
from ..ports import Closing
from ..sealing import Plain, Sealer
from .database import Database
from .rows import F64, IdentityRow
from .schema import migrate, settings
from .sealed import unlocked
from .sql_log import SqlLog
from .sql_rows import IDENTITIES, as_bytes, identity_of, marks
from .sql_tracks import SqlTracks


class SqlStore(SqlTracks, SqlLog, Closing):
    """See IdentityStore. Makes the tables where there are none and brings older ones up to VERSION.

    sealer: of vectors; those of a store that was plain, or sealed with an older key, are sealed anew, which
    no other process may look on at.
    """

    def __init__(self, database: Database, sealer: Sealer | None = None) -> None:
        """Raises ConfigError for a store that a later facesieve wrote, a database of something else, or a
        wrong or missing key."""
        self._database = database
        try:
            with database.transaction():
                self.name = migrate(database)
                self._database, lay_open = unlocked(database, Plain() if sealer is None else sealer)
            if lay_open:
                database.scrub()
        except BaseException:
            database.close()
            raise

    def bind(self, embedder: str, dimension: int) -> None:
        """See IdentityStore."""
        known = self.embedder()
        if known is None:
            with self.transaction():
                for name, value in (("embedder", embedder), ("dimension", str(dimension))):
                    self._run("INSERT INTO settings (name, value) VALUES (?, ?)", (name, value))
        elif known != (embedder, dimension):
            raise ConfigError(
                f"the store {self._database.name!r} holds embeddings of {known[0]} ({known[1]}-d), which "
                f"cannot be compared with those of {embedder} ({dimension}-d): choose another store, or the "
                "embedder that it was made with"
            )

    def embedder(self) -> tuple[str, int] | None:
        """See IdentityStore."""
        known = settings(self._database)
        return (known["embedder"], int(known["dimension"])) if "embedder" in known else None

    def transaction(self) -> AbstractContextManager[None]:
        """See IdentityStore."""
        context: AbstractContextManager[None] = self._database.transaction()
        return context

    def source(self, sha256: str, name: str) -> tuple[int, int]:
        """See IdentityStore."""
        generation = self._next("generation")
        if known := self._run("SELECT source FROM sources WHERE sha256 = ?", (sha256,)):
            source = int(known[0][0])
            self._run(
                "UPDATE sources SET generation = ?, name = ? WHERE source = ?", (generation, name, source)
            )
        else:
            source = self._next("source")
            self._run(
                "INSERT INTO sources (source, sha256, name, generation) VALUES (?, ?, ?, ?)",
                (source, sha256, name, generation),
            )
        return source, generation

    def keep_source(self, source: int, generation: int, sha256: str, name: str) -> None:
        """See IdentityStore."""
        self._run(
            "INSERT INTO sources (source, sha256, name, generation) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (source) DO NOTHING",
            (source, sha256, name, generation),
        )

    def add_results(self, out: str, folder: str) -> None:
        """See IdentityStore."""
        self._run("INSERT INTO results (out, folder) VALUES (?, ?) ON CONFLICT DO NOTHING", (out, folder))

    def results(self) -> list[tuple[str, str]]:
        """See IdentityStore."""
        rows = self._run("SELECT out, folder FROM results ORDER BY out, folder")
        return [(str(out), str(folder)) for out, folder in rows]

    def new_identity(self) -> int:
        """See IdentityStore."""
        return self._next("identity")

    def identity(self, identity: int) -> IdentityRow | None:
        """See IdentityStore."""
        rows = self._run(f"{IDENTITIES} WHERE identity = ?", (identity,))
        return identity_of(rows[0]) if rows else None

    def identities(self) -> list[IdentityRow]:
        """See IdentityStore."""
        return [
            identity_of(row) for row in self._run(f"{IDENTITIES} WHERE merged_into IS NULL ORDER BY identity")
        ]

    def merged_from(self, identity: int) -> list[int]:
        """See IdentityStore."""
        found: list[int] = []
        waiting = [identity]
        while waiting:
            rows = self._run(
                "SELECT identity FROM identities WHERE merged_into = ? ORDER BY identity", (waiting.pop(),)
            )
            waiting += [int(row[0]) for row in rows]
            found += [int(row[0]) for row in rows]
        return sorted(found)

    def put_identity(self, identity: int, *, linkable: bool, total: F64) -> None:
        """See IdentityStore."""
        self._run(
            "INSERT INTO identities (identity, merged_into, linkable, total, changed) "
            "VALUES (?, NULL, ?, ?, ?) ON CONFLICT (identity) DO UPDATE SET merged_into = NULL, "
            "linkable = excluded.linkable, total = excluded.total, changed = excluded.changed",
            (identity, int(linkable), as_bytes(total, np.float64), self._next("revision")),
        )

    def merge_identity(self, identity: int, into: int) -> None:
        """See IdentityStore."""
        for one, other in self._run(
            "SELECT identity, other FROM apart WHERE identity = ? OR other = ?", (identity, identity)
        ):
            self.set_apart(one, other, apart=False)
            self.set_apart(into, other if one == identity else one, apart=True)
        self._run("UPDATE tracks SET identity = ? WHERE identity = ?", (into, identity))
        self._run(
            "UPDATE identities SET merged_into = ?, total = NULL, linkable = 0, changed = ? "
            "WHERE identity = ?",
            (into, self._next("revision"), identity),
        )

    def delete_identity(self, identity: int) -> None:
        """See IdentityStore."""
        all_of_it = [*reversed(self.merged_from(identity)), identity]
        for one in all_of_it:
            for (row,) in self._run("SELECT track_row FROM tracks WHERE identity = ?", (one,)):
                self.delete_track(int(row))
        self._run(
            f"UPDATE identities SET merged_into = NULL WHERE identity IN ({marks(all_of_it)})",  # noqa: S608
            all_of_it,
        )
        self._run(f"DELETE FROM identities WHERE identity IN ({marks(all_of_it)})", all_of_it)  # noqa: S608
        self._run("DELETE FROM sources WHERE source NOT IN (SELECT source FROM tracks)")
        for one in all_of_it:
            self._run(
                "INSERT INTO gone (identity, changed) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (one, self._next("revision")),
            )

    def set_apart(self, identity: int, other: int, *, apart: bool) -> None:
        """See IdentityStore."""
        pair = min(identity, other), max(identity, other)
        if apart:
            self._run("INSERT INTO apart (identity, other) VALUES (?, ?) ON CONFLICT DO NOTHING", pair)
        else:
            self._run("DELETE FROM apart WHERE identity = ? AND other = ?", pair)

    def are_apart(self, identity: int, other: int) -> bool:
        """See IdentityStore."""
        pair = min(identity, other), max(identity, other)
        return bool(self._run("SELECT 1 FROM apart WHERE identity = ? AND other = ?", pair))

    def scrub(self) -> None:
        """See IdentityStore."""
        self._database.scrub()

    def close(self) -> None:
        self._database.close()
