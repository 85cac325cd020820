"""Search among all people: never stale, whoever changed the store, and no look at everybody each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.edits import delete_by_user, merge_by_user, new_identity, settle, split_by_user
from facesieve.stream.identity.rows import Changes, TrackRow
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.serve.web.nearest import Nearest
from facesieve.stream.types import F32

DIMENSION = 8
Open = Callable[[], SqlStore]


def unit(*parts: float) -> F32:
    drawn = np.zeros(DIMENSION, np.float32)
    drawn[: len(parts)] = parts
    return np.asarray(drawn / np.linalg.norm(drawn), np.float32)


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    def make() -> SqlStore:
        made.append(SqlStore(SqliteDatabase(tmp_path / "people.db")))
        made[-1].bind("scripted", DIMENSION)
        return made[-1]

    made: list[SqlStore] = []
    yield make
    for store in made:
        store.close()


def add(store: SqlStore, vector: F32, *, to: int | None = None) -> int:
    """A track of somebody new, or of a person."""
    with store.transaction():
        source, generation = store.source(f"live:b/gate/{len(store.tracks())}", "gate")
        identity = new_identity(store, linkable=False) if to is None else to
        place = ("/o", ".", 5.0)
        row = TrackRow(0, source, "gate", generation, 1, identity, 0.0, 1.0, 5, 0.8, vector, *place)
        store.put_track(row, [])
        settle(store, identity)
    return identity


def test_what_another_process_does_is_found_at_once(open_store: Open) -> None:
    store, other, nearest = open_store(), open_store(), Nearest()
    assert nearest.find(store, unit(1), 5) == []
    one, two = add(store, unit(1)), add(store, unit(0, 1))
    assert nearest.find(store, unit(1), 5) == [(one, pytest.approx(1.0)), (two, pytest.approx(0.0))]
    three = add(other, unit(1, 0.1))
    assert [who for who, _ in nearest.find(store, unit(1), 5)] == [one, three, two]
    assert [who for who, _ in nearest.find(store, unit(1), 2)] == [one, three]
    with other.transaction():
        merge_by_user(other, one, two, 1.0, "me")
    _, (_, far) = nearest.find(store, unit(1), 5)
    assert [who for who, _ in nearest.find(store, unit(1), 5)] == [three, one]
    assert far == pytest.approx(2**-0.5, abs=1e-3), "of the mean of both"
    with other.transaction():
        split_by_user(other, one, [other.tracks(identity=one)[1].row], 2.0, "me")
    four = three + 1
    assert {who for who, _ in nearest.find(store, unit(1), 5)} == {one, three, four}
    with other.transaction():
        delete_by_user(other, three, 3.0, "me")
    assert [who for who, _ in nearest.find(store, unit(1), 5)] == [one, four]


def test_a_search_takes_in_only_what_is_new(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store, nearest, read = open_store(), Nearest(), list[int]()
    people = [add(store, unit(1, n)) for n in range(20)]
    changes = store.changes

    def counted(since: int) -> Changes:
        found = changes(since)
        read.append(len(found.changed))
        return found

    monkeypatch.setattr(store, "changes", counted)
    for _ in range(3):
        nearest.find(store, unit(1), 5)
    add(store, unit(0, 0, 1), to=people[0])
    assert nearest.find(store, unit(1), 5)
    assert read == [20, 1]


def test_nobody_is_near_an_embedding_of_another_length(open_store: Open) -> None:
    store = open_store()
    add(store, unit(1))
    assert Nearest().find(store, np.ones(4, np.float32) / 2, 5) == []
