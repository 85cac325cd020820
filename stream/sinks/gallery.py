"""What a report shows: the sources of a run, and whom they show.

Names of folders and files never come from what is read: sources are the folders that are there, and a line of
identities.jsonl that tells of others is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from ..errors import SourceMissing
from .records import Record, ShotRecord, TrackRecord, read_line, read_placed, shot_files
from .results import Results, read_results

IDENTITIES = "identities.jsonl"


class _Appearance(BaseModel):
    folder: str
    track: int


class _Choice(_Appearance):
    window: int = 0
    rank: int


class _Identity(Record):
    """What the report reads of a line of identities.jsonl; docs/results.md has the rest."""

    format: Literal["facesieve.identity/1"] = Field(alias="schema")
    identity: int = Field(ge=1)
    tracks: tuple[_Appearance, ...]
    shots: tuple[_Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """folder: of its results, below that of the page; "" where it is the same."""

    folder: str
    results: Results

    @property
    def name(self) -> str:
        run = self.results.run
        if run is not None and run.source.name:
            return run.source.name
        return self.results.tracks[0].source if self.results.tracks else self.folder or "results"

    @property
    def stills(self) -> bool:
        return self.results.run is not None and self.results.run.source.stills

    @property
    def length_s(self) -> float | None:
        """Of its time axis; None for pictures, and for a film of unknown length."""
        run = self.results.run
        if run is None or run.source.stills or run.source.duration_s is None:
            return None
        return self.results.end_s - self.results.begin_s

    def path(self, name: str) -> str:
        """A file of its results, as seen from the page's folder."""
        return f"{self.folder}/{name}" if self.folder else name


class Seen(NamedTuple):
    """A track of a source; source: its place in Gallery.sources."""

    source: int
    track: int


class Shown(NamedTuple):
    """A kept shot and the source it is of."""

    source: int
    shot: ShotRecord

    @property
    def files(self) -> tuple[str, str]:
        """Its portrait and its chip, below the folder of its source."""
        return shot_files(self.shot.track, self.shot.rank, self.shot.window)


@dataclass(frozen=True, slots=True)
class Person:
    """Whom one card shows: an identity with its tracks, or a track alone (identity: None).

    line: where it stands in identities.jsonl, in bytes; None where it does not.
    """

    identity: int | None
    tracks: tuple[Seen, ...]
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Gallery:
    """people: of whom a shot was kept, in the order in which they were first seen. known: every track without
    its timeline, source by source in the order of time. unkept: those that nothing was kept of.
    """

    folder: Path
    sources: tuple[Source, ...]
    people: tuple[Person, ...]
    known: Mapping[Seen, TrackRecord]
    unkept: tuple[Seen, ...]

    def tracks(self, person: Person) -> list[tuple[Seen, TrackRecord]]:
        """Its tracks with their timelines, read anew."""
        return [(seen, self.sources[seen.source].results.whole(seen.track)) for seen in person.tracks]

    def kept(self, person: Person) -> dict[Seen, tuple[ShotRecord, ...]]:
        """The shots of its tracks, read anew; a track without shots has no entry."""
        shots = ((seen, self.sources[seen.source].results.shots) for seen in person.tracks)
        return {seen: of[seen.track] for seen, of in shots if seen.track in of}

    def chosen(self, person: Person, kept: Mapping[Seen, tuple[ShotRecord, ...]]) -> list[Shown]:
        """The person's shots, best first: those that identities.jsonl names, else all that were kept."""
        every = [Shown(seen.source, shot) for seen, shots in kept.items() for shot in shots]
        if person.line is not None:
            named = read_line(_Identity, self.folder / IDENTITIES, person.line).shots
            folders = {source.folder: i for i, source in enumerate(self.sources)}
            at = {(s, shot.track, shot.window, shot.rank): Shown(s, shot) for s, shot in every}
            keys = ((folders.get(_plain(one.folder)), one.track, one.window, one.rank) for one in named)
            if found := [at[key] for key in keys if key in at]:
                return found
        if len(kept) > 1:
            every.sort(key=lambda shown: -shown.shot.score)
        return every


def read_gallery(folder: Path) -> Gallery:
    """The results in folder, or in the folders directly below it where a run had several sources.

    Raises SourceMissing where there are none, SourceUnreadable naming file, line and field.
    """
    sources = tuple(_sources(folder))
    known = {Seen(s, t.track): t for s, source in enumerate(sources) for t in source.results.tracks}
    shown = [seen for seen in known if seen.track in sources[seen.source].results.shots]
    begun = {seen: i for i, seen in enumerate(known)}  # tracks of one source come by their first time
    path = folder / IDENTITIES
    people = _by_line(path, sources, begun) if path.is_file() else _by_track(known)
    taken = {seen for person in people for seen in person.tracks}
    people += [Person(None, (seen,)) for seen in shown if seen not in taken]
    kept = set(shown)
    people = [person for person in people if kept.intersection(person.tracks)]
    people.sort(key=lambda person: min(begun[seen] for seen in person.tracks))
    return Gallery(folder, sources, tuple(people), known, tuple(seen for seen in known if seen not in kept))


def _sources(folder: Path) -> Iterator[Source]:
    try:
        yield Source("", read_results(folder))
        return
    except SourceMissing:
        below = [child.name for child in _folders(folder)]
        if not below:
            raise
    for name in below:
        yield Source(name, read_results(folder / name))


def _folders(folder: Path) -> list[Path]:
    """Folders of results directly below, by name; links are not followed."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(p for p in found if any((p / f"tracks.jsonl{end}").is_file() for end in ("", ".part")))


def _by_line(path: Path, sources: Iterable[Source], begun: Mapping[Seen, int]) -> list[Person]:
    folders = {source.folder: i for i, source in enumerate(sources)}
    people = []
    for place, line in read_placed(_Identity, path):
        places = ((folders.get(_plain(one.folder), -1), one.track) for one in line.tracks)
        tracks = tuple(sorted({Seen(*at) for at in places if at in begun}, key=begun.__getitem__))
        if tracks:
            people.append(Person(line.identity, tracks, place))
    return people


def _by_track(known: Mapping[Seen, TrackRecord]) -> list[Person]:
    people: dict[int, list[Seen]] = {}
    for seen, track in known.items():
        if track.identity is not None:
            people.setdefault(track.identity, []).append(seen)
    return [Person(identity, tuple(tracks)) for identity, tracks in people.items()]


def _plain(folder: str) -> str:
    return "" if folder == "." else folder
