"""The store in SQL: tracks, their shots and embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .rows import ShotRow, Sightings, TrackRow
from .sql_rows import TRACKS, as_bytes, shot_of, track_of
from .statements import Statements


class SqlTracks(Statements):
    """See IdentityStore."""

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

    def track_at(self, row: int) -> TrackRow | None:
        """See IdentityStore."""
        rows = self._run(f"{TRACKS} WHERE t.track_row = ?", (row,))
        return track_of(rows[0]) if rows else None

    def sightings(self, identity: int) -> Sightings | None:
        """See IdentityStore."""
        best = self._run(
            f"{TRACKS} WHERE t.identity = ? ORDER BY t.quality DESC, t.track_row LIMIT 1", (identity,)
        )
        if not best:
            return None
        ((tracks, first_s, last_s),) = self._run(
            "SELECT count(*), min(recorded_s), max(recorded_s) FROM tracks WHERE identity = ?", (identity,)
        )
        names = self._run(
            "SELECT DISTINCT name FROM sources "
            "WHERE source IN (SELECT source FROM tracks WHERE identity = ?)",
            (identity,),
        )
        sources = sorted(str(name) for (name,) in names)
        return Sightings(int(tracks), sources, float(first_s), float(last_s), track_of(best[0]))

    def track_count(self, identity: int) -> int:
        """See IdentityStore."""
        return int(self._run("SELECT count(*) FROM tracks WHERE identity = ?", (identity,))[0][0])

    def last_seen(self, offset: int, limit: int) -> tuple[int, list[int]]:
        """See IdentityStore."""
        rows = self._run(
            "SELECT identity FROM tracks GROUP BY identity ORDER BY max(recorded_s) DESC, identity "
            "LIMIT ? OFFSET ?",
            (limit, offset),
        )
        total = self._run("SELECT count(DISTINCT identity) FROM tracks")
        return int(total[0][0]), [int(row[0]) for row in rows]

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

    def pictures(self) -> Iterator[tuple[str, str, str]]:
        """See IdentityStore."""
        columns = "t.out, t.folder, s.chip, s.portrait"
        rows = self._run(f"SELECT {columns} FROM shots s JOIN tracks t ON t.track_row = s.track_row")  # noqa: S608
        for out, folder, *names in rows:
            yield from ((str(out), str(folder), str(name)) for name in names if name is not None)

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
