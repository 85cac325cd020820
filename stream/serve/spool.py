"""Events on disk until every sink has them: an outage or a crash loses no final shot.

One SQLite file in WAL mode. A message is one transaction, so that a killed process leaves either all of it or
nothing; power loss may cost the last moments (synchronous = NORMAL).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputFull
from ..ports import Closing
from ..sealing import Plain, Sealer
from .events import Message, Shot, TrackStarted
from .forget import Forgotten
from .narrator import crashed
from .spool_file import Sealed, open_spool
from .spool_forget import strip
from .spool_insert import insert, make_room

_LOG = logging.getLogger("facesieve.serve")
_HELD = 1024
_OF_THE_DISK = (sqlite3.OperationalError, sqlite3.DatabaseError)  # full, locked, unreadable; damaged


@dataclass(frozen=True, slots=True)
class Spooled:
    """A message and its place in the order of all."""

    seq: int
    message: Message


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """events, bytes: on disk. waiting: by sink, what it has yet to take. held: in memory, because the disk
    takes nothing. dropped: lost for want of room since the start; final_dropped: of these, ends of tracks."""

    events: int
    bytes: int
    waiting: dict[str, int]
    held: int
    dropped: int
    final_dropped: int


class Spool(Closing):
    """For any number of threads. sinks: by name; each takes every message in order, at its own pace.

    A sink that the file does not know begins with what comes next; one it knows goes on where it was; one
    that is left out holds nothing back. Without sinks nothing waits; only live tracks are noted. max_bytes:
    of bodies and pictures; beyond it the oldest messages that end no track go first. Raises OutputUnwritable
    when the file cannot be used.

    While the disk takes nothing, messages are held in memory, at most 1,024, ends of tracks before others.

    sealer: of events and pictures on disk; those that are there already are sealed anew when it has changed.
    ConfigError for a file that was sealed with a key that it has not. What stays open are ids (run, camera,
    numbers of session and track), times of arrival and sizes.

    forgets: how many times somebody was forgotten; what was taken before that may hold a face that must not
    be sent any more.
    """

    def __init__(
        self,
        path: Path,
        sinks: Sequence[str],
        *,
        max_bytes: int = 1 << 30,
        sealer: Sealer | None = None,
    ) -> None:
        self._path, self._sinks, self._max_bytes = path, tuple(sinks), max_bytes
        sealer = Plain() if sealer is None else sealer
        self._sealed = Sealed(sealer)
        self._lock = threading.RLock()
        self._more = threading.Condition(self._lock)
        self._held: deque[tuple[Message, float]] = deque()
        self._dropped = self._final_dropped = 0
        self._marks: dict[str, int] = {}  # how far sinks are, also where the disk took no note of it
        self.forgets = 0
        self._db = open_spool(path, self._sinks, sealer)

    def put(self, message: Message, now_s: float) -> bool:
        """Keep a message; False if one of its id is kept already. Never raises for want of room."""
        with self._lock:
            try:
                self._flush()
                new = self._insert(message, now_s)
            except OutputFull as full:
                if not self._held:
                    _LOG.warning("the spool holds events in memory, at most %d: %s", _HELD, full)
                self._hold(message, now_s)
                return True
            self._more.notify_all()
            return new

    def next(self, sink: str, limit: int = 16, timeout_s: float = 0.0) -> list[Spooled]:
        """The oldest messages that the sink has not taken, in order; waits up to timeout_s for one."""
        with self._lock:
            found = self._after(sink, limit)
            if not found and timeout_s > 0:
                self._more.wait(timeout_s)
                found = self._after(sink, limit)
            return found

    def done(self, sink: str, seq: int) -> None:
        """The sink has everything up to and with seq, and is given none of it again while this process lives.
        What all sinks have is removed. Raises OutputFull: the next process may give it again."""
        with self._lock:
            self._marks[sink] = max(seq, self._marks.get(sink, 0))
        with self._writing() as db:
            db.execute("UPDATE sink SET done = max(done, ?) WHERE name = ?", (seq, sink))
            places = ",".join("?" * len(self._sinks))
            least = f"SELECT min(done) FROM sink WHERE name IN ({places})"  # noqa: S608  names are bound
            db.execute(f"DELETE FROM event WHERE seq <= ({least})", self._sinks)  # noqa: S608

    def recover(self, boot: str, now_s: float) -> int:
        """End the tracks that an earlier run left open, each with the best shot told of it; how many."""
        with self._lock:
            rows = self._db.execute("SELECT key, body FROM track WHERE boot != ?", (boot,)).fetchall()
            for key, body in rows:
                last = self._sealed.event(body)
                if isinstance(last, TrackStarted | Shot):
                    self.put(crashed(last, self._images("track_image", "key", key)), now_s)
            return len(rows)

    def forget(self, who: Forgotten) -> int:
        """Take somebody out of what waits: tracks end without faces, the rest is not sent; how many events
        were changed or removed. A track of theirs that is still in view goes on, without what it showed so
        far. Raises OutputFull, and then nothing has changed but what is in memory.
        """
        with self._lock:
            self.forgets += 1
            found = self._forget_held(who)
            with self._writing() as db:
                found += strip(db, self._sealed, who)
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the pages as they were
            return found

    def followed(self, store: str) -> int:
        """Up to which revision of a store of people everything was told; 0 for one never followed."""
        with self._lock:
            row = self._db.execute("SELECT revision FROM followed WHERE store = ?", (store,)).fetchone()
            return 0 if row is None else int(row[0])

    def follow(
        self,
        store: str,
        revision: int,
        now_s: float,
        told: Sequence[Message] = (),
        who: Forgotten | None = None,
    ) -> None:
        """Note that a store of people was followed up to a revision, and with that, all or nothing: forget
        who was deleted, and keep what is told of it. So it is told once, whenever a process dies. Raises
        OutputFull, and then nothing has changed but what is in memory.
        """
        with self._lock:
            if who is not None:
                self.forgets += 1
                self._forget_held(who)
            self._flush()
            with self._writing() as db:
                if who is not None:
                    strip(db, self._sealed, who)
                for message in told:
                    self._insert_in(db, message, now_s)
                db.execute(
                    "INSERT INTO followed VALUES (?, ?) "
                    "ON CONFLICT (store) DO UPDATE SET revision = excluded.revision",
                    (store, revision),
                )
            if who is not None:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the pages as they were
            self._more.notify_all()

    def report(self) -> SpoolReport:
        """How full it is."""
        with self._lock:
            events, size = self._db.execute("SELECT events, bytes FROM total").fetchone()
            counted = self._db.execute(
                "SELECT name, (SELECT count(*) FROM event INDEXED BY event_room "
                "WHERE final IN (0, 1) AND seq > done) FROM sink"
            ).fetchall()
            waiting = {name: number for name, number in counted if name in self._sinks}
            return SpoolReport(events, size, waiting, len(self._held), self._dropped, self._final_dropped)

    def close(self) -> None:
        """Write what is held, if the disk takes it, and close the file."""
        with self._lock:
            try:
                self._flush()
            except OutputFull:
                _LOG.error("%d events are lost: the disk has no room for them", len(self._held))
            self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction. Raises OutputFull when the disk takes nothing."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                self._roll_back()
                if type(error) not in _OF_THE_DISK:
                    raise
                raise OutputFull(f"{str(self._path)!r}: {error}") from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _insert(self, message: Message, now_s: float) -> bool:
        with self._writing() as db:
            return self._insert_in(db, message, now_s)

    def _insert_in(self, db: sqlite3.Connection, message: Message, now_s: float) -> bool:
        new = insert(db, self._sealed, message, now_s, waits=bool(self._sinks))
        for was_final in make_room(db, self._max_bytes):
            self._count_drop(was_final)
        return new

    def _after(self, sink: str, limit: int) -> list[Spooled]:
        rows = self._db.execute(
            "SELECT seq, body FROM event WHERE seq > max(?, (SELECT done FROM sink WHERE name = ?)) "
            "ORDER BY seq LIMIT ?",
            (self._marks.get(sink, 0), sink, limit),
        ).fetchall()
        return [
            Spooled(seq, Message(self._sealed.event(body), self._images("image", "seq", seq)))
            for seq, body in rows
        ]

    def _images(self, table: str, column: str, key: str | int) -> dict[str, bytes]:
        query = f"SELECT name, jpeg FROM {table} WHERE {column} = ?"  # noqa: S608  both are ours
        return {name: self._sealed.image(jpeg) for name, jpeg in self._db.execute(query, (key,))}

    def _forget_held(self, who: Forgotten) -> int:
        """The same for what is in memory."""
        kept: deque[tuple[Message, float]] = deque()
        found = 0
        for message, at_s in self._held:
            left = who.left_of(message.event)
            found += left != message.event
            if left == message.event:
                kept.append((message, at_s))
            elif left is not None:
                kept.append((Message(left), at_s))
        self._held = kept
        return found

    def _hold(self, message: Message, now_s: float) -> None:
        self._held.append((message, now_s))
        if len(self._held) > _HELD:
            place = next((i for i, (m, _) in enumerate(self._held) if not m.is_final), 0)
            lost, _ = self._held[place]
            del self._held[place]
            self._count_drop(lost.is_final)

    def _flush(self) -> None:
        held = len(self._held)
        while self._held:
            self._insert(*self._held[0])
            self._held.popleft()
        if held:
            _LOG.info("the disk takes events again: %d that were held are on it", held)

    def _count_drop(self, final: bool) -> None:
        if not self._dropped:
            _LOG.error("events are given up for want of room, early shots first (serve.spool_mb, the disk)")
        self._dropped += 1
        self._final_dropped += final
