"""People of an identity store, as the API shows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from ...identity.edits import delete_by_user
from ...identity.erase import erase_person
from ...identity.rows import IdentityRow, TrackRow
from ...identity.store import IdentityStore
from ...types import F32
from ..events import TrackKey
from ..forget import Forgotten
from .models import Erased, Match, Person, PersonDetail, PersonShot, PersonTrack

Result = TypeVar("Result")
_PICTURE = re.compile(r"[A-Za-z0-9._/-]{1,200}\.(?:jpg|png)(?:\.enc)?")


class InStore(Protocol):
    """Runs work in the thread that the store belongs to, and returns what it returns."""

    def __call__(self, work: Callable[[IdentityStore], Result]) -> Result: ...


class People:
    """in_store: see InStore. sweep: removes pictures that belong to nobody any more, in the store's thread;
    how many went. read: the content of a picture's file, which may be sealed."""

    def __init__(
        self,
        in_store: InStore,
        sweep: Callable[[IdentityStore], int],
        read: Callable[[Path], bytes] = Path.read_bytes,
    ) -> None:
        self._in_store, self._sweep, self._read = in_store, sweep, read

    def page(self, offset: int, limit: int) -> tuple[int, list[Person]]:
        """How many there are, and some of them, last seen first."""

        def work(store: IdentityStore) -> tuple[int, list[Person]]:
            by_person = _by_person(store)
            order = sorted(by_person, key=lambda i: (-max(t.recorded_s for t in by_person[i]), i))
            return len(order), [_person(store, i, by_person[i]) for i in order[offset : offset + limit]]

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
                        return _file(track, shot.portrait) or _file(track, shot.chip)
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
            tracks = frozenset(_live_keys(store.tracks(identity=identity)))
            return Forgotten(frozenset([identity, *store.merged_from(identity)]), tracks)

        return self._in_store(work)

    def delete(self, identity: int, now_s: float, actor: str) -> tuple[Erased, Forgotten] | None:
        """Rows, embeddings and pictures of a person; None if there is none of that number.

        Returns what went, and who it was, as known_of does.
        """

        def work(store: IdentityStore) -> tuple[Erased, Forgotten] | None:
            if not _is_living(store, identity):
                return None
            tracks, merged = store.tracks(identity=identity), store.merged_from(identity)
            erased = erase_person(store, identity)
            with store.transaction():
                delete_by_user(store, identity, now_s, actor)
            store.scrub()
            pictures = erased.pictures + self._sweep(store)
            told = Erased(identity=identity, tracks=len(tracks), pictures=pictures, events=0, waiting=0)
            return told, Forgotten(frozenset([identity, *merged]), frozenset(_live_keys(tracks)))

        return self._in_store(work)


def _living(store: IdentityStore, identity: int) -> IdentityRow | None:
    row = store.identity(identity)
    while row is not None and row.merged_into is not None:
        row = store.identity(row.merged_into)
    return row


def _is_living(store: IdentityStore, identity: int) -> bool:
    row = store.identity(identity)
    return row is not None and row.merged_into is None


def _by_person(store: IdentityStore) -> dict[int, list[TrackRow]]:
    found: dict[int, list[TrackRow]] = {}
    for track in store.tracks():
        found.setdefault(track.identity, []).append(track)
    return found


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


def _file(track: TrackRow, name: str | None) -> Path | None:
    """A picture below the folder of results that the store names, and nothing else."""
    if name is None or not _PICTURE.fullmatch(name):
        return None
    root = (Path(track.out) / track.folder).resolve()
    path = (root / name).resolve()
    inside = root.is_relative_to(Path(track.out).resolve()) and path.is_relative_to(root)
    return path if inside and path.is_file() else None


def _live_keys(tracks: Iterable[TrackRow]) -> Iterable[TrackKey]:
    """Of tracks of live cameras, whose folder ends in BOOT-SESSION."""
    for track in tracks:
        boot, _, session = Path(track.folder).name.rpartition("-")
        if boot and session.isdigit():
            yield boot, track.source_name, int(session), track.track
