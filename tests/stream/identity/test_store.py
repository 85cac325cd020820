"""The store: what it promises on SQLite and on PostgreSQL."""

from __future__ import annotations

import dataclasses
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from facesieve.stream.errors import ConfigError, OutputUnwritable
from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.edits import delete_by_user, new_identity, settle
from facesieve.stream.identity.postgres import PostgresDatabase
from facesieve.stream.identity.retention import Retention, retain
from facesieve.stream.identity.rows import ShotRow, TrackRow
from facesieve.stream.identity.schema import VERSION
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.types import F32

Open = Callable[[], SqlStore]
ROOT = Path(__file__).resolve().parents[3]


def vector(seed: int) -> F32:
    drawn = np.random.default_rng(seed).normal(size=16).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn), np.float32)


def add(store: SqlStore, track: int, *, sha256: str = "a" * 64) -> int:
    """A person with one track of two shots."""
    with store.transaction():
        source, generation = store.source(sha256, "film.mp4")
        identity = new_identity(store, linkable=True)
        shots = [
            ShotRow(0, rank, rank / 2, 0.9 - rank / 10, None, f"c{rank}", "p", vector(100 * track + rank))
            for rank in (1, 2)
        ]
        row = TrackRow(
            0,
            source,
            "film.mp4",
            generation,
            track,
            identity,
            0.25,
            9.5,
            77,
            0.8,
            vector(track),
            "/o",
            ".",
            5.0,
        )
        store.put_track(row, shots)
        settle(store, identity)
    return identity


def test_what_goes_in_comes_out(open_store: Open) -> None:
    store = open_store()
    identity = add(store, 3)
    (track,) = store.tracks(identity=identity)
    assert (track.source_name, track.track, track.first_pts_s, track.last_pts_s) == ("film.mp4", 3, 0.25, 9.5)
    assert (track.frames_seen, track.quality, track.out, track.folder, track.recorded_s) == (
        77,
        0.8,
        "/o",
        ".",
        5,
    )
    np.testing.assert_array_equal(track.template, vector(3))
    first, second = store.shots(track.row, vectors=True)
    assert (first.rank, second.rank, first.score, first.calibrated, first.portrait) == (1, 2, 0.8, None, "p")
    assert first.vector is not None
    np.testing.assert_array_equal(first.vector, vector(301))
    assert store.shots(track.row)[0].vector is None, "vectors are read where they are asked for only"
    (person,) = store.identities()
    np.testing.assert_allclose(person.centre, vector(3), atol=1e-6)


def test_ids_are_never_given_twice(open_store: Open) -> None:
    store = open_store()
    first = add(store, 1)
    with store.transaction():
        delete_by_user(store, first, 1.0, "me")
    assert add(open_store(), 2) == first + 1


def test_deleting_takes_everything_of_the_person_and_of_whom_it_was_merged_from(open_store: Open) -> None:
    store = open_store()
    one, two, other = add(store, 1), add(store, 2, sha256="b" * 64), add(store, 3, sha256="c" * 64)
    with store.transaction():
        store.merge_identity(two, one)
        settle(store, one)
    seen = open_store()
    revision = seen.changes(0).revision
    with store.transaction():
        delete_by_user(store, one, 2.0, "me")
    store.scrub()
    assert [row.identity for row in store.identities()] == [other]
    assert store.identity(one) is None
    assert store.identity(two) is None
    assert [track.identity for track in store.tracks()] == [other]
    assert set(seen.changes(revision).gone) == {one, two}, "other processes hear of it"
    for table, left in (("shots", 2), ("embeddings", 2), ("sources", 1)):
        assert store._database.execute(f"SELECT count(*) FROM {table}") == [(left,)]  # noqa: S608
    (*_, last) = store.revisions()
    assert (last.action, last.identity, last.actor, last.tracks, last.shots, last.at_s) == (
        ("delete", one, "me", 2, 4, 2.0)
    )


def test_a_failed_transaction_leaves_nothing(open_store: Open) -> None:
    store = open_store()

    def half() -> None:
        with store.transaction():
            store.put_identity(store.new_identity(), linkable=True, total=np.ones(4))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.identities() == []
    assert add(store, 1) == 1, "nor an id that is missing"


def test_a_store_keeps_to_one_network(open_store: Open) -> None:
    store = open_store()
    assert store.embedder() is None
    store.bind("facesieve-t@1a2b3c4d", 128)
    open_store().bind("facesieve-t@1a2b3c4d", 128)
    with pytest.raises(ConfigError, match=r"facesieve-t@1a2b3c4d.*cannot be compared.*sface@99999999"):
        store.bind("sface@99999999", 128)


def test_a_store_of_a_later_facesieve_is_refused(open_store: Open) -> None:
    store = open_store()
    store._database.execute("UPDATE settings SET value = '99' WHERE name = 'schema'")
    with pytest.raises(ConfigError, match=f"schema 99.*reads up to {VERSION}"):
        open_store()


def test_the_same_store_is_the_same_by_name(open_store: Open) -> None:
    assert open_store().name == open_store().name


def test_tracks_need_a_person_and_a_source(open_store: Open) -> None:
    store = open_store()
    row = TrackRow(0, 9, "x", 1, 1, 1, 0, 1, 1, 0.5, vector(1), "/o", ".", 0.0)
    with pytest.raises(OutputUnwritable, match=r"(?i)foreign key"), store.transaction():
        store.put_track(row, [])


def test_another_kind_of_file_is_not_taken_for_a_store(tmp_path: Path) -> None:
    text, database = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("to do: buy milk\n")
    with pytest.raises(ConfigError, match=r"notes\.txt.*another kind of file"):
        SqliteDatabase(text)
    assert text.read_text() == "to do: buy milk\n"
    with closing(sqlite3.connect(database)) as other:
        other.execute("CREATE TABLE settings (name TEXT, value TEXT)")
        other.commit()
    with pytest.raises(ConfigError, match=r"other\.sqlite.*another database"):
        SqlStore(SqliteDatabase(database))
    with pytest.raises(OutputUnwritable, match="nowhere"):
        SqliteDatabase(tmp_path / "nowhere" / "people.sqlite")


def test_a_damaged_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "people.sqlite"
    with closing(SqlStore(SqliteDatabase(path))) as store:
        for track in range(40):
            add(store, track, sha256=f"{track:064d}")
    data = bytearray(path.read_bytes())
    data[4096:20000] = b"\xa5" * (20000 - 4096)
    path.write_bytes(data)
    with (
        pytest.raises(OutputUnwritable, match=r"people\.sqlite"),
        closing(SqlStore(SqliteDatabase(path))) as store,
    ):
        store.tracks()


def test_the_file_is_its_owner_s(tmp_path: Path) -> None:
    path = tmp_path / "people.sqlite"
    with closing(SqlStore(SqliteDatabase(path))) as store:
        add(store, 1)
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["people.sqlite", "people.sqlite-wal", "people.sqlite-shm"], 0o600)


def test_deleted_bytes_are_not_in_the_file_any_more(tmp_path: Path) -> None:
    path = tmp_path / "people.sqlite"
    with closing(SqlStore(SqliteDatabase(path))) as store:
        gone, left = add(store, 1, sha256="b" * 64), add(store, 2)
        sought = {"template": vector(1).tobytes(), "embedding": vector(101).tobytes(), "source": b"b" * 64}
        kept = {"template": vector(2).tobytes(), "embedding": vector(201).tobytes(), "source": b"a" * 64}
        before = _bytes(tmp_path)
        assert all(data in before for data in (*sought.values(), *kept.values())), "the test would see them"
        with store.transaction():
            delete_by_user(store, gone, 1.0, "me")
        store.scrub()
        after = _bytes(tmp_path)
        assert [name for name, data in sought.items() if data in after] == []
        assert [name for name, data in kept.items() if data not in after] == []
        assert [row.identity for row in store.identities()] == [left]
    assert vector(1).tobytes()[:16] not in _bytes(tmp_path)


def test_deletion_says_so_when_a_reader_keeps_the_log(tmp_path: Path) -> None:
    path = tmp_path / "people.sqlite"
    with closing(SqlStore(SqliteDatabase(path))) as store, closing(sqlite3.connect(path)) as reader:
        identity = add(store, 1)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM tracks").fetchone() == (1,)
        store._database.execute("PRAGMA busy_timeout = 50")
        with store.transaction():
            delete_by_user(store, identity, 1.0, "me")
        with pytest.raises(OutputUnwritable, match="another process"):
            store.scrub()
        reader.execute("COMMIT")
        store.scrub()
        assert vector(1).tobytes() not in _bytes(tmp_path)


def test_readers_read_on_while_one_writes(open_store: Open) -> None:
    writer, reader = open_store(), open_store()
    first = add(writer, 1)
    with writer.transaction():
        writer.put_identity(writer.new_identity(), linkable=True, total=np.ones(4))
        assert [row.identity for row in reader.identities()] == [first], "neither waits nor sees half of it"
    assert len(reader.identities()) == 2


def test_writers_take_turns(tmp_path: Path) -> None:
    """Four threads with connections of their own; every id is given once."""
    path = tmp_path / "people.sqlite"
    SqlStore(SqliteDatabase(path)).close()
    given: list[int] = []

    def write(worker: int) -> None:
        with closing(SqlStore(SqliteDatabase(path))) as store:
            given.extend(add(store, 100 * worker + i, sha256=f"{worker:064d}") for i in range(15))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == list(range(1, 61))


def test_a_kill_in_mid_write_leaves_a_store_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "people.sqlite"
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from facesieve.stream.identity import SqliteDatabase, SqlStore\n"
        "store = SqlStore(SqliteDatabase(Path(sys.argv[1])))\n"
        "def person():\n"
        "    store.put_identity(store.new_identity(), linkable=True, total=np.ones(16))\n"
        "for _ in range(3):\n"
        "    with store.transaction():\n"
        "        person()\n"
        "with store.transaction():\n"
        "    for _ in range(500):\n"
        "        person()\n"
        "    print('half', flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as writing:
        assert writing.stdout is not None
        assert writing.stdout.readline() == b"half\n"
        writing.send_signal(signal.SIGKILL)
        writing.wait()
    with closing(SqlStore(SqliteDatabase(path))) as store:
        assert [row.identity for row in store.identities()] == [1, 2, 3]
        assert add(store, 1) == 4


def _bytes(folder: Path) -> bytes:
    """Of the store and its log."""
    return b"".join(file.read_bytes() for file in sorted(folder.glob("people.sqlite*")))


def test_edits_are_read_in_order_and_go_after_three_months(open_store: Open) -> None:
    store, day_s = open_store(), 86_400.0
    with store.transaction():
        store.put_edit(0.0, 4, left=0, merged_from=[9], tracks=[("b1", "gate", 2, 7)])
        store.put_edit(day_s, 5, left=3)
    first, second = open_store().edits(0)
    assert (first.identity, first.left, first.merged_from) == (4, 0, (9,))
    assert first.tracks == (("b1", "gate", 2, 7),)
    assert (second.identity, second.left, second.merged_from, second.tracks) == (5, 3, (), ())
    assert store.edits(first.revision) == [second]
    assert store.edits(second.revision) == []
    assert store.revision() == second.revision
    with store.transaction():
        store.put_edit(90.5 * day_s, 6, left=1)
    assert [edit.identity for edit in store.edits(0)] == [5, 6]


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "people.sqlite"
    with closing(SqlStore(SqliteDatabase(path))) as store:
        identity = add(store, 3)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("DROP TABLE edits")
        raw.execute("DROP INDEX tracks_seen")
        raw.execute("UPDATE settings SET value = '1' WHERE name = 'schema'")
        raw.commit()
    with closing(SqlStore(SqliteDatabase(path))) as store:
        with store.transaction():
            delete_by_user(store, identity, 1.0, "user")
        assert [edit.identity for edit in store.edits(0)] == [identity]


def test_a_store_whose_server_was_started_anew_is_used_again(postgres: str) -> None:
    """A service outlives the restarts of its database."""
    with closing(SqlStore(PostgresDatabase(postgres))) as store, closing(PostgresDatabase(postgres)) as admin:
        before = store.revision()
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        admin.execute(f"{ended} AND datname = current_database()")
        with pytest.raises(OutputUnwritable, match="terminat"):
            store.revision()
        assert store.revision() == before

        def half_done() -> None:
            with store.transaction():
                store.put_edit(0.0, 1, left=1)
                admin.execute(f"{ended} AND datname = current_database()")
                store.put_edit(0.0, 2, left=1)

        with pytest.raises(OutputUnwritable, match="terminat"):
            half_done()
        assert store.edits(before) == []
    with pytest.raises(OutputUnwritable, match="closed"):
        store.revision()


def test_the_log_does_not_tell_when_somebody_was_seen_who_is_gone(open_store: Open) -> None:
    store = open_store()
    people = [add(store, track) for track in (1, 2, 3)]
    with store.transaction():
        for at_s, identity in zip((10.0, 20.0, 30.0), people, strict=True):
            store.log(at_s, "serve", "new", identity, None, (1, 2))
        store.log(40.0, "user", "merge", people[0], people[1], (1, 0))
    with store.transaction():
        delete_by_user(store, people[1], 50.0, "user")
    assert [(r.action, r.identity) for r in store.revisions()] == [
        ("new", people[0]), ("new", people[2]), ("merge", people[0]), ("delete", people[1]),
    ]  # fmt: skip
    retain(store, Retention(max_age_s=35.0), 60.0, "retain")
    assert [r.action for r in store.revisions()][:2] == ["merge", "delete"]


def test_people_are_listed_last_seen_first(open_store: Open) -> None:
    store = open_store()
    assert store.last_seen(0, 10) == (0, [])
    first, second, third = (add(store, track) for track in (1, 2, 3))
    with store.transaction():
        (track,) = store.tracks(identity=second)
        again = dataclasses.replace(track, track=9, recorded_s=8.0)
        store.put_track(again, [])
    assert store.last_seen(0, 10) == (3, [second, first, third])
    assert store.last_seen(1, 1) == (3, [first])
    assert sorted(name for _, _, name in store.pictures()) == sorted(["c1", "c2", "p", "p"] * 3)


def test_what_all_tracks_of_a_person_tell_together(open_store: Open) -> None:
    store = open_store()
    one, two = add(store, 1), add(store, 2, sha256="b" * 64)
    with store.transaction():
        source, generation = store.source("c" * 64, "another.mp4")
        (known,) = store.tracks(identity=one)
        for track, quality, at_s in ((5, 0.9, 2.0), (6, 0.9, 8.0)):
            facts = {"source": source, "generation": generation, "track": track, "recorded_s": at_s}
            store.put_track(dataclasses.replace(known, quality=quality, **facts), [])
    seen = store.sightings(one)
    assert seen is not None
    assert (seen.tracks, seen.sources, seen.first_s, seen.last_s) == (
        3,
        ["another.mp4", "film.mp4"],
        2.0,
        8.0,
    )
    assert seen.best.track == 5, "of equals the oldest"
    found = store.track_at(seen.best.row)
    assert found is not None
    assert (found.row, found.track, found.identity) == (seen.best.row, 5, one)
    assert store.track_at(seen.best.row + 1000) is None
    assert store.sightings(two + 1) is None


def test_tidying_takes_old_edits_and_empty_sources_and_a_run_over_one_goes_on(open_store: Open) -> None:
    store, day_s = open_store(), 86_400.0
    kept = add(store, 1)
    with store.transaction():
        source, generation = store.source("b" * 64, "empty.mp4")
        store.put_edit(0.0, 7, left=0)
        store.put_edit(80 * day_s, 8, left=0)
        store.tidy(91 * day_s)
    assert [edit.identity for edit in store.edits(0)] == [8]
    assert len(store._run("SELECT 1 FROM sources")) == 1
    with store.transaction():
        (known,) = store.tracks(identity=kept)
        store.keep_source(source, generation, "b" * 64, "empty.mp4")
        place = {"source": source, "generation": generation, "track": 4}
        store.put_track(dataclasses.replace(known, **place), [])
    assert [track.source_name for track in store.tracks(identity=kept)] == ["film.mp4", "empty.mp4"]
