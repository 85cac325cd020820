"""People of an identity store, as the API shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...identity.edits import delete_by_user, live_tracks
from ...identity.erase import erase_person, stored_picture
from ...identity.rows import IdentityRow, TrackRow
from ...identity.store import IdentityStore
from ...types import F32
from ..following import PeopleStore
from ..forget import Forgotten
from .models import Erased, Match, Person, PersonDetail, PersonShot, PersonTrack


class People:
    """read: the content of a picture's file, which may be sealed."""

    def __init__(self, people: PeopleStore, read: Callable[[Path], bytes] = Path.read_bytes) -> None:
        self._in_store, self._sweep, self._read = people.in_store, people.sweep, read

    def page(self, offset: int, limit: int) -> tuple[int, list[Person]]:
        """How many there are, and some of them, last seen first."""

        def work(store: IdentityStore) -> tuple[int, list[Person]]:
            total, shown = store.last_seen(offset, limit)
            return total, [_person(store, one, store.tracks(identity=one)) for one in shown]

        return self._in_store(work)

    def show(self, identity: int) -> PersonDetail | None:
        """One person; of an identity that was merged, who it became."""

        def work(store: IdentityStore) -> PersonDetail | None:
            row = _living(store, identity)
            tracks = [] if row is None else store.tracks(identity=row.identity)
            if row is None or not tracks:
                return None
            seen = sorted(tracks, key=lambda track: (track.recorded_s, track.row))
            return PersonDetail(
                **_person(store, row.identity, tracks).model_dump(),
                merged_from=store.merged_from(row.identity),
                appearances=[_appearance(store, track) for track in seen],
            )

        return self._in_store(work)

    def picture(self, identity: int, row: int, window: int, rank: int) -> tuple[bytes, str] | None:
        """A shot's picture and its media type; None if there is none."""

        def work(store: IdentityStore) -> Path | None:
            for track in store.tracks(identity=identity):
                for shot in store.shots(track.row) if track.row == row else ():
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
            rows = [row for row in store.identities() if row.total is not None and len(row.total)]
            rows = [row for row in rows if len(row.centre) == len(vector)]
            if not rows:
                return []
            similar = np.stack([row.centre for row in rows]) @ vector
            matches = []
            for at in np.argsort(-similar, kind="stable")[:limit].tolist():
                tracks = store.tracks(identity=rows[at].identity)
                if tracks:
                    person = _person(store, rows[at].identity, tracks)
                    near = float(np.clip(similar[at], -1.0, 1.0))
                    matches.append(Match(person=person, similarity=round(near, 4)))
            return matches

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


def _person(store: IdentityStore, identity: int, tracks: list[TrackRow]) -> Person:
    best = max(tracks, key=lambda track: (track.quality, -track.row))
    shots = _appearance(store, best).shots
    return Person(
        identity=identity,
        tracks=len(tracks),
        sources=sorted({track.source_name for track in tracks}),
        first_recorded_s=min(track.recorded_s for track in tracks),
        last_recorded_s=max(track.recorded_s for track in tracks),
        quality=round(best.quality, 4),
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
