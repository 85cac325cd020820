"""People of an identity store, as the API shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...identity.edits import delete_by_user, live_tracks
from ...identity.erase import erase_person, stored_picture
from ...identity.rows import IdentityRow, TrackRow
from ...identity.store import IdentityStore
from ...types import F32
from ..following import PeopleStore
from ..forget import Forgotten
from .models import Erased, Match, Person, PersonDetail, PersonShot, PersonTrack
from .nearest import Nearest


class People:
    """read: the content of a picture's file, which may be sealed."""

    def __init__(self, people: PeopleStore, read: Callable[[Path], bytes] = Path.read_bytes) -> None:
        self._in_store, self._sweep, self._read = people.in_store, people.sweep, read
        self._means = Nearest()  # in the store's thread only

    def page(self, offset: int, limit: int) -> tuple[int, list[Person]]:
        """How many there are, and some of them, last seen first."""

        def work(store: IdentityStore) -> tuple[int, list[Person]]:
            total, shown = store.last_seen(offset, limit)
            people = (_person(store, one) for one in shown)
            return total, [person for person in people if person is not None]

        return self._in_store(work)

    def show(self, identity: int) -> PersonDetail | None:
        """One person; of an identity that was merged, who it became."""

        def work(store: IdentityStore) -> PersonDetail | None:
            row = _living(store, identity)
            person = None if row is None else _person(store, row.identity)
            if row is None or person is None:
                return None
            tracks = store.tracks(identity=row.identity)
            seen = sorted(tracks, key=lambda track: (track.recorded_s, track.row))
            return PersonDetail(
                **person.model_dump(),
                merged_from=store.merged_from(row.identity),
                appearances=[_appearance(store, track) for track in seen],
            )

        return self._in_store(work)

    def picture(self, identity: int, row: int, window: int, rank: int) -> tuple[bytes, str] | None:
        """A shot's picture and its media type; None if there is none."""

        def work(store: IdentityStore) -> Path | None:
            track = store.track_at(row)
            if track is None or track.identity != identity:
                return None
            for shot in store.shots(row):
                if (shot.window, shot.rank) == (window, rank):
                    return stored_picture(track, shot.portrait) or stored_picture(track, shot.chip)
            return None

        path = self._in_store(work)
        if path is None:
            return None
        try:
            data = self._read(path)
        except OSError:  # its person has gone meanwhile
            return None
        return data, "image/png" if ".png" in path.suffixes else "image/jpeg"

    def nearest(self, vector: F32, limit: int) -> list[Match]:
        """People by the similarity of their mean to a (d,) embedding of unit length, nearest first."""

        def work(store: IdentityStore) -> list[Match]:
            found = self._means.find(store, vector, limit)
            people = ((_person(store, identity), near) for identity, near in found)
            return [
                Match(person=person, similarity=round(near, 4))
                for person, near in people
                if person is not None
            ]

        return self._in_store(work)

    def known_of(self, identity: int) -> Forgotten | None:
        """The identities that a person is, and its tracks of live cameras; None if there is none of that
        number."""

        def work(store: IdentityStore) -> Forgotten | None:
            if not _is_living(store, identity):
                return None
            tracks = frozenset(live_tracks(store.tracks(identity=identity)))
            return Forgotten(frozenset([identity, *store.merged_from(identity)]), tracks)

        return self._in_store(work)

    def delete(self, identity: int, now_s: float, actor: str) -> Erased | None:
        """Rows, embeddings and pictures of a person, and what went; None if there is none of that number. The
        service hears of it as of any other deletion in the store."""

        def work(store: IdentityStore) -> Erased | None:
            if not _is_living(store, identity):
                return None
            tracks = store.track_count(identity)
            erased = erase_person(store, identity)
            with store.transaction():
                delete_by_user(store, identity, now_s, actor)
            store.scrub()
            pictures = erased.pictures + self._sweep(store)
            return Erased(identity=identity, tracks=tracks, pictures=pictures, events=0, waiting=0)

        return self._in_store(work)


def _living(store: IdentityStore, identity: int) -> IdentityRow | None:
    row = store.identity(identity)
    while row is not None and row.merged_into is not None:
        row = store.identity(row.merged_into)
    return row


def _is_living(store: IdentityStore, identity: int) -> bool:
    row = store.identity(identity)
    return row is not None and row.merged_into is None


def _person(store: IdentityStore, identity: int) -> Person | None:
    """None for one without tracks."""
    seen = store.sightings(identity)
    if seen is None:
        return None
    shots = _appearance(store, seen.best).shots
    return Person(
        identity=identity,
        tracks=seen.tracks,
        sources=list(seen.sources),
        first_recorded_s=seen.first_s,
        last_recorded_s=seen.last_s,
        quality=round(seen.best.quality, 4),
        image=shots[0].image if shots else None,
    )


def _appearance(store: IdentityStore, track: TrackRow) -> PersonTrack:
    place = f"/api/v1/identities/{track.identity}/shots/{track.row}"
    return PersonTrack(
        row=track.row,
        source=track.source_name,
        track=track.track,
        first_pts_s=track.first_pts_s,
        last_pts_s=track.last_pts_s,
        recorded_s=track.recorded_s,
        quality=round(track.quality, 4),
        shots=[
            PersonShot(
                score=s.score,
                calibrated=s.calibrated,
                pts_s=s.pts_s,
                image=f"{place}/{s.window}/{s.rank}",
            )
            for s in store.shots(track.row)
        ],
    )
