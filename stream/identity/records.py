"""The lines of identities.jsonl (docs/identities.md describes every field)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..sinks.files import write_whole
from ..sinks.records import Record, decimals, printable, significant
from .linker import Visit
from .rows import ShotRow, TrackRow
from .store import IdentityStore

IDENTITIES = "identities.jsonl"


class SeenTrack(Record):
    """A track of the person. folder: of its source's results, relative to the folder of identities.jsonl."""

    folder: str
    source: str
    track: int
    first_pts_s: float
    last_pts_s: float
    frames_seen: int


class SeenShot(Record):
    """A shot of the person. Paths are relative to the folder of identities.jsonl."""

    folder: str
    source: str
    track: int
    window: int
    rank: int
    pts_s: float
    score: float
    calibrated: float | None
    portrait: str | None
    chip: str


class IdentityRecord(Record):
    """A person of one run: tracks by source and time, shots best first."""

    format: Literal["facesieve.identity/1"] = Field(alias="schema")
    identity: int = Field(ge=1)
    tracks: tuple[SeenTrack, ...]
    shots: tuple[SeenShot, ...]
    merged_from: tuple[int, ...]
    first_pts_s: float
    last_pts_s: float
    store: str | None = None


def identity_records(
    store: IdentityStore, visits: Sequence[Visit], top_k: int, *, lasting: bool = False
) -> list[IdentityRecord]:
    """Everyone seen in these visits, by ascending id. top_k: shots each at most. lasting: the store outlives
    the run, so it is named: only it may take people out of these results again."""
    people: dict[int, list[TrackRow]] = {}
    for visit in visits:
        for track in store.tracks(source=visit.source):
            if track.generation == visit.generation:
                people.setdefault(track.identity, []).append(track)
    named = {"store": store.name} if lasting else {}
    return [_record(store, identity, people[identity], top_k, named) for identity in sorted(people)]


def write_identities(out: Path, records: Sequence[IdentityRecord]) -> None:
    """out/identities.jsonl, whole or not at all."""
    lines = "".join(record.line() + "\n" for record in records)
    write_whole(out / IDENTITIES, lines.encode())


def _record(
    store: IdentityStore, identity: int, tracks: Sequence[TrackRow], top_k: int, named: dict[str, str]
) -> IdentityRecord:
    shots = [(track, shot) for track in tracks for shot in store.shots(track.row)]
    shots.sort(key=lambda pair: (-pair[1].score, pair[0].row, pair[1].window, pair[1].rank))
    return IdentityRecord.model_validate(
        {
            "schema": "facesieve.identity/1",
            "identity": identity,
            "tracks": tuple(_seen_track(track) for track in tracks),
            "shots": tuple(_seen_shot(track, shot) for track, shot in shots[:top_k]),
            "merged_from": tuple(store.merged_from(identity)),
            "first_pts_s": decimals(min(track.first_pts_s for track in tracks), 6),
            "last_pts_s": decimals(max(track.last_pts_s for track in tracks), 6),
            **named,
        }
    )


def _seen_track(track: TrackRow) -> SeenTrack:
    return SeenTrack(
        folder=track.folder,
        source=printable(track.source_name),
        track=track.track,
        first_pts_s=decimals(track.first_pts_s, 6),
        last_pts_s=decimals(track.last_pts_s, 6),
        frames_seen=track.frames_seen,
    )


def _seen_shot(track: TrackRow, shot: ShotRow) -> SeenShot:
    below = "" if track.folder == "." else f"{track.folder}/"
    return SeenShot(
        folder=track.folder,
        source=printable(track.source_name),
        track=track.track,
        window=shot.window,
        rank=shot.rank,
        pts_s=decimals(shot.pts_s, 6),
        score=significant(shot.score),
        calibrated=None if shot.calibrated is None else decimals(shot.calibrated, 4),
        portrait=None if shot.portrait is None else below + shot.portrait,
        chip=below + shot.chip,
    )
