"""Events on disk until every sink has them: an outage or a crash loses no final shot.

One SQLite file in WAL mode. A message is one transaction, so that a killed process leaves either all of it or
nothing; power loss may cost the last moments (synchronous = NORMAL).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, OutputFull, OutputUnwritable
from ..ports import Closing
from ..sealing import Plain, Sealer, must_reseal, proof
from .events import Message, Shot, TrackEnded, TrackStarted, crashed, parse_event

_LOG = logging.getLogger("facesieve.serve")
_VERSION = 1
_HELD = 1024
_SCHEMA = """
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, final INTEGER NOT NULL,
    body TEXT NOT NULL, bytes INTEGER NOT NULL, put_s REAL NOT NULL
);
CREATE TABLE image (
    seq INTEGER NOT NULL REFERENCES event ON DELETE CASCADE, name TEXT NOT NULL, jpeg BLOB NOT NULL,
    PRIMARY KEY (seq, name)
);
CREATE TABLE sink (name TEXT PRIMARY KEY, done INTEGER NOT NULL);
CREATE TABLE track (key TEXT PRIMARY KEY, boot TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE track_image (
    key TEXT NOT NULL REFERENCES track ON DELETE CASCADE, name TEXT NOT NULL, jpeg BLOB NOT NULL,
    PRIMARY KEY (key, name)
);
"""
_SEAL = "CREATE TABLE IF NOT EXISTS seal (proof BLOB NOT NULL)"


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
    that is left out holds nothing back. max_bytes: of bodies and pictures; beyond it the oldest messages that
    end no track go first. Raises OutputUnwritable when the file cannot be used.

    While the disk takes nothing, messages are held in memory, at most 1,024, ends of tracks before others.

    sealer: of the pictures on disk; those that are there already are sealed anew when it has changed.
    ConfigError for a file that was sealed with a key that it has not.
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
        self._sealer: Sealer = Plain() if sealer is None else sealer
        self._lock = threading.RLock()
        self._more = threading.Condition(self._lock)
        self._held: deque[tuple[Message, float]] = deque()
        self._dropped = self._final_dropped = 0
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            path.chmod(0o600)  # faces are personal data
            self._prepare()
            self._unlock()
        except ConfigError:
            self._db.close()
            raise
        except (sqlite3.Error, OSError) as error:
            raise OutputUnwritable(f"{str(path)!r} cannot be used as a spool: {error}") from error

    def put(self, message: Message, now_s: float) -> bool:
        """Keep a message; False if one of its id is kept already. Never raises for want of room."""
        with self._lock:
            try:
                self._flush()
                new = self._insert(message, now_s)
            except OutputFull as full:
                _LOG.warning("the spool holds events in memory: %s", full)
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
        """The sink has everything up to and with seq. What all sinks have is removed."""
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
                last = parse_event(body)
                if isinstance(last, TrackStarted | Shot):
                    self.put(crashed(last, self._images("track_image", "key", key)), now_s)
            return len(rows)

    def delete(self, camera: str | None = None) -> int:
        """Remove all events of a camera, or all; how many. For those whose faces must be forgotten."""
        with self._writing() as db:
            if camera is None:
                return db.execute("DELETE FROM event").rowcount
            mine = "json_extract(body, '$.origin.camera') = ?"
            db.execute(f"DELETE FROM track WHERE {mine}", (camera,))  # noqa: S608
            return db.execute(f"DELETE FROM event WHERE {mine}", (camera,)).rowcount  # noqa: S608

    def report(self) -> SpoolReport:
        """How full it is."""
        with self._lock:
            events, size = self._db.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM event").fetchone()
            counted = self._db.execute(
                "SELECT name, (SELECT count(*) FROM event WHERE seq > done) FROM sink"
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

    def _prepare(self) -> None:
        db = self._db
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA secure_delete = ON")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise OutputUnwritable(
                f"{str(self._path)!r} is a spool of version {version}, expected {_VERSION}: finish it "
                "with the facesieve that wrote it, or name another file"
            )
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        (newest,) = db.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'"
        ).fetchone()
        for sink in self._sinks:
            db.execute("INSERT OR IGNORE INTO sink VALUES (?, ?)", (sink, newest))

    def _unlock(self) -> None:
        """See that the keys are right, and seal with the newest what lies here."""
        self._db.execute(_SEAL)
        found = self._db.execute("SELECT proof FROM seal").fetchone()
        kept = None if found is None else bytes(found[0])
        if not must_reseal(self._sealer, kept, f"the spool {str(self._path)!r}"):
            return
        with self._writing() as db:
            for table in ("image", "track_image"):
                rows = db.execute(f"SELECT rowid FROM {table}").fetchall()  # noqa: S608
                for (row,) in rows:
                    (data,) = db.execute(f"SELECT jpeg FROM {table} WHERE rowid = ?", (row,)).fetchone()  # noqa: S608
                    sealed = self._sealer.seal(data if kept is None else self._sealer.open(data))
                    db.execute(f"UPDATE {table} SET jpeg = ? WHERE rowid = ?", (sealed, row))  # noqa: S608
            db.execute("DELETE FROM seal")
            db.execute("INSERT INTO seal VALUES (?)", (proof(self._sealer),))
        self._db.execute("VACUUM")  # what lay open until now leaves the disk
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction. Raises OutputFull when the disk takes nothing."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                self._roll_back()
                raise OutputFull(f"{str(self._path)!r}: {error}") from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _insert(self, message: Message, now_s: float) -> bool:
        event, body = message.event, message.event.model_dump_json()
        images = {name: self._sealer.seal(jpeg) for name, jpeg in message.images.items()}
        size = len(body) + sum(map(len, images.values()))
        with self._writing() as db:
            made = db.execute(
                "INSERT OR IGNORE INTO event (id, final, body, bytes, put_s) VALUES (?, ?, ?, ?, ?)",
                (event.id, message.is_final, body, size, now_s),
            )
            if made.rowcount:
                rows = [(made.lastrowid, name, jpeg) for name, jpeg in images.items()]
                db.executemany("INSERT INTO image VALUES (?, ?, ?)", rows)
            self._note_track(db, message, body, images)
            self._make_room(db)
        return bool(made.rowcount)

    def _note_track(
        self, db: sqlite3.Connection, message: Message, body: str, images: Mapping[str, bytes]
    ) -> None:
        """Remember the newest of each live track, for the day when its end does not come."""
        event = message.event
        if not isinstance(event, TrackStarted | Shot | TrackEnded):
            return
        key = f"{event.origin.boot}/{event.origin.camera}/{event.origin.session}/{event.track}"
        if isinstance(event, TrackEnded) and not event.final:
            return
        db.execute("DELETE FROM track WHERE key = ?", (key,))
        if not isinstance(event, TrackEnded):
            db.execute("INSERT INTO track VALUES (?, ?, ?)", (key, event.origin.boot, body))
            rows = [(key, name, jpeg) for name, jpeg in images.items()]
            db.executemany("INSERT INTO track_image VALUES (?, ?, ?)", rows)

    def _make_room(self, db: sqlite3.Connection) -> None:
        (size,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM event").fetchone()
        if size <= self._max_bytes:
            return
        rows = db.execute("SELECT seq, bytes, final FROM event ORDER BY final, seq").fetchall()
        for seq, bytes_, final in rows:
            if size <= self._max_bytes:
                break
            db.execute("DELETE FROM event WHERE seq = ?", (seq,))
            size -= bytes_
            self._count_drop(bool(final))

    def _after(self, sink: str, limit: int) -> list[Spooled]:
        rows = self._db.execute(
            "SELECT seq, body FROM event WHERE seq > (SELECT done FROM sink WHERE name = ?) "
            "ORDER BY seq LIMIT ?",
            (sink, limit),
        ).fetchall()
        return [
            Spooled(seq, Message(parse_event(body), self._images("image", "seq", seq))) for seq, body in rows
        ]

    def _images(self, table: str, column: str, key: str | int) -> dict[str, bytes]:
        query = f"SELECT name, jpeg FROM {table} WHERE {column} = ?"  # noqa: S608  both are ours
        return {name: self._sealer.open(jpeg) for name, jpeg in self._db.execute(query, (key,))}

    def _hold(self, message: Message, now_s: float) -> None:
        self._held.append((message, now_s))
        if len(self._held) > _HELD:
            place = next((i for i, (m, _) in enumerate(self._held) if not m.is_final), 0)
            lost, _ = self._held[place]
            del self._held[place]
            self._count_drop(lost.is_final)

    def _flush(self) -> None:
        while self._held:
            self._insert(*self._held[0])
            self._held.popleft()

    def _count_drop(self, final: bool) -> None:
        self._dropped += 1
        self._final_dropped += final
