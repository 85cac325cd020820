"""What another process does to people in their store reaches the service's spool, sinks and memory, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facesieve.stream.errors import OutputFull
from facesieve.stream.identity.edits import delete_by_user, merge_by_user, new_identity, settle, split_by_user
from facesieve.stream.identity.retention import Retention, retain
from facesieve.stream.identity.rows import ShotRow, TrackRow
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.sealing import Encrypting, new_key
from facesieve.stream.serve.events import Event, Message, Moment, Origin, TrackEnded
from facesieve.stream.serve.following import Following
from facesieve.stream.serve.spool import Spool

AT = Moment(pts_s=1.0, wall_s=2.0, monotonic_s=3.0)
Open = Callable[[], SqlStore]


class Noon:
    def now_s(self) -> float:
        return 1000.0


class People:
    """A store in this thread. sweeps: how often pictures were looked after."""

    def __init__(self, store: SqlStore) -> None:
        self.store, self.sweeps = store, 0

    def in_store(self, work: Callable[[SqlStore], Any]) -> Any:
        return work(self.store)

    def refresh(self, store: SqlStore) -> None: ...

    def sweep(self, store: SqlStore) -> int:
        self.sweeps += 1
        return 0


def add(store: SqlStore, track: int, *, folder: str = "people/gate/b1-1") -> int:
    """A person with a track that the camera `gate` saw in the first session of the service's run b1."""
    with store.transaction():
        source, generation = store.source(f"live:{folder}", "gate")
        identity = new_identity(store, linkable=True)
        shots = [ShotRow(0, 1, 1.0, 0.5, 0.5, f"c{track}.png", None, np.ones(4, np.float32))]
        row = TrackRow(
            0, source, "gate", generation, track, identity, 10.0 * track, 10.0 * track + 1, 5, 0.5,
            np.ones(4, np.float32) / 2, "/none", folder, 100.0 * track,
        )  # fmt: skip
        store.put_track(row, shots)
        settle(store, identity)
    return identity


def ended(track: int, identity: int) -> Message:
    event = TrackEnded(
        id=f"b1/gate/1/{track}/0/ended", origin=Origin(camera="gate", boot="b1", session=1), at=AT,
        track=track, window=0, final=True, end="lost", first_pts_s=0, last_pts_s=1, frames_seen=5,
        rejected={}, identity=identity, shots=(),
    )  # fmt: skip
    return Message(event, {"1.jpg": b"face of %d" % track})


@pytest.fixture
def store(open_store: Open) -> SqlStore:
    return open_store()


@pytest.fixture(params=[None, Encrypting([new_key()])], ids=["open", "sealed"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spool]:
    with closing(Spool(tmp_path / "spool.db", ["hook"], sealer=request.param)) as made:
        yield made


class Seen:
    """A service that follows a store, and what it told."""

    def __init__(self, store: SqlStore, spool: Spool, boot: str = "b2") -> None:
        self.people, self.spool, self.watched = People(store), spool, list[Event]()
        self.following = Following(self.people, spool, boot=boot, clock=Noon(), watch=self._watch)

    def _watch(self, message: Message) -> None:
        self.watched.append(message.event)

    def waiting(self) -> list[Message]:
        return [item.message for item in self.spool.next("hook", 99)]

    def kinds(self) -> list[str]:
        return [message.event.type for message in self.waiting()]


def test_who_was_deleted_by_another_process_is_told_of_once_and_not_shown_any_more(
    open_store: Open, store: SqlStore, spool: Spool
) -> None:
    first, second = add(store, 1), add(store, 2)
    for track, identity in ((1, first), (2, second)):
        spool.put(ended(track, identity), 0.0)
    seen = Seen(store, spool)
    seen.following.catch_up()
    assert seen.kinds() == ["track_ended", "track_ended"]
    another = open_store()
    with another.transaction():
        delete_by_user(another, first, 1000.0, "another process")
    for _ in range(3):
        seen.following.catch_up()
    theirs, others, told = seen.waiting()
    assert isinstance(theirs.event, TrackEnded)
    assert (theirs.event.identity, dict(theirs.images)) == (None, {})
    assert others == ended(2, second)
    deleted: Any = told.event
    assert (deleted.type, deleted.identity, deleted.origin.boot) == ("identity_deleted", first, "b2")
    assert [(t.boot, t.camera, t.session, t.track) for t in deleted.tracks] == [("b1", "gate", 1, 1)]
    assert seen.watched == [deleted]
    assert seen.people.sweeps == 1, "pictures are looked after when somebody has changed"


def test_what_was_done_while_the_service_was_down_is_told_at_its_next_start_and_not_again(
    store: SqlStore, tmp_path: Path
) -> None:
    gone = add(store, 1)
    with closing(Spool(tmp_path / "s.db", ["hook"])) as spool:
        spool.put(ended(1, gone), 0.0)
        Seen(store, spool).following.catch_up()
    with store.transaction():
        delete_by_user(store, gone, 1000.0, "nobody serves")
    for boot in ("b3", "b4"):
        with closing(Spool(tmp_path / "s.db", ["hook"])) as spool:
            started = Seen(store, spool, boot)
            started.following.catch_up()
            assert started.kinds() == ["track_ended", "identity_deleted"]
            assert len(started.watched) == (1 if boot == "b3" else 0)
            assert started.waiting()[1].event.origin.boot == "b3"


def test_merges_and_splits_by_a_user_are_told_with_the_tracks_that_moved(
    store: SqlStore, spool: Spool
) -> None:
    first, second = add(store, 1), add(store, 2)
    seen = Seen(store, spool)
    with store.transaction():
        merge_by_user(store, second, first, 1000.0, "user")
    seen.following.catch_up()
    rows = {track.track: track.row for track in store.tracks(identity=first)}
    with store.transaction():
        third = split_by_user(store, first, [rows[2]], 1000.0, "user")
    seen.following.catch_up()
    merged, moved, rest = (message.event for message in seen.waiting())
    assert (merged.type, merged.identity, merged.tracks, merged.merged_from) == (
        "identity_updated", first, 2, (second,),
    )  # fmt: skip
    assert (moved.identity, moved.tracks, [name.track for name in moved.moved]) == (third, 1, [2])
    assert (rest.identity, rest.tracks, rest.merged_from, rest.moved) == (first, 1, (second,), ())
    assert len({merged.id, moved.id, rest.id}) == 3


def test_retention_tells_of_people_of_whom_nothing_is_left(store: SqlStore, spool: Spool) -> None:
    old, newer = add(store, 1), add(store, 9)
    seen = Seen(store, spool)
    retain(store, Retention(max_age_s=500), 1000.0, "retain")
    seen.following.catch_up()
    (told,) = seen.waiting()
    assert (told.event.type, told.event.identity) == ("identity_deleted", old)
    assert [row.identity for row in store.identities()] == [newer]
    retain(store, Retention(max_shots=1), 1000.0, "retain")
    seen.following.catch_up()
    assert len(seen.waiting()) == 1, "nobody went"


def test_what_the_disk_does_not_take_is_told_later_and_once(
    store: SqlStore, spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone, another = add(store, 1), add(store, 2)
    seen = Seen(store, spool)
    for identity in (gone, another):
        with store.transaction():
            delete_by_user(store, identity, 1000.0, "user")
    follow, calls = spool.follow, []

    def once(*args: Any) -> None:
        calls.append(args)
        if len(calls) in (2, 3):
            raise OutputFull("the disk is full")
        follow(*args)

    with monkeypatch.context() as patched:
        patched.setattr(spool, "follow", once)
        assert [seen.following.try_now() for _ in range(4)] == [False, False, True, True]
    assert caplog.text.count("tried again: the disk is full") == 1, "not every two seconds"
    assert [message.event.identity for message in seen.waiting()] == [gone, another]
    assert [event.identity for event in seen.watched] == [gone, another]


def test_nobody_but_live_cameras_is_named(store: SqlStore, spool: Spool) -> None:
    """The store's log of what is to be told holds no file's name; the deletion is told all the same."""
    of_a_film = add(store, 3, folder="holiday-2")
    with store.transaction():
        delete_by_user(store, of_a_film, 1000.0, "user")
    assert [(edit.identity, edit.tracks) for edit in store.edits(0)] == [(of_a_film, ())]
    seen = Seen(store, spool)
    seen.following.catch_up()
    assert seen.kinds() == ["identity_deleted"]
