"""Tracks to people, as tracks end: online clustering of templates with ids that stay.

A track joins the nearest person at or above the join threshold; a person is the quality-weighted mean of its
tracks. Two people whose means come as near as that become one, under the older id. A track that the growing
mean has left behind (below the stay threshold, which is lower: hysteresis) is split off again. Two tracks
that were seen at the same time in one source are never one person ("cannot-link" of Wagstaff et al.,
"Constrained K-means Clustering with Background Knowledge", ICML 2001). The same input gives the same ids.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from .edits import clash, merge, new_identity, settle, settle_with, together, weighted
from .index import ExactIndex, VectorIndex
from .rows import ShotRow, TrackRow
from .store import IdentityStore
from .templates import LEAST_WEIGHT, Template, mean_template
from .thresholds import LinkThresholds

SAME_TIME_S = 1e-6
CHECKED_TRACKS = 64
"""In a person of more tracks one more moves the mean so little that nobody is looked at for leaving."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """What a track (or one window of it) tells. pts in s of the source; shots as they are to be stored."""

    track: int
    first_pts_s: float
    last_pts_s: float
    frames_seen: int
    template: Template
    shots: Sequence[ShotRow]


@dataclass(frozen=True, slots=True)
class Visit:
    """One run over one source. out: where the run's results lie, absolute; folder: this source's below it."""

    source: int
    generation: int
    sha256: str
    name: str
    out: str
    folder: str


class Linker:
    """Gives tracks their people. Several processes may share a store: they take turns, track by track.

    new_index: makes an empty one; exact search unless said otherwise. actor: who the store's log names.
    """

    def __init__(
        self,
        store: IdentityStore,
        thresholds: LinkThresholds,
        *,
        dimension: int,
        new_index: Callable[[int], VectorIndex] = ExactIndex,
        actor: str = "facesieve",
    ) -> None:
        self._store = store
        self._limits = thresholds
        self._new_index = functools.partial(new_index, dimension)
        self._index = self._new_index()
        self._actor = actor
        self._revision = 0

    def begin(self, sha256: str, name: str, *, out: str, folder: str) -> Visit:
        """A run over a source begins. sha256: of its contents, by which it is known again."""
        with self._writing():
            source, generation = self._store.source(sha256, name)
        return Visit(source, generation, sha256, name, out, folder)

    def link(self, visit: Visit, seen: Appearance, now_s: float) -> int:
        """The person of a track that ended, or of a window of one that goes on; it is stored at once.

        now_s: Unix time, for the store's records only."""
        with self._writing():
            self._store.keep_source(visit.source, visit.generation, visit.sha256, visit.name)
            before = self._store.track(visit.source, visit.generation, seen.track)
            row = _row(visit, seen, before, now_s)
            if row.live is None:  # of live cameras no lines lie there, and sessions never end to come
                self._store.add_results(visit.out, visit.folder)
            identity, action = (before.identity, "continue") if before else self._place(row)
            row = replace(row, identity=identity)
            self._store.put_track(row, seen.shots)
            if action == "join":
                settle_with(self._store, row, self._limits.min_quality)
                self._refresh()
            else:
                self._settle(identity)
            stored = self._store.track(visit.source, visit.generation, seen.track)
            if stored is None:
                raise AssertionError("a track that was put is there")
            if before is not None:
                identity = self._resolve(stored, now_s)
            self._store.log(now_s, self._actor, action, identity, None, (1, len(seen.shots)))
            return self._consolidate(stored.row, identity, now_s)

    def finish(self, visit: Visit, now_s: float, *, until_s: float | None = None) -> int:
        """The source is done: what an earlier run over it had stored gives way to what this one found.

        until_s: this run came only so far; earlier tracks that began later stay. Returns how many went.
        """
        with self._writing():
            stale = [
                track
                for track in self._store.tracks(source=visit.source)
                if track.generation < visit.generation and (until_s is None or track.first_pts_s <= until_s)
            ]
            for track in stale:
                self._store.delete_track(track.row)
            for identity in sorted({track.identity for track in stale}):
                self._settle(identity)
            if stale:
                self._store.log(now_s, self._actor, "replace", None, None, (len(stale), 0))
            return len(stale)

    def refresh(self) -> None:
        """Take in what other processes did since: who was deleted is not held in memory any longer."""
        if self._store.revision() != self._revision:
            with self._writing():
                pass

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction with an index that is up to date; after an error the index is made anew."""
        try:
            with self._store.transaction():
                self._refresh()
                yield
        except BaseException:
            self._index, self._revision = self._new_index(), 0
            raise

    def _place(self, row: TrackRow) -> tuple[int, str]:
        """Whose the track is, and what that is called in the log."""
        if (again := self._seen_before(row)) is not None:
            return again, "again"
        linkable = row.quality >= self._limits.min_quality
        if linkable and (known := self._nearest(row)) is not None:
            return known, "join"
        return new_identity(self._store, linkable=linkable), "new"

    def _seen_before(self, row: TrackRow) -> int | None:
        """The person of the same track in an earlier run over the same contents."""
        for old in self._store.former(row.source, row.generation, row.track):
            same = abs(old.first_pts_s - row.first_pts_s) < SAME_TIME_S
            alike = same and float(old.template @ row.template) >= self._limits.join
            if alike and not together(self._store, old.identity, row):
                self._store.delete_track(old.row)
                return old.identity
        return None

    def _nearest(self, row: TrackRow) -> int | None:
        """The nearest person that the track may join, other than the one it is with."""
        for identity, _ in self._index.nearest(row.template, self._limits.join):
            if identity != row.identity and not together(self._store, identity, row):
                return identity
        return None

    def _resolve(self, row: TrackRow, now_s: float) -> int:
        """A track that went on may now overlap with one that had joined its person: the one that was seen
        less leaves."""
        while rivals := together(self._store, row.identity, row):
            others = [t for t in self._store.tracks(identity=row.identity) if t.row in rivals]
            least = min([row, *others], key=lambda t: (t.pinned, t.frames_seen, -t.row))
            moved = self._leave(least, now_s)
            if least.row == row.row:
                return moved
        return row.identity

    def _leave(self, row: TrackRow, now_s: float) -> int:
        """The track goes to someone else, or becomes a person of its own."""
        linkable = row.quality >= self._limits.min_quality
        found = self._nearest(row) if linkable else None
        other = new_identity(self._store, linkable=linkable) if found is None else found
        self._store.move_track(row.row, other)
        for identity in (row.identity, other):
            self._settle(identity)
        self._store.log(now_s, self._actor, "leave", row.identity, other, (1, 0))
        return other

    def _consolidate(self, row: int, identity: int, now_s: float) -> int:
        """After a change of a person: a track of it may not belong any more, another person may.

        Returns the person that the track `row` is with now."""
        stray = None
        if 2 < self._store.track_count(identity) <= CHECKED_TRACKS:
            stray = _stray(self._store.tracks(identity=identity), self._limits.stay)
        if stray is not None:
            other = self._leave(stray, now_s)
            identity = other if stray.row == row else identity
        while (near := self._mergeable(identity)) is not None:
            survivor, moved = merge(self._store, identity, near)
            self._settle(survivor)
            self._store.log(now_s, self._actor, "merge", survivor, max(identity, near), (moved, 0))
            identity = survivor
        return identity

    def _mergeable(self, identity: int) -> int | None:
        """The nearest person that is this one."""
        known = self._store.identity(identity)
        if known is None or not known.linkable:
            return None
        for other, _ in self._index.nearest(known.centre, self._limits.join):
            if other == identity or self._store.are_apart(identity, other):
                continue
            if clash(self._store, identity, other) is None:
                return other
        return None

    def _settle(self, identity: int) -> None:
        settle(self._store, identity, self._limits.min_quality)
        self._refresh()

    def _refresh(self) -> None:
        """Bring the index up to what is in the store, by us or by others."""
        changes = self._store.changes(self._revision)
        for identity in changes.gone:
            self._index.remove(identity)
        for row in changes.changed:
            if row.linkable and row.total is not None and len(row.total):
                self._index.put(row.identity, row.centre)
            else:
                self._index.remove(row.identity)
        self._revision = changes.revision


def _stray(tracks: Sequence[TrackRow], stay: float) -> TrackRow | None:
    """The track that is farthest from the rest of its person, if that is below the stay threshold."""
    total = np.sum([weighted(track) for track in tracks], axis=0)
    worst: tuple[float, int] | None = None
    for place, track in enumerate(tracks):
        rest = total - weighted(track)
        similarity = float(track.template @ rest / max(float(np.linalg.norm(rest)), 1e-12))
        if not track.pinned and similarity < stay and (worst is None or similarity < worst[0]):
            worst = similarity, place
    return None if worst is None else tracks[worst[1]]


def _row(visit: Visit, seen: Appearance, before: TrackRow | None, now_s: float) -> TrackRow:
    """The track as it is to be stored, with what earlier windows of it told."""
    template, quality = seen.template.vector, seen.template.quality
    first_s, last_s, frames = seen.first_pts_s, seen.last_pts_s, seen.frames_seen
    if before is not None:
        weights = np.maximum([before.quality, quality], LEAST_WEIGHT)
        template = mean_template(np.stack([before.template, template]), weights)
        quality = max(before.quality, quality)
        first_s, last_s = min(before.first_pts_s, first_s), max(before.last_pts_s, last_s)
        frames += before.frames_seen
    return TrackRow(
        row=0,
        source=visit.source,
        source_name=visit.name,
        generation=visit.generation,
        track=seen.track,
        identity=0,
        first_pts_s=first_s,
        last_pts_s=last_s,
        frames_seen=frames,
        quality=quality,
        template=template,
        out=visit.out,
        folder=visit.folder,
        recorded_s=now_s,
    )
