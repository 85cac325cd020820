"""Somebody taken out of a spool."""

from __future__ import annotations

import sqlite3

from .events import Shot
from .forget import Forgotten, faceless
from .spool_file import Sealed, size_of


def strip(db: sqlite3.Connection, sealed: Sealed, who: Forgotten) -> int:
    """Leave of all events, and of live tracks, what may still be told; how many events told of somebody. In a
    transaction of the caller's."""
    found = sum(_strip(db, sealed, seq, who) for seq in _places(db, who))
    for boot, camera, session, track in sorted(who.tracks):
        _strip_live(db, sealed, f"{boot}/{camera}/{session}/{track}")
    return found


def _places(db: sqlite3.Connection, who: Forgotten) -> list[int]:
    """Of events that may tell of somebody: by their ids, and all ends, which name identities."""
    found: set[int] = set()
    for boot, camera, session, track in who.tracks:
        first = f"{boot}/{camera}/{session}/{track}/"
        last = first[:-1] + chr(ord("/") + 1)
        found.update(
            seq for (seq,) in db.execute("SELECT seq FROM event WHERE id >= ? AND id < ?", (first, last))
        )
    for identity in who.identities:
        like = f"%/identity-{identity}/%"
        found.update(seq for (seq,) in db.execute("SELECT seq FROM event WHERE id LIKE ?", (like,)))
    ends = db.execute("SELECT seq FROM event WHERE id LIKE '%/ended' OR id LIKE '%/window'")
    return sorted(found.union(seq for (seq,) in ends))


def _strip(db: sqlite3.Connection, sealed: Sealed, seq: int, who: Forgotten) -> bool:
    """Whether the event told of somebody."""
    (body,) = db.execute("SELECT body FROM event WHERE seq = ?", (seq,)).fetchone()
    event = sealed.event(body)
    left = who.left_of(event)
    if left == event:
        return False
    if left is None:
        db.execute("DELETE FROM event WHERE seq = ?", (seq,))
        return True
    body = sealed.body(left)
    db.execute("DELETE FROM image WHERE seq = ?", (seq,))
    db.execute("UPDATE event SET body = ?, bytes = ? WHERE seq = ?", (body, size_of(body, {}), seq))
    return True


def _strip_live(db: sqlite3.Connection, sealed: Sealed, key: str) -> None:
    """What a crash would tell of a live track: that it began."""
    row = db.execute("SELECT body FROM track WHERE key = ?", (key,)).fetchone()
    last = None if row is None else sealed.event(row[0])
    if isinstance(last, Shot):
        db.execute("DELETE FROM track_image WHERE key = ?", (key,))
        db.execute("UPDATE track SET body = ? WHERE key = ?", (sealed.body(faceless(last)), key))
