"""The port to where people are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from ..types import TrackKey
from .rows import F64, Changes, Edit, IdentityRow, Revision, ShotRow, Sightings, TrackRow


class IdentityStore(Protocol):
    """People, their tracks, shots and embeddings. One thread an instance; several processes may share what
    is behind it. Whatever changes something is called inside transaction()."""

    @property
    def name(self) -> str:
        """Of the store itself, made with it: by it a folder of results says where its people are kept."""

    def bind(self, embedder: str, dimension: int) -> None:
        """Say whose embeddings come; ConfigError if the store holds another network's."""

    def embedder(self) -> tuple[str, int] | None:
        """Whose embeddings are in it and their length; None while nobody's."""

    def transaction(self) -> AbstractContextManager[None]:
        """Alone among writers until the block ends; undone if it ends with an error."""

    def source(self, sha256: str, name: str) -> tuple[int, int]:
        """(source, generation): the number of these contents, known or new, and of this run over them."""

    def keep_source(self, source: int, generation: int, sha256: str, name: str) -> None:
        """Put a source back that a deletion by someone else took away, with its last track."""

    def add_results(self, out: str, folder: str) -> None:
        """Files of people lie in out/folder."""

    def results(self) -> list[tuple[str, str]]:
        """All (out, folder), sorted."""

    def new_identity(self) -> int:
        """The next id, never given before."""

    def identity(self, identity: int) -> IdentityRow | None: ...
    def identities(self) -> list[IdentityRow]:
        """Those that were not merged, ascending."""

    def merged_from(self, identity: int) -> list[int]:
        """All that became it, directly or through others, ascending."""

    def put_identity(self, identity: int, *, linkable: bool, total: F64) -> None:
        """Add or replace; total as in IdentityRow."""

    def merge_identity(self, identity: int, into: int) -> None:
        """All its tracks become the other's; the id stays as a pointer."""

    def delete_identity(self, identity: int) -> None:
        """It, what was merged into it, and all their tracks, shots and embeddings."""

    def set_apart(self, identity: int, other: int, *, apart: bool) -> None:
        """Whether two people may never become one."""

    def are_apart(self, identity: int, other: int) -> bool: ...
    def put_track(self, track: TrackRow, shots: Sequence[ShotRow]) -> None:
        """Add a track with shots, or further shots to one that is there (same source, generation, track);
        row is chosen by the store."""

    def move_track(self, row: int, identity: int) -> None: ...
    def pin_tracks(self, identity: int) -> None:
        """Those of the person now stay with it."""

    def delete_track(self, row: int) -> None: ...
    def delete_shots(self, row: int, shots: Sequence[ShotRow]) -> None:
        """Shots of a track, known by window and rank, with their embeddings."""

    def track(self, source: int, generation: int, track: int) -> TrackRow | None: ...
    def former(self, source: int, generation: int, track: int) -> list[TrackRow]:
        """Tracks of that number from earlier runs over the source."""

    def track_at(self, row: int) -> TrackRow | None: ...
    def track_count(self, identity: int) -> int: ...
    def sightings(self, identity: int) -> Sightings | None:
        """What its tracks tell together, without a look at each; None without any."""

    def last_seen(self, offset: int, limit: int) -> tuple[int, list[int]]:
        """How many people have tracks, and some of them, last stored first."""

    def tracks(self, *, identity: int | None = None, source: int | None = None) -> list[TrackRow]:
        """In the order in which they were added."""

    def overlaps(
        self, identity: int, source: int, generation: int | None, first_s: float, last_s: float
    ) -> list[int]:
        """Rows of its tracks that this run over the source (None: any run) saw in [first_s, last_s]."""

    def shots(self, row: int, *, vectors: bool = False) -> list[ShotRow]:
        """Of a track, by window and rank."""

    def revision(self) -> int:
        """The newest; it rises with whatever is done to people."""

    def pictures(self) -> Iterator[tuple[str, str, str]]:
        """(out, folder, name) of the files of all shots, chips and portraits."""

    def changes(self, since: int) -> Changes:
        """What others and we did after a revision; 0 for everything."""

    def put_edit(
        self,
        at_s: float,
        identity: int,
        *,
        left: int,
        merged_from: Sequence[int] = (),
        tracks: Sequence[TrackKey] = (),
    ) -> None:
        """Say to services that follow the store what became of a person, see Edit. at_s: Unix time."""

    def edits(self, since: int) -> list[Edit]:
        """After a revision, oldest first; those of the last three months."""

    def log(
        self,
        at_s: float,
        actor: str,
        action: str,
        identity: int | None,
        other: int | None,
        counts: tuple[int, int],
    ) -> None:
        """Add a revision. counts: tracks and shots touched."""

    def forget_links(self, *, identities: Sequence[int] = (), before_s: float | None = None) -> None:
        """Take out of the log when tracks of these people were linked, or what was linked before a Unix time:
        it tells when somebody was seen. What users did stays."""

    def revisions(self) -> Iterator[Revision]:
        """Oldest first."""

    def tidy(self, now_s: float) -> None:
        """Drop what nobody needs any more: edits that are three months old, and sources without a track (a
        run over one puts it back with its next, see keep_source). now_s: Unix time."""

    def scrub(self) -> None:
        """Take what was deleted off the disk."""

    def close(self) -> None: ...
