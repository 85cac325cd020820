"""A message put into the file of a spool, and room made for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from .events import Message, Shot, TrackEnded, TrackStarted, track_key
from .spool_file import Body, Sealed, size_of


def insert(db: sqlite3.Connection, sealed: Sealed, message: Message, now_s: float, *, waits: bool) -> bool:
    """Keep a message, for sinks if any waits for it, and note its track; False if one of its id is kept
    already. In a transaction of the caller's."""
    event, body = message.event, sealed.body(message.event)
    images = sealed.images(message.images)
    new = True
    if waits:
        made = db.execute(
            "INSERT OR IGNORE INTO event (id, final, body, bytes, put_s) VALUES (?, ?, ?, ?, ?)",
            (event.id, message.is_final, body, size_of(body, images), now_s),
        )
        new = bool(made.rowcount)
        if new:
            rows = [(made.lastrowid, name, jpeg) for name, jpeg in images.items()]
            db.executemany("INSERT INTO image VALUES (?, ?, ?)", rows)
    _note_track(db, message, body, images)
    return new


def make_room(db: sqlite3.Connection, max_bytes: int) -> list[bool]:
    """Remove the oldest messages beyond so many bytes, those that end no track first; of each that went,
    whether it was final. In a transaction of the caller's."""
    (size,) = db.execute("SELECT bytes FROM total").fetchone()
    gone: list[bool] = []
    while size > max_bytes:
        oldest = db.execute("SELECT seq, bytes, final FROM event ORDER BY final, seq LIMIT 16").fetchall()
        for seq, bytes_, final in oldest:
            if size <= max_bytes:
                break
            db.execute("DELETE FROM event WHERE seq = ?", (seq,))
            size -= bytes_
            gone.append(bool(final))
        if not oldest:
            break
    return gone


def _note_track(db: sqlite3.Connection, message: Message, body: Body, images: Mapping[str, bytes]) -> None:
    """Remember the newest of each live track, for the day when its end does not come."""
    event = message.event
    if not isinstance(event, TrackStarted | Shot | TrackEnded):
        return
    key = "/".join(map(str, track_key(event)))
    if isinstance(event, TrackEnded) and not event.final:
        return
    db.execute("DELETE FROM track WHERE key = ?", (key,))
    if not isinstance(event, TrackEnded):
        db.execute("INSERT INTO track VALUES (?, ?, ?)", (key, event.origin.boot, body))
        rows = [(key, name, jpeg) for name, jpeg in images.items()]
        db.executemany("INSERT INTO track_image VALUES (?, ?, ?)", rows)
