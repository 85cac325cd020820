"""Changes of people in a store, by the linker or by a user; called inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..types import TrackKey
from .rows import F64, TrackRow
from .store import IdentityStore
from .templates import LEAST_WEIGHT


def settle(store: IdentityStore, identity: int, min_quality: float | None = None) -> None:
    """Make the person's mean that of its tracks; a person without any goes.

    min_quality: of a track that makes its person one that others may join; None leaves that as it is.
    """
    tracks = store.tracks(identity=identity)
    if not tracks:
        store.delete_identity(identity)
        return
    if min_quality is None:
        known = store.identity(identity)
        linkable = known is not None and known.linkable
    else:
        linkable = any(track.quality >= min_quality for track in tracks)
    total: F64 = np.sum([weighted(track) for track in tracks], axis=0)
    store.put_identity(identity, linkable=linkable, total=total)


def settle_with(store: IdentityStore, track: TrackRow, min_quality: float) -> None:
    """What settle does when one track has been added, without a look at the others."""
    known = store.identity(track.identity)
    if known is None or known.total is None or not len(known.total):
        settle(store, track.identity, min_quality)
        return
    linkable = known.linkable or track.quality >= min_quality
    store.put_identity(track.identity, linkable=linkable, total=known.total + weighted(track))


def weighted(track: TrackRow) -> F64:
    """(d,) the track's part in the mean of its person."""
    return np.asarray(max(track.quality, LEAST_WEIGHT) * track.template.astype(np.float64))


def new_identity(store: IdentityStore, *, linkable: bool) -> int:
    """A person that gets its tracks, and with settle its mean, next."""
    identity = store.new_identity()
    store.put_identity(identity, linkable=linkable, total=np.zeros(0))
    return identity


def together(store: IdentityStore, identity: int, row: TrackRow, *, earlier: bool = False) -> list[int]:
    """Rows of the person's other tracks that were seen at the same time of the same source as this one.

    earlier: also in earlier runs over the source, whose tracks may be this very one."""
    generation = None if earlier else row.generation
    found = store.overlaps(identity, row.source, generation, row.first_pts_s, row.last_pts_s)
    return [other for other in found if other != row.row]


def clash(store: IdentityStore, identity: int, other: int) -> TrackRow | None:
    """A track of one that was seen together with one of the other: they are two people."""
    few, many = sorted((store.tracks(identity=one) for one in (identity, other)), key=len)
    if not few or not many:
        return None
    return next((track for track in few if together(store, many[0].identity, track, earlier=True)), None)


def merge(store: IdentityStore, identity: int, other: int) -> tuple[int, int]:
    """Two people become one, the older survives. Returns it and how many tracks moved; see settle."""
    survivor, gone = min(identity, other), max(identity, other)
    moved = len(store.tracks(identity=gone))
    store.merge_identity(gone, survivor)
    return survivor, moved


def merge_by_user(store: IdentityStore, identity: int, other: int, now_s: float, actor: str) -> int:
    """merge, to stay so. ValueError where there are not two, or they were seen together."""
    for one in (identity, other):
        _living(store, one)
    if identity == other:
        raise ValueError(f"expected two identities, got {identity} twice")
    if (seen := clash(store, identity, other)) is not None:
        raise ValueError(
            f"identities {identity} and {other} were seen at the same time in {seen.source_name!r} "
            f"(track {seen.track}, from {seen.first_pts_s:.2f} s): they are two people"
        )
    store.set_apart(identity, other, apart=False)
    survivor, moved = merge(store, identity, other)
    store.pin_tracks(survivor)
    settle(store, survivor)
    store.log(now_s, actor, "merge", survivor, max(identity, other), (moved, 0))
    store.put_edit(now_s, survivor, left=store.track_count(survivor), merged_from=store.merged_from(survivor))
    return survivor


def split_by_user(store: IdentityStore, identity: int, rows: Sequence[int], now_s: float, actor: str) -> int:
    """These tracks of a person become another one, to stay so. ValueError unless they are some but not all of
    its own."""
    _living(store, identity)
    own = {track.row: track for track in store.tracks(identity=identity)}
    if not rows or not set(rows) < own.keys():
        raise ValueError(
            f"expected some but not all of the tracks of identity {identity} ({sorted(own)}), "
            f"got {sorted(rows)}"
        )
    known = store.identity(identity)
    other = new_identity(store, linkable=known is not None and known.linkable)
    for row in rows:
        store.move_track(row, other)
    for one in (identity, other):
        settle(store, one)
        store.pin_tracks(one)
    store.set_apart(identity, other, apart=True)
    store.log(now_s, actor, "split", identity, other, (len(rows), 0))
    moved = live_tracks(own[row] for row in rows)
    store.put_edit(now_s, other, left=store.track_count(other), tracks=moved)
    store.put_edit(now_s, identity, left=store.track_count(identity), merged_from=store.merged_from(identity))
    return other


def delete_by_user(store: IdentityStore, identity: int, now_s: float, actor: str) -> None:
    """The person, what was merged into it, and all that is known of them. ValueError if there is none."""
    _living(store, identity)
    tracks, merged_from = store.tracks(identity=identity), store.merged_from(identity)
    shots = sum(len(store.shots(track.row)) for track in tracks)
    store.delete_identity(identity)
    store.forget_links(identities=[identity, *merged_from])
    store.log(now_s, actor, "delete", identity, None, (len(tracks), shots))
    store.put_edit(now_s, identity, left=0, merged_from=merged_from, tracks=live_tracks(tracks))


def live_tracks(tracks: Iterable[TrackRow]) -> list[TrackKey]:
    """The names of those that are of live cameras."""
    return [name for name in (track.live for track in tracks) if name is not None]


def _living(store: IdentityStore, identity: int) -> None:
    known = store.identity(identity)
    if known is None:
        raise ValueError(f"no identity {identity} in the store")
    if known.merged_into is not None:
        raise ValueError(f"identity {identity} was merged into {known.merged_into}")
