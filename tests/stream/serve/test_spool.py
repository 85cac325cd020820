"""The spool: nothing final is lost, nothing is doubled, whatever dies."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from facesieve.stream.errors import OutputFull, OutputUnwritable
from facesieve.stream.sealing import Encrypting, new_key
from facesieve.stream.serve.events import (
    IdentityUpdated,
    Message,
    Moment,
    Origin,
    Shot,
    ShotFacts,
    TrackEnded,
    TrackStarted,
)
from facesieve.stream.serve.forget import Forgotten
from facesieve.stream.serve.spool import Spool

AT = Moment(pts_s=1.0, wall_s=1000.0, monotonic_s=1.0)


def facts(score: float = 0.5) -> ShotFacts:
    return ShotFacts(
        rank=1, pts_s=1.0, wall_s=1000.0, score=score, calibrated=None, model="m", enrol=False,
        box=(0, 0, 9, 9), eye_distance_px=9, detection_score=0.9, components={}, reason="best",
        image="1.jpg", chip=None,
    )  # fmt: skip


def started(track: int, boot: str = "b1") -> Message:
    origin = Origin(camera="gate", boot=boot, session=1)
    identity = f"{boot}/gate/1/{track}/0/started"
    return Message(
        TrackStarted(id=identity, origin=origin, at=AT, track=track, box=(0, 0, 9, 9), detection_score=0.9)
    )


def shot(track: int, revision: int, boot: str = "b1") -> Message:
    origin = Origin(camera="gate", boot=boot, session=1)
    event = Shot(
        id=f"{boot}/gate/1/{track}/0/shot-{revision}", origin=origin, at=AT, track=track, window=0,
        revision=revision, why="improved", shot=facts(0.1 * revision),
    )  # fmt: skip
    return Message(event, {"1.jpg": b"face %d" % revision})


def ended(track: int, boot: str = "b1", image: bytes = b"final") -> Message:
    origin = Origin(camera="gate", boot=boot, session=1)
    event = TrackEnded(
        id=f"{boot}/gate/1/{track}/0/ended", origin=origin, at=AT, track=track, window=0, final=True,
        end="lost", first_pts_s=0, last_pts_s=1, frames_seen=5, rejected={}, shots=(facts(),),
    )  # fmt: skip
    return Message(event, {"1.jpg": image})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def taken(spool: Spool, sink: str) -> list[str]:
    ids = []
    while found := spool.next(sink, limit=3):
        ids += [item.message.event.id for item in found]
        spool.done(sink, found[-1].seq)
    return ids


def test_each_sink_takes_everything_in_order_at_its_own_pace(path: Path) -> None:
    with Spool(path, ["a", "b"]) as spool:
        sent = [message for i in range(5) for message in (started(i), ended(i))]
        for message in sent:
            assert spool.put(message, 0.0)
        ids = [m.event.id for m in sent]
        assert taken(spool, "a") == ids
        assert spool.report().waiting == {"a": 0, "b": 10}
        first = spool.next("b", limit=2)
        assert dict(first[1].message.images) == {"1.jpg": b"final"}
        assert taken(spool, "b") == ids
        assert spool.report().events == 0


def test_what_was_not_acknowledged_comes_again_after_a_restart(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        for i in range(4):
            spool.put(ended(i), 0.0)
        spool.done("a", spool.next("a", limit=2)[1].seq)
    with Spool(path, ["a"]) as spool:
        assert taken(spool, "a") == ["b1/gate/1/2/0/ended", "b1/gate/1/3/0/ended"]


def test_the_same_event_is_kept_once(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        assert spool.put(ended(1), 0.0)
        assert not spool.put(ended(1), 0.0)
        assert len(taken(spool, "a")) == 1


def test_a_new_sink_begins_now_and_one_that_left_holds_nothing_back(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        spool.put(ended(1), 0.0)
    with Spool(path, ["b"]) as spool:
        assert taken(spool, "b") == []
        spool.put(ended(2), 0.0)
        assert taken(spool, "b") == ["b1/gate/1/2/0/ended"]
        assert spool.report().events == 0


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_spool as t
from pathlib import Path
from facesieve.stream.serve.spool import Spool
spool = Spool(Path({path!r}), ["a"])
spool.put(t.started(1), 0.0)
spool.put(t.shot(1, 1), 0.0)
spool.put(t.shot(1, 2), 0.0)
spool.put(t.started(2), 0.0)
spool.put(t.ended(2), 0.0)
spool.put(t.started(3), 0.0)
print("put", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_sigkill_in_the_middle_of_tracks_loses_neither_them_nor_what_was_final(path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": root}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    with Spool(path, ["a"]) as spool:
        assert spool.recover("b2", 5.0) == 2
        assert spool.recover("b2", 6.0) == 0, "recovered once, told once"
        items = []
        while found := spool.next("a"):
            items += found
            spool.done("a", found[-1].seq)
    ends = {m.message.event.track: m.message for m in items if isinstance(m.message.event, TrackEnded)}
    assert sorted(ends) == [1, 2, 3]
    assert ends[2].event.end == "lost"
    assert ends[1].event.end == ends[3].event.end == "crash"
    assert ends[1].event.shots[0].score == pytest.approx(0.2)
    assert dict(ends[1].images) == {"1.jpg": b"face 2"}
    assert ends[3].event.shots == ()
    ids = [m.message.event.id for m in items]
    assert len(ids) == len(set(ids))


def test_a_live_tracks_of_this_run_is_not_taken_for_crashed(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        spool.put(shot(1, 1), 0.0)
        assert spool.recover("b1", 1.0) == 0


def test_a_full_disk_holds_events_in_memory_and_they_are_written_when_there_is_room(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        spool.put(ended(0), 0.0)
        (pages,) = spool._db.execute("PRAGMA page_count").fetchone()
        spool._db.execute(f"PRAGMA max_page_count = {pages}")
        for i in range(1, 6):
            spool.put(ended(i, image=os.urandom(20_000)), 0.0)
        assert spool.report().held == 5
        spool._db.execute("PRAGMA max_page_count = 1000000")
        spool.put(ended(6), 0.0)
        assert spool.report().held == 0
        assert taken(spool, "a") == [f"b1/gate/1/{i}/0/ended" for i in range(7)]


def test_what_a_sink_has_is_not_given_again_because_the_disk_takes_no_note_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OutputFull("no space left")

    with Spool(path, ["a", "b"]) as spool:
        for i in range(3):
            spool.put(ended(i), 0.0)
        writes = spool._writing
        monkeypatch.setattr(spool, "_writing", full)
        with pytest.raises(OutputFull):
            spool.done("a", spool.next("a", 2)[-1].seq)
        assert [item.message.event.track for item in spool.next("a")] == [2]  # type: ignore[union-attr]
        assert len(spool.next("b")) == 3
        monkeypatch.setattr(spool, "_writing", writes)
    with Spool(path, ["a", "b"]) as spool:
        assert len(spool.next("a")) == 3, "at least once"


def test_a_disk_that_stays_full_costs_what_is_not_final_first(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        spool.put(ended(0), 0.0)
        (pages,) = spool._db.execute("PRAGMA page_count").fetchone()
        spool._db.execute(f"PRAGMA max_page_count = {pages}")
        big = os.urandom(20_000)
        spool.put(ended(1, image=big), 0.0)
        for i in range(1023):
            spool.put(Message(shot(2, i + 1).event, {"1.jpg": big}), 0.0)
        for i in range(3, 13):
            spool.put(ended(i, image=big), 0.0)
        report = spool.report()
        assert (report.held, report.dropped, report.final_dropped) == (1024, 10, 0)
        spool._db.execute("PRAGMA max_page_count = 1000000")


def test_beyond_its_size_the_oldest_that_end_no_track_go_first(path: Path) -> None:
    with Spool(path, ["a"], max_bytes=200_000) as spool:
        for i in range(20):
            spool.put(Message(shot(i, 1).event, {"1.jpg": os.urandom(20_000)}), 0.0)
            spool.put(ended(i, image=b"x" * 1000), 0.0)
        report = spool.report()
        assert report.bytes <= 200_000
        assert report.final_dropped == 0
        ids = taken(spool, "a")
        assert sum(name.endswith("ended") for name in ids) == 20


def test_what_an_event_costs_does_not_depend_on_how_many_wait(path: Path) -> None:
    def instructions(number: int) -> int:
        """Of SQLite's machine, for one more event."""
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1

        spool._db.set_progress_handler(step, 1)
        spool.put(ended(number), 0.0)
        spool._db.set_progress_handler(None, 1)
        return steps

    with Spool(path, ["out"]) as spool:
        few = instructions(0)
        for number in range(1, 400):
            spool.put(ended(number), 0.0)
        assert instructions(400) < 1.5 * few
        room = spool.report().bytes
    with Spool(path, ["out"], max_bytes=room) as spool:
        assert instructions(401) < 4 * few, "the oldest gives way"
        assert spool.report().bytes <= room


def test_the_totals_are_those_of_what_is_there(path: Path) -> None:
    def counted(spool: Spool) -> tuple[int, int]:
        return spool._db.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM event").fetchone()

    with Spool(path, ["out"]) as spool:
        for number in range(9):
            spool.put(shot(number, 1), 0.0)
            spool.put(ended(number), 0.0)
        assert (spool.report().events, spool.report().bytes) == counted(spool)
        spool.done("out", spool.next("out", 3)[-1].seq)
        assert (spool.report().events, spool.report().bytes) == counted(spool)
        spool.forget(Forgotten(frozenset(), frozenset([("b1", "gate", 1, 5)])))
        assert (spool.report().events, spool.report().bytes) == counted(spool)
        spool._db.execute("DELETE FROM total")  # as a file of an earlier version
    with Spool(path, ["out"]) as spool:
        assert (spool.report().events, spool.report().bytes) == counted(spool)
        assert spool.report().events


def test_a_damaged_file_is_told_at_the_start_with_what_to_do(path: Path) -> None:
    with Spool(path, ["out"]) as spool:
        for number in range(40):
            spool.put(ended(number, image=b"x" * 3000), 0.0)
    data = bytearray(path.read_bytes())
    data[8192:] = bytes(255 for _ in data[8192:])
    path.write_bytes(data)
    with pytest.raises(OutputUnwritable, match="Move it and what lies beside it"):
        Spool(path, ["out"])


def test_damage_that_shows_up_later_holds_events_as_a_full_disk_does(path: Path) -> None:
    with Spool(path, ["out"]) as spool:
        whole = spool._db

        class Damaged:
            in_transaction = False

            def execute(self, statement: str, *_: object) -> None:
                raise sqlite3.DatabaseError("database disk image is malformed")

            def close(self) -> None:
                whole.close()

        spool._db = Damaged()  # type: ignore[assignment]
        assert spool.put(ended(1), 0.0)
        spool._db = whole
        assert spool.report().held == 1
        spool.put(ended(2), 0.0)
        assert (spool.report().held, spool.report().events) == (0, 2)


def test_writers_and_readers_at_once(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        got: list[str] = []

        def write(camera: int) -> None:
            for i in range(50):
                spool.put(ended(1000 * camera + i), 0.0)

        def read() -> None:
            while len(got) < 200:
                found = spool.next("a", timeout_s=1.0)
                got.extend(item.message.event.id for item in found)
                if found:
                    spool.done("a", found[-1].seq)

        threads = [threading.Thread(target=write, args=(c,)) for c in range(4)]
        threads.append(threading.Thread(target=read))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
            assert not thread.is_alive()
        assert len(got) == len(set(got)) == 200


WHO = Forgotten(frozenset({7}), frozenset({("b1", "gate", 1, 1)}))
SEALERS = [None, Encrypting([new_key()])]


def updated(identity: int, track: int) -> Message:
    origin = Origin(camera="gate", boot="b1", session=1)
    event = IdentityUpdated(
        id=f"b1/gate/1/identity-{identity}/{track}-0", origin=origin, at=AT, identity=identity, tracks=1
    )
    return Message(event)


def named(track: int, identity: int) -> Message:
    message = ended(track)
    return Message(message.event.model_copy(update={"identity": identity}), message.images)


@pytest.mark.parametrize("sealer", SEALERS)
def test_who_was_deleted_leaves_ends_without_faces_and_nothing_else(path: Path, sealer: Any) -> None:
    with Spool(path, ["a"], sealer=sealer) as spool:
        theirs = [started(1), shot(1, 1), shot(1, 2), named(1, 7), updated(7, 1), named(5, 7)]
        others = [started(11), shot(11, 1), named(11, 70), updated(70, 11), shot(1, 1, boot="b10")]
        for message in theirs + others:
            spool.put(message, 0.0)
        before = spool.report().bytes
        assert spool.forget(WHO) == 5
        assert spool.forget(WHO) == 0
        assert spool.report().bytes < before
        left = {item.message.event.id: item.message for item in spool.next("a", limit=99)}
    assert list(left) == [m.event.id for m in [theirs[0], theirs[3], theirs[5], *others]], (
        "in order, each track that began still ends"
    )
    for message in (left["b1/gate/1/1/0/ended"], left["b1/gate/1/5/0/ended"]):
        assert (message.event.shots, message.event.identity, dict(message.images)) == ((), None, {})
        assert message.event.frames_seen == 5
    for message in others:
        assert left[message.event.id] == message


def test_what_is_forgotten_leaves_no_bytes(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        spool.put(Message(shot(1, 1).event, {"1.jpg": b"FORGET-ME" * 50}), 0.0)
        spool.put(Message(named(1, 7).event, {"1.jpg": b"FORGET-ME" * 50}), 0.0)
        spool.forget(WHO)
        assert b"FORGET-ME" not in path.read_bytes()
        assert b"FORGET-ME" not in path.with_name("spool.db-wal").read_bytes()


@pytest.mark.parametrize("sealer", SEALERS)
def test_a_live_track_of_who_was_deleted_ends_after_a_crash_without_a_face(path: Path, sealer: Any) -> None:
    with Spool(path, ["a"], sealer=sealer) as spool:
        spool.put(shot(1, 1), 0.0)
        spool.put(shot(2, 1), 0.0)
        spool.forget(WHO)
    with Spool(path, ["a"], sealer=sealer) as spool:
        assert spool.recover("b2", 1.0) == 2
        ends = {m.message.event.track: m.message for m in spool.next("a", 99)}
    assert (ends[1].event.end, ends[1].event.shots, dict(ends[1].images)) == ("crash", (), {})
    assert dict(ends[2].images) == {"1.jpg": b"face 1"}


def test_what_is_held_in_memory_is_forgotten_too(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        spool.put(ended(0), 0.0)
        (pages,) = spool._db.execute("PRAGMA page_count").fetchone()
        spool._db.execute(f"PRAGMA max_page_count = {pages}")
        big = os.urandom(20_000)
        for message in (shot(1, 1), named(1, 7), shot(2, 1)):
            spool.put(Message(message.event, {"1.jpg": big}), 0.0)
        assert spool.report().held == 3
        assert spool.forget(WHO) == 2
        spool._db.execute("PRAGMA max_page_count = 1000000")
        spool.put(ended(3), 0.0)
        left = {item.message.event.id: item.message for item in spool.next("a", limit=99)}
    assert "b1/gate/1/1/0/shot-1" not in left
    assert dict(left["b1/gate/1/1/0/ended"].images) == {}
    assert dict(left["b1/gate/1/2/0/shot-1"].images) == {"1.jpg": big}


def test_a_deletion_that_the_disk_does_not_take_is_an_error_and_can_be_asked_again(path: Path) -> None:
    with Spool(path, ["a"]) as spool:
        for i in range(30):
            spool.put(Message(named(1, 7).event.model_copy(update={"id": f"x/{i}/ended"}), {}), 0.0)
        spool._db.execute("PRAGMA query_only = ON")
        with pytest.raises(OutputFull):
            spool.forget(WHO)
        spool._db.execute("PRAGMA query_only = OFF")
        assert spool.forget(WHO) == 30


def test_without_sinks_nothing_waits_but_a_crash_is_still_told_of(path: Path) -> None:
    with Spool(path, []) as spool:
        for message in (started(1), shot(1, 1), started(2), ended(2)):
            assert spool.put(message, 0.0)
        assert spool.report().events == 0
    with Spool(path, ["a"]) as spool:
        assert spool.recover("b2", 5.0) == 1
        assert taken(spool, "a") == ["b1/gate/1/1/0/ended"]


def test_a_sealed_spool_tells_nothing_but_ids(path: Path) -> None:
    with Spool(path, ["a"], sealer=SEALERS[1]) as spool:
        for message in (started(1), shot(1, 1), named(1, 7), shot(2, 1)):
            spool.put(message, 0.0)
        spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        data = path.read_bytes()
        assert b"gate/1/2/0/shot-1" in data
        for trace in (b"detection_score", b"improved", b"1000.0", b"face 1", b'final"'):
            assert trace not in data
        assert [item.message.event.type for item in spool.next("a", 9)] == [
            "track_started", "shot", "track_ended", "shot",
        ]  # fmt: skip


def test_a_sealed_spool_of_the_first_version_is_sealed_whole(path: Path) -> None:
    with Spool(path, ["a"], sealer=SEALERS[1]) as spool:
        spool.put(shot(1, 1), 0.0)
    with closing(sqlite3.connect(path)) as db, db:  # events lay open then
        for table in ("event", "track"):
            body = shot(1, 1).event.model_dump_json()
            db.execute(f"UPDATE {table} SET body = ?", (body,))  # noqa: S608
        db.execute("PRAGMA user_version = 1")
    assert b"improved" in path.read_bytes()
    with Spool(path, ["a"], sealer=SEALERS[1]) as spool:
        assert spool.next("a")[0].message == shot(1, 1)
    assert b"improved" not in path.read_bytes()


def test_a_file_that_is_no_spool_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(OutputUnwritable, match=r"spool\.db"):
        Spool(path, ["a"])


def test_a_spool_of_another_version_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(OutputUnwritable, match="version 99"):
        Spool(path, ["a"])


def test_only_the_owner_may_read_it(path: Path) -> None:
    Spool(path, ["a"]).close()
    assert path.stat().st_mode & 0o077 == 0
