"""The store in SQL, over SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..ports import Closing
from ..sealing import Plain, Sealer
from .database import Database, Row
from .rows import F64, Changes, IdentityRow, Revision, ShotRow, TrackRow
from .schema import migrate, settings
from .sealed import unlocked
from .sql_rows import IDENTITIES, TRACKS, as_bytes, identity_of, marks, shot_of, track_of


class SqlStore(Closing):
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

    def put_track(self, track: TrackRow, shots: Sequence[ShotRow]) -> None:
        """See IdentityStore."""
        known = self.track(track.source, track.generation, track.track)
        row = self._next("track") if known is None else known.row
        life = (track.identity, track.first_pts_s, track.last_pts_s, track.frames_seen, track.quality)
        template = as_bytes(track.template, np.float32)
        place = (track.out, track.folder, track.recorded_s, int(track.pinned))
        if known is None:
            self._run(
                "INSERT INTO tracks (track_row, source, generation, track, identity, first_pts_s, "
                "last_pts_s, frames_seen, quality, template, out, folder, recorded_s, pinned) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (row, track.source, track.generation, track.track, *life, template, *place),
            )
        else:
            self._run(
                "UPDATE tracks SET identity = ?, first_pts_s = ?, last_pts_s = ?, frames_seen = ?, "
                "quality = ?, template = ? WHERE track_row = ?",
                (*life, template, row),
            )
        for shot in shots:
            self._put_shot(row, shot)

    def move_track(self, row: int, identity: int) -> None:
        """See IdentityStore."""
        self._run("UPDATE tracks SET identity = ? WHERE track_row = ?", (identity, row))

    def pin_tracks(self, identity: int) -> None:
        """See IdentityStore."""
        self._run("UPDATE tracks SET pinned = 1 WHERE identity = ?", (identity,))

    def delete_track(self, row: int) -> None:
        """See IdentityStore."""
        self._run("DELETE FROM embeddings WHERE shot IN (SELECT shot FROM shots WHERE track_row = ?)", (row,))
        self._run("DELETE FROM shots WHERE track_row = ?", (row,))
        self._run("DELETE FROM tracks WHERE track_row = ?", (row,))

    def delete_shots(self, row: int, shots: Sequence[ShotRow]) -> None:
        """See IdentityStore."""
        for shot in shots:
            place = (row, shot.window, shot.rank)
            where = "track_row = ? AND window_number = ? AND rank = ?"
            self._run(
                f"DELETE FROM embeddings WHERE shot IN (SELECT shot FROM shots WHERE {where})",  # noqa: S608
                place,
            )
            self._run(f"DELETE FROM shots WHERE {where}", place)  # noqa: S608

    def track(self, source: int, generation: int, track: int) -> TrackRow | None:
        """See IdentityStore."""
        rows = self._run(
            f"{TRACKS} WHERE t.source = ? AND t.generation = ? AND t.track = ?", (source, generation, track)
        )
        return track_of(rows[0]) if rows else None

    def former(self, source: int, generation: int, track: int) -> list[TrackRow]:
        """See IdentityStore."""
        where = "t.source = ? AND t.track = ? AND t.generation < ? ORDER BY t.track_row"
        return [track_of(row) for row in self._run(f"{TRACKS} WHERE {where}", (source, track, generation))]

    def track_count(self, identity: int) -> int:
        """See IdentityStore."""
        return int(self._run("SELECT count(*) FROM tracks WHERE identity = ?", (identity,))[0][0])

    def tracks(self, *, identity: int | None = None, source: int | None = None) -> list[TrackRow]:
        """See IdentityStore."""
        wanted = [("t.identity = ?", identity), ("t.source = ?", source)]
        given = [(where, value) for where, value in wanted if value is not None]
        where = " WHERE " + " AND ".join(where for where, _ in given) if given else ""
        rows = self._run(f"{TRACKS}{where} ORDER BY t.track_row", [value for _, value in given])
        return [track_of(row) for row in rows]

    def overlaps(
        self, identity: int, source: int, generation: int | None, first_s: float, last_s: float
    ) -> list[int]:
        """See IdentityStore."""
        of_run, run = ("", ()) if generation is None else (" AND generation = ?", (generation,))
        rows = self._run(
            "SELECT track_row FROM tracks WHERE identity = ? AND source = ? "  # noqa: S608
            f"AND first_pts_s <= ? AND last_pts_s >= ?{of_run} ORDER BY track_row",
            (identity, source, last_s, first_s, *run),
        )
        return [int(row[0]) for row in rows]

    def shots(self, row: int, *, vectors: bool = False) -> list[ShotRow]:
        """See IdentityStore."""
        vector, join = ("e.vector", " LEFT JOIN embeddings e ON e.shot = s.shot") if vectors else ("NULL", "")
        rows = self._run(
            "SELECT s.window_number, s.rank, s.pts_s, s.score, s.calibrated, s.chip, s.portrait, "  # noqa: S608
            f"{vector} FROM shots s{join} WHERE s.track_row = ? ORDER BY s.window_number, s.rank",
            (row,),
        )
        return [shot_of(row) for row in rows]

    def changes(self, since: int) -> Changes:
        """See IdentityStore."""
        rows = self._run(f"{IDENTITIES} WHERE changed > ? ORDER BY changed", (since,))
        gone = self._run("SELECT identity FROM gone WHERE changed > ? ORDER BY changed", (since,))
        found = [identity_of(row) for row in rows]
        newest = self._run("SELECT value FROM counters WHERE name = 'revision'")
        return Changes(
            revision=int(newest[0][0]) if newest else 0,
            changed=[row for row in found if row.merged_into is None],
            gone=[row.identity for row in found if row.merged_into is not None] + [int(r[0]) for r in gone],
        )

    def log(
        self,
        at_s: float,
        actor: str,
        action: str,
        identity: int | None,
        other: int | None,
        counts: tuple[int, int],
    ) -> None:
        """See IdentityStore."""
        self._run(
            "INSERT INTO revisions (revision, at_s, actor, action, identity, other, tracks, shots) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (self._next("revision"), at_s, actor, action, identity, other, *counts),
        )

    def revisions(self) -> Iterator[Revision]:
        """See IdentityStore."""
        columns = "revision, at_s, actor, action, identity, other, tracks, shots"
        for row in self._run(f"SELECT {columns} FROM revisions ORDER BY revision"):  # noqa: S608
            yield Revision(*row)

    def scrub(self) -> None:
        """See IdentityStore."""
        self._database.scrub()

    def close(self) -> None:
        self._database.close()

    def _put_shot(self, row: int, shot: ShotRow) -> None:
        number = self._next("shot")
        measured = (shot.pts_s, shot.score, shot.calibrated)
        self._run(
            "INSERT INTO shots (shot, track_row, window_number, rank, pts_s, score, calibrated, chip, "
            "portrait) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, row, shot.window, shot.rank, *measured, shot.chip, shot.portrait),
        )
        if shot.vector is not None:
            self._run(
                "INSERT INTO embeddings (shot, vector) VALUES (?, ?)",
                (number, as_bytes(shot.vector, np.float32)),
            )

    def _next(self, counter: str) -> int:
        rows = self._run(
            "INSERT INTO counters (name, value) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value",
            (counter,),
        )
        return int(rows[0][0])

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._database.execute(sql, parameters)
