"""The store in SQL: what was done in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from ..types import TrackKey
from .rows import Changes, Edit, Revision
from .sql_rows import IDENTITIES, identity_of, marks
from .statements import Statements

EDITS_KEPT_S: Final = 90 * 86_400.0
_LINKS: Final = ("new", "join", "again", "continue", "leave")


class SqlLog(Statements):
    """See IdentityStore."""

    def revision(self) -> int:
        """See IdentityStore."""
        newest = self._run("SELECT value FROM counters WHERE name = 'revision'")
        return int(newest[0][0]) if newest else 0

    def changes(self, since: int) -> Changes:
        """See IdentityStore."""
        rows = self._run(f"{IDENTITIES} WHERE changed > ? ORDER BY changed", (since,))
        gone = self._run("SELECT identity FROM gone WHERE changed > ? ORDER BY changed", (since,))
        found = [identity_of(row) for row in rows]
        return Changes(
            revision=self.revision(),
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

    def forget_links(self, *, identities: Sequence[int] = (), before_s: float | None = None) -> None:
        """See IdentityStore."""
        links = f"action IN ({marks(_LINKS)})"
        if identities:
            whom = f"(identity IN ({marks(identities)}) OR other IN ({marks(identities)}))"
            given = (*_LINKS, *identities, *identities)
            self._run(f"DELETE FROM revisions WHERE {links} AND {whom}", given)  # noqa: S608
        if before_s is not None:
            self._run(f"DELETE FROM revisions WHERE {links} AND at_s < ?", (*_LINKS, before_s))  # noqa: S608

    def revisions(self) -> Iterator[Revision]:
        """See IdentityStore."""
        columns = "revision, at_s, actor, action, identity, other, tracks, shots"
        for row in self._run(f"SELECT {columns} FROM revisions ORDER BY revision"):  # noqa: S608
            yield Revision(*row)

    def put_edit(
        self,
        at_s: float,
        identity: int,
        *,
        left: int,
        merged_from: Sequence[int] = (),
        tracks: Sequence[TrackKey] = (),
    ) -> None:
        """See IdentityStore."""
        self._run("DELETE FROM edits WHERE at_s < ?", (at_s - EDITS_KEPT_S,))
        self._run(
            "INSERT INTO edits (revision, at_s, identity, merged_from, tracks_left, tracks) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                self._next("revision"),
                at_s,
                identity,
                json.dumps(list(merged_from)),
                left,
                json.dumps(list(tracks)),
            ),
        )

    def tidy(self, now_s: float) -> None:
        """See IdentityStore."""
        self._run("DELETE FROM edits WHERE at_s < ?", (now_s - EDITS_KEPT_S,))
        self._run(
            "DELETE FROM sources WHERE NOT EXISTS (SELECT 1 FROM tracks WHERE tracks.source = sources.source)"
        )

    def edits(self, since: int) -> list[Edit]:
        """See IdentityStore."""
        columns = "revision, identity, merged_from, tracks_left, tracks"
        rows = self._run(f"SELECT {columns} FROM edits WHERE revision > ? ORDER BY revision", (since,))  # noqa: S608
        return [
            Edit(int(revision), int(identity), tuple(json.loads(merged)), int(left), _names(tracks))
            for revision, identity, merged, left, tracks in rows
        ]


def _names(text: str) -> tuple[TrackKey, ...]:
    return tuple((run, camera, session, track) for run, camera, session, track in json.loads(text))
