"""People who were deleted or put right, as far as events go: what is left of each, and what is told of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ..identity.rows import Edit
from ..types import TrackKey
from .events import (
    CameraState,
    Event,
    IdentityDeleted,
    IdentityUpdated,
    Message,
    Moment,
    Origin,
    Shot,
    TrackEnded,
    TrackName,
    TrackStarted,
    key_of,
    track_key,
)

_TRACKS_MOST = 1000


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Somebody who was deleted. identities: its number, and those that were merged into it. tracks: its
    own."""

    identities: frozenset[int]
    tracks: frozenset[TrackKey]

    @staticmethod
    def of(event: IdentityDeleted) -> Forgotten:
        """Whom the event tells of."""
        tracks = frozenset(map(key_of, event.tracks))
        return Forgotten(frozenset([event.identity, *event.merged_from]), tracks)

    def is_in(self, event: Event) -> bool:
        """Whether an event tells of the person."""
        match event:
            case TrackEnded():
                return event.identity in self.identities or track_key(event) in self.tracks
            case TrackStarted() | Shot():
                return track_key(event) in self.tracks
            case IdentityUpdated() | IdentityDeleted():
                return event.identity in self.identities
            case CameraState():
                return False

    def left_of(self, event: Event) -> Event | None:
        """What may still be told: of a track that it began and that it ended, without faces and without
        whose it was, as each that started must end; of a deletion all of it; of the rest nothing. Images are
        never part of it."""
        if not self.is_in(event) or isinstance(event, TrackStarted | IdentityDeleted):
            return event
        if isinstance(event, TrackEnded):
            return event.model_copy(update={"shots": (), "identity": None})
        return None


def faceless(last: TrackStarted | Shot) -> TrackStarted:
    """That the track began, and nothing of what it shows."""
    if isinstance(last, TrackStarted):
        return last
    boot, camera, session, track = track_key(last)
    return TrackStarted(
        id=f"{boot}/{camera}/{session}/{track}/0/started",
        origin=last.origin,
        at=last.at,
        track=track,
        box=last.shot.box,
        detection_score=last.shot.detection_score,
    )


def told_of(edit: Edit, boot: str, at: Moment) -> Iterator[Message]:
    """What receivers are told of an edit: one event, or several where there are very many tracks."""
    if edit.left:
        return _updates(edit, boot, at)
    return deletions(edit.identity, edit.merged_from, edit.tracks, boot, at)


def deletions(
    identity: int, merged_from: Collection[int], tracks: Collection[TrackKey], boot: str, at: Moment
) -> Iterator[Message]:
    """What receivers are told of a deletion."""
    for number, names in enumerate(_parts(tracks), 1):
        yield Message(
            IdentityDeleted(
                id=f"{boot}//identity-{identity}/deleted-{number}",
                origin=Origin(camera="", boot=boot, session=0),
                at=at,
                identity=identity,
                merged_from=tuple(sorted(merged_from)),
                tracks=tuple(names),
            )
        )


def _updates(edit: Edit, boot: str, at: Moment) -> Iterator[Message]:
    for number, names in enumerate(_parts(edit.tracks), 1):
        yield Message(
            IdentityUpdated(
                id=f"{boot}//identity-{edit.identity}/edit-{edit.revision}-{number}",
                origin=Origin(camera="", boot=boot, session=0),
                at=at,
                identity=edit.identity,
                tracks=edit.left,
                merged_from=tuple(edit.merged_from),
                moved=tuple(names),
            )
        )


def _parts(tracks: Collection[TrackKey]) -> Iterator[Sequence[TrackName]]:
    """The tracks' names in parts that an event may hold; one that is empty where there are none."""
    names = [
        TrackName(camera=camera, boot=boot, session=session, track=track)
        for boot, camera, session, track in sorted(tracks)
    ]
    for first in range(0, max(1, len(names)), _TRACKS_MOST):
        yield names[first : first + _TRACKS_MOST]
