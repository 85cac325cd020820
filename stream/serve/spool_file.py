"""The file of a spool: opened, brought up to date, sealed."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import OutputUnwritable
from ..sealing import Sealer, must_reseal, proof
from .events import Event, parse_event

_VERSION = 2
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
_FOLLOWED = "CREATE TABLE IF NOT EXISTS followed (store TEXT PRIMARY KEY, revision INTEGER NOT NULL)"
# What an event costs must not depend on how many wait: no sum or order over all of them for each.
_ROOM = (
    "CREATE INDEX IF NOT EXISTS event_room ON event (final, seq, bytes)",
    "CREATE TABLE IF NOT EXISTS total (events INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "CREATE TRIGGER IF NOT EXISTS event_came AFTER INSERT ON event BEGIN "
    "UPDATE total SET events = events + 1, bytes = bytes + new.bytes; END",
    "CREATE TRIGGER IF NOT EXISTS event_went AFTER DELETE ON event BEGIN "
    "UPDATE total SET events = events - 1, bytes = bytes - old.bytes; END",
    "CREATE TRIGGER IF NOT EXISTS event_changed AFTER UPDATE OF bytes ON event BEGIN "
    "UPDATE total SET bytes = bytes - old.bytes + new.bytes; END",
    "DELETE FROM total",
    "INSERT INTO total SELECT count(*), coalesce(sum(bytes), 0) FROM event INDEXED BY event_room",
)
_SEALED = (("event", "body"), ("track", "body"), ("image", "jpeg"), ("track_image", "jpeg"))
_DAMAGED = (
    ". Move it and what lies beside it under its name (-wal, -shm) away to begin with an empty one: what was "
    "in it and had not been sent is lost"
)

Body = str | bytes
"""JSON of an event: text where it lies open, bytes where it is sealed."""


def open_spool(path: Path, sinks: Sequence[str], sealer: Sealer) -> sqlite3.Connection:
    """The database, for any thread. A sink that it does not know begins with what comes next.

    Raises OutputUnwritable for what cannot be used, ConfigError for a wrong or missing key."""
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        path.chmod(0o600)  # faces are personal data
        before = _prepare(db, path)
        _know(db, sinks)
        _seal_all(db, path, sealer, before)
    except BaseException as error:
        if db is not None:
            db.close()
        if isinstance(error, sqlite3.Error | OSError):
            hint = "" if isinstance(error, sqlite3.OperationalError | OSError) else _DAMAGED
            raise OutputUnwritable(f"{str(path)!r} cannot be used as a spool: {error}{hint}") from error
        raise
    return db


class Sealed:
    """What of a message is written down, through the sealer."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def body(self, event: Event) -> Body:
        """Of an event."""
        text = event.model_dump_json()
        return self._sealer.seal(text.encode()) if self._sealer.suffix else text

    def event(self, body: Body) -> Event:
        """Out of its body. Raises ConfigError when no key fits."""
        return parse_event(body if isinstance(body, str) else self._sealer.open(body))

    def images(self, images: Mapping[str, bytes]) -> dict[str, bytes]:
        """Sealed ones."""
        return {name: self._sealer.seal(jpeg) for name, jpeg in images.items()}

    def image(self, data: bytes) -> bytes:
        """Out of a sealed one."""
        return self._sealer.open(data)


def size_of(body: Body, images: Mapping[str, bytes]) -> int:
    """Bytes of an event on disk, without what the database adds."""
    return len(body) + sum(map(len, images.values()))


def _prepare(db: sqlite3.Connection, path: Path) -> int:
    """Settings and tables; the version that the file had."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA secure_delete = ON")
    db.execute("PRAGMA cache_size = -512")  # KB: an event is written once and read once
    (health,) = db.execute("PRAGMA quick_check(1)").fetchone()  # now, not when a sink comes to that page
    if health != "ok":
        raise sqlite3.DatabaseError(health.replace("\n", " "))
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version not in (0, 1, _VERSION):
        raise OutputUnwritable(
            f"{str(path)!r} is a spool of version {version}, expected {_VERSION}: finish it "
            "with the facesieve that wrote it, or name another file"
        )
    if version == 0:
        db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
    db.execute(_FOLLOWED)
    db.executescript(f"BEGIN IMMEDIATE; {';'.join(_ROOM)}; COMMIT;")
    return int(version)


def _know(db: sqlite3.Connection, sinks: Sequence[str]) -> None:
    (newest,) = db.execute(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'"
    ).fetchone()
    for sink in sinks:
        db.execute("INSERT OR IGNORE INTO sink VALUES (?, ?)", (sink, newest))
    if not sinks:  # nobody will ever take what lies here
        db.execute("DELETE FROM event")


def _seal_all(db: sqlite3.Connection, path: Path, sealer: Sealer, before: int) -> None:
    """See that the keys are right, and seal with the newest what lies here. before: version of the file; in
    the first, events lay open beside sealed pictures."""
    db.execute(_SEAL)
    found = db.execute("SELECT proof FROM seal").fetchone()
    kept = None if found is None else bytes(found[0])
    due = must_reseal(sealer, kept, f"the spool {str(path)!r}") or (before == 1 and bool(sealer.suffix))
    db.execute("BEGIN IMMEDIATE")
    try:
        for table, column in _SEALED if due else ():
            for (row,) in db.execute(f"SELECT rowid FROM {table}").fetchall():  # noqa: S608  all are ours
                (data,) = db.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,)).fetchone()  # noqa: S608
                is_open = kept is None or isinstance(data, str)
                clear = data.encode() if isinstance(data, str) else data if is_open else sealer.open(data)
                db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (sealer.seal(clear), row))  # noqa: S608
        if due:
            db.execute("DELETE FROM seal")
            db.execute("INSERT INTO seal VALUES (?)", (proof(sealer),))
        db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    if due:
        db.execute("VACUUM")  # what lay open until now leaves the disk
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
