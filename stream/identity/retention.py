"""What a store gives up by itself: old tracks, poor shots, more shots of a person than are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .edits import live_tracks, settle
from .erase import Erased, Erasure, erase, erase_live, is_of
from .records import IDENTITIES
from .rows import ShotRow, TrackRow
from .store import IdentityStore

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """None keeps everything. max_age_s: since a track was stored. max_shots: of each person, best first.
    min_quality: least calibrated quality of a shot, in [0, 1]; shots without one stay."""

    max_age_s: float | None = None
    max_shots: int | None = None
    min_quality: float | None = None

    @property
    def keeps_all(self) -> bool:
        return self.max_age_s is None and self.max_shots is None and self.min_quality is None


def retain(store: IdentityStore, limits: Retention, now_s: float, actor: str) -> Erased:
    """Give up what the limits say: rows, embeddings, files and their lines. A track without shots left goes,
    a person without tracks too, which is an edit that services tell of. now_s: Unix time."""
    erased = Erased()
    with store.transaction():
        tracks = store.tracks()
        old = {
            t.row for t in tracks if limits.max_age_s is not None and t.recorded_s < now_s - limits.max_age_s
        }
        lost = {row: list(shots) for row, shots in _too_many(store, tracks, old, limits)}
        empty = {row for row, shots in lost.items() if len(shots) == len(store.shots(row))}
        gone = [t for t in tracks if t.row in old | empty]
        thinned = [(t, lost[t.row]) for t in tracks if t.row in lost and t.row not in old | empty]
        _erase_files(store, gone, thinned, erased)
        counts = len(gone), sum(len(store.shots(t.row)) for t in gone) + sum(len(s) for _, s in thinned)
        erased.tracks, erased.shots = counts
        for track in gone:
            store.delete_track(track.row)
        for track, shots in thinned:
            store.delete_shots(track.row, shots)
        if limits.max_age_s is not None:
            store.forget_links(before_s=now_s - limits.max_age_s)
        for identity in sorted({t.identity for t in gone}):
            merged_from = store.merged_from(identity)
            settle(store, identity)
            if store.identity(identity) is None:
                store.forget_links(identities=[identity, *merged_from])
                own = live_tracks(t for t in gone if t.identity == identity)
                store.put_edit(now_s, identity, left=0, merged_from=merged_from, tracks=own)
        store.tidy(now_s)
        if any(counts):
            store.log(now_s, actor, "retain", None, None, counts)
    if any(counts):
        store.scrub()
    return erased


def _too_many(
    store: IdentityStore, tracks: list[TrackRow], old: set[int], limits: Retention
) -> Iterator[tuple[int, list[ShotRow]]]:
    """Rows of tracks and those of their shots that are too poor, or too many of their person."""
    if limits.max_shots is None and limits.min_quality is None:
        return
    people: dict[int, list[TrackRow]] = {}
    for track in tracks:
        if track.row not in old:
            people.setdefault(track.identity, []).append(track)
    for own in people.values():
        ranked = [(shot, track.row) for track in own for shot in store.shots(track.row)]
        ranked.sort(key=lambda pair: (-pair[0].score, pair[1], pair[0].window, pair[0].rank))
        lost: dict[int, list[ShotRow]] = {}
        kept = 0
        for shot, row in ranked:
            poor = limits.min_quality is not None and shot.calibrated is not None
            poor = poor and (shot.calibrated or 0.0) < (limits.min_quality or 0.0)
            if poor or (limits.max_shots is not None and kept >= limits.max_shots):
                lost.setdefault(row, []).append(shot)
            else:
                kept += 1
        yield from lost.items()


def _erase_files(
    store: IdentityStore,
    gone: list[TrackRow],
    thinned: list[tuple[TrackRow, list[ShotRow]]],
    erased: Erased,
) -> None:
    """The files of tracks and shots, root by root."""
    for out in sorted({t.out for t in gone} | {t.out for t, _ in thinned}):
        for track in (t for t in gone if t.out == out):
            erase_live(track, store.shots(track.row), erased)
        for track, lost in thinned:
            if track.out == out:
                erase_live(track, lost, erased)
        tracks = frozenset((t.folder, t.track) for t in gone if t.out == out)
        shots = frozenset(
            (t.folder, t.track, s.window, s.rank) for t, lost in thinned if t.out == out for s in lost
        )
        if not is_of(Path(out) / IDENTITIES, store.name):
            continue  # another run has taken the folder since
        folders = sorted({folder for folder, _ in tracks} | {folder for folder, *_ in shots})
        erase(Path(out), folders, Erasure(tracks=tracks, shots=shots), erased)
