"""Tracks to people: joining, leaving, merging, and what may never be joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.edits import merge_by_user, split_by_user
from facesieve.stream.identity.index import GraphIndex
from facesieve.stream.identity.linker import Appearance, Linker, Visit
from facesieve.stream.identity.rows import ShotRow
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.identity.templates import Template
from facesieve.stream.identity.thresholds import LinkThresholds
from facesieve.stream.types import F32

DIMENSION = 8
LIMITS = LinkThresholds(
    join=float(np.cos(np.radians(30))), stay=float(np.cos(np.radians(45))), min_quality=0.2
)
NOW = 1e9


def at(degrees: float, person: int = 0) -> F32:
    """A unit vector that far from the person's axis; people are at right angles to each other."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[person], vector[DIMENSION - 1] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return vector


def seen(
    track: int, vector: F32, first_s: float, last_s: float, quality: float = 0.8, window: int = 0
) -> Appearance:
    """A track, or a window of one, with one shot."""
    shot = ShotRow(window, 1, first_s, quality, quality, f"shots/{track}/1_chip.png", None, vector)
    return Appearance(track, first_s, last_s, 10, Template(vector, quality), [shot])


def linker(store: SqlStore) -> Linker:
    return Linker(store, LIMITS, dimension=DIMENSION)


@contextmanager
def fresh() -> Iterator[tuple[SqlStore, Linker, Visit]]:
    with closing(SqlStore(SqliteDatabase(None))) as store:
        made = linker(store)
        yield store, made, made.begin("a" * 64, "film", out="/out", folder=".")


def people(store: SqlStore) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for track in store.tracks():
        found.setdefault(track.identity, []).append(track.track)
    return {identity: sorted(tracks) for identity, tracks in sorted(found.items())}


def test_near_tracks_join_and_far_ones_do_not() -> None:
    with fresh() as (store, link, visit):
        assert link.link(visit, seen(1, at(0), 0, 1), NOW) == 1
        assert link.link(visit, seen(2, at(29), 2, 3), NOW) == 1
        assert link.link(visit, seen(3, at(60), 4, 5), NOW) == 2
        assert link.link(visit, seen(4, at(0, person=1), 6, 7), NOW) == 3
        assert people(store) == {1: [1, 2], 2: [3], 3: [4]}


def test_tracks_seen_together_are_two_people_however_alike() -> None:
    with fresh() as (store, link, visit):
        assert link.link(visit, seen(1, at(0), 0, 5), NOW) == 1
        assert link.link(visit, seen(2, at(0), 4, 9), NOW) == 2
        assert link.link(visit, seen(3, at(0), 9.5, 10), NOW) == 1, "the nearest; of two equal ones the older"
        assert people(store) == {1: [1, 3], 2: [2]}


def test_the_same_moment_of_another_source_is_no_obstacle() -> None:
    with fresh() as (_, link, visit):
        link.link(visit, seen(1, at(0), 0, 5), NOW)
        other = link.begin("b" * 64, "second camera", out="/out", folder="second")
        assert link.link(other, seen(1, at(0), 0, 5), NOW) == 1


def test_hysteresis_a_track_stays_where_it_would_not_have_joined() -> None:
    """The mean moves away from the first track; between join and stay it remains, beyond stay it leaves."""
    with fresh() as (store, link, visit):
        link.link(visit, seen(1, at(0), 0, 1, quality=0.21), NOW)
        link.link(visit, seen(2, at(25), 2, 3, quality=1.0), NOW)
        link.link(visit, seen(3, at(40), 4, 5, quality=1.0), NOW)
        assert people(store) == {1: [1, 2, 3]}, "the others are at 32° from the first now"
        link.link(visit, seen(4, at(55), 6, 7, quality=1.0), NOW)
        assert people(store) == {1: [1, 2, 3, 4]}, "the others are at 40° from the first now"
        link.link(visit, seen(5, at(65), 8, 9, quality=1.0), NOW)
        assert people(store) == {1: [2, 3, 4, 5], 2: [1]}


def test_two_people_become_one_when_a_track_brings_them_together_and_the_older_id_survives() -> None:
    with fresh() as (store, link, visit):
        assert link.link(visit, seen(1, at(-20), 0, 1), NOW) == 1
        assert link.link(visit, seen(2, at(22), 2, 3), NOW) == 2, "42° apart"
        assert link.link(visit, seen(3, at(0), 4, 5), NOW) == 1, "its mean is now 32° away"
        assert link.link(visit, seen(4, at(5), 6, 7), NOW) == 1
        assert people(store) == {1: [1, 2, 3, 4]}
        assert store.merged_from(1) == [2]
        assert link.link(visit, seen(5, at(0, person=1), 8, 9), NOW) == 3, "an id is never given twice"


def test_people_seen_together_never_merge() -> None:
    with fresh() as (store, link, visit):
        link.link(visit, seen(1, at(-20), 0, 1), NOW)
        link.link(visit, seen(2, at(22), 0.5, 3), NOW)
        for track in range(3, 9):
            link.link(visit, seen(track, at(1), track, track + 0.5), NOW)
        found = people(store)
        assert {1, 2} <= {tracks[0] for tracks in found.values()}, found


def test_poor_tracks_are_people_of_their_own_whom_nobody_joins() -> None:
    with fresh() as (store, link, visit):
        link.link(visit, seen(1, at(0), 0, 1, quality=0.1), NOW)
        link.link(visit, seen(2, at(0), 2, 3, quality=0.1), NOW)
        link.link(visit, seen(3, at(0), 4, 5), NOW)
        assert people(store) == {1: [1], 2: [2], 3: [3]}


def test_a_later_window_that_is_good_makes_a_poor_track_one_to_join() -> None:
    with fresh() as (store, link, visit):
        assert link.link(visit, seen(1, at(0), 0, 1), NOW) == 1
        assert link.link(visit, seen(2, at(0), 2, 3, quality=0.1), NOW) == 2
        assert link.link(visit, seen(2, at(0), 3, 4, quality=0.9, window=1), NOW) == 1
        (track,) = [t for t in store.tracks(identity=1) if t.track == 2]
        assert (track.first_pts_s, track.last_pts_s, track.frames_seen) == (2, 4, 20)
        assert [shot.window for shot in store.shots(track.row)] == [0, 1]


def test_a_track_that_goes_on_puts_out_one_that_had_joined_its_person_meanwhile() -> None:
    """Windows of a long track come late: at 14 s nobody knew that it was still in view."""
    with fresh() as (store, link, visit):
        assert link.link(visit, seen(1, at(0), 0, 10), NOW) == 1
        assert link.link(visit, seen(2, at(5), 12, 14), NOW) == 1
        assert link.link(visit, seen(1, at(0), 10, 20, window=1), NOW) == 1
        assert people(store) == {1: [1], 2: [2]}


def test_the_same_source_again_doubles_nothing_and_keeps_ids() -> None:
    with fresh() as (store, link, visit):
        shown = [seen(1, at(0), 0, 5), seen(2, at(0), 4, 9), seen(3, at(0, 1), 0, 9)]
        before = [link.link(visit, one, NOW) for one in shown]
        link.finish(visit, NOW)
        again = link.begin(visit.sha256, "renamed", out="/other", folder=".")
        assert [link.link(again, one, NOW) for one in shown] == before
        assert link.finish(again, NOW) == 0, "each took the place of its former self"
        assert [t.source_name for t in store.tracks()] == ["renamed"] * 3
        assert sum(len(store.shots(t.row)) for t in store.tracks()) == 3


def test_other_settings_over_the_same_source_replace_what_was_there() -> None:
    with fresh() as (store, link, visit):
        link.link(visit, seen(1, at(0), 0, 5), NOW)
        link.link(visit, seen(2, at(0, 1), 0, 5), NOW)
        link.finish(visit, NOW)
        again = link.begin(visit.sha256, "film", out="/out", folder=".")
        assert link.link(again, seen(7, at(1), 0.2, 2), NOW) == 1, "who it is, is known by the old track"
        assert link.finish(again, NOW) == 2
        assert people(store) == {1: [7]}


def test_an_interrupted_run_leaves_what_it_did_not_come_to() -> None:
    with fresh() as (store, link, visit):
        link.link(visit, seen(1, at(0), 0, 5), NOW)
        link.link(visit, seen(2, at(0, 1), 50, 55), NOW)
        link.finish(visit, NOW)
        again = link.begin(visit.sha256, "film", out="/out", folder=".")
        link.link(again, seen(1, at(0), 0, 5), NOW)
        link.finish(again, NOW, until_s=10)
        assert people(store) == {1: [1], 2: [2]}


def test_a_user_s_split_and_merge_outlast_the_similarities() -> None:
    with fresh() as (store, link, visit):
        for track in range(1, 5):
            link.link(visit, seen(track, at(track), track, track + 0.5), NOW)
        link.link(visit, seen(5, at(80), 9, 10), NOW)
        rows = {t.track: t.row for t in store.tracks()}
        with store.transaction():
            assert split_by_user(store, 1, [rows[3], rows[4]], NOW, "me") == 3
            assert merge_by_user(store, 1, 2, NOW, "me") == 1
        link.link(visit, seen(6, at(2), 20, 21), NOW)
        found = people(store)
        assert {1, 2, 5} <= set(found[1]), "80° away, but a user knows better"
        assert {3, 4} <= set(found[3]), "2° away, but a user knows better"
        assert link.link(visit, seen(7, at(90, 2), 30, 31), NOW) == 4, "2 was merged: its id is not free"


def test_a_user_cannot_merge_people_seen_together_or_split_off_everything() -> None:
    with fresh() as (store, link, visit):
        link.link(visit, seen(1, at(0), 0, 5), NOW)
        link.link(visit, seen(2, at(0), 4, 9), NOW)
        with pytest.raises(ValueError, match="seen at the same time in 'film'"), store.transaction():
            merge_by_user(store, 1, 2, NOW, "me")
        with pytest.raises(ValueError, match="some but not all"), store.transaction():
            split_by_user(store, 1, [1], NOW, "me")
        with pytest.raises(ValueError, match="no identity 9"), store.transaction():
            merge_by_user(store, 1, 9, NOW, "me")
        assert people(store) == {1: [1], 2: [2]}


def test_a_linker_sees_what_another_one_did_to_the_same_store(open_store: Callable[[], SqlStore]) -> None:
    first, second = open_store(), open_store()
    one, two = linker(first), linker(second)
    here = one.begin("a" * 64, "here", out="/out", folder="here")
    there = two.begin("b" * 64, "there", out="/out", folder="there")
    assert one.link(here, seen(1, at(0), 0, 1), NOW) == 1
    assert two.link(there, seen(1, at(3), 0, 1), NOW) == 1
    assert two.link(there, seen(2, at(0, 1), 0, 1), NOW) == 2
    assert one.link(here, seen(2, at(4, 1), 0, 1), NOW) == 2
    with first.transaction():
        first.delete_identity(2)
    assert two.link(there, seen(3, at(0, 1), 5, 6), NOW) == 3, "the deleted person is known to nobody"
    assert people(second) == {1: [1, 1], 3: [3]}


def test_after_a_failure_the_index_is_what_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh() as (store, link, visit):
        link.link(visit, seen(1, at(0), 0, 1), NOW)

        def fail(*_: object) -> None:
            raise RuntimeError

        with monkeypatch.context() as broken:
            broken.setattr(store, "log", fail)
            with pytest.raises(RuntimeError):
                link.link(visit, seen(2, at(0, 1), 2, 3), NOW)
        assert people(store) == {1: [1]}
        assert link.link(visit, seen(3, at(0, 1), 4, 5), NOW) == 2
        assert link.link(visit, seen(4, at(0), 6, 7), NOW) == 1


def test_the_graph_index_links_as_the_exact_one() -> None:
    pytest.importorskip("usearch")
    generator = np.random.default_rng(0)
    tracks = [seen(i, at(generator.uniform(-20, 20), i % 5), i, i + 0.5) for i in range(60)]
    found = []
    for index in (None, GraphIndex):
        with closing(SqlStore(SqliteDatabase(None))) as store:
            options = {} if index is None else {"new_index": index}
            link = Linker(store, LIMITS, dimension=DIMENSION, **options)
            visit = link.begin("a" * 64, "film", out="/out", folder=".")
            found.append([link.link(visit, track, NOW) for track in tracks])
    assert found[0] == found[1]


tracks_of_a_film = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.floats(-40, 40),
        st.floats(0, 20),
        st.floats(0, 5),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=120, deadline=None)
@given(tracks_of_a_film)
def test_whatever_comes_nobody_is_in_two_places_and_ids_stay(
    drawn: list[tuple[int, float, float, float, float]],
) -> None:
    shown = [
        seen(i, at(angle, who), start, start + length, quality)
        for i, (who, angle, start, length, quality) in enumerate(drawn)
    ]
    results = []
    for _ in range(2):
        with fresh() as (store, link, visit):
            ever: set[int] = set()
            for one in shown:
                ever.add(link.link(visit, one, NOW))
                _check(store)
                alive = {t.identity for t in store.tracks()}
                merged = {gone for who in alive for gone in store.merged_from(who)}
                assert ever <= alive | merged, "an id that was told names someone for ever"
                assert all(gone > who for who in alive for gone in store.merged_from(who)), (
                    "the older survives"
                )
            results.append(people(store))
    assert results[0] == results[1], "the same input gives the same ids"
    assert sorted(t for tracks in results[0].values() for t in tracks) == list(range(len(shown)))


def _check(store: SqlStore) -> None:
    """No two tracks of a person overlap, and its mean is that of its tracks."""
    for person in store.identities():
        tracks = store.tracks(identity=person.identity)
        assert tracks, "nobody without a track"
        for one, other in combinations(tracks, 2):
            assert one.last_pts_s < other.first_pts_s or other.last_pts_s < one.first_pts_s
        total = np.sum([max(t.quality, 1e-3) * t.template.astype(np.float64) for t in tracks], axis=0)
        np.testing.assert_allclose(person.total, total, atol=1e-9)
