"""Rows of the tables as values, and values as parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..types import F32
from .database import Row
from .rows import IdentityRow, ShotRow, TrackRow

_COLUMNS = (
    "t.track_row, t.source, s.name, t.generation, t.track, t.identity, t.first_pts_s, t.last_pts_s, "
    "t.frames_seen, t.quality, t.template, t.out, t.folder, t.recorded_s, t.pinned"
)
TRACKS = f"SELECT {_COLUMNS} FROM tracks t JOIN sources s ON s.source = t.source"  # noqa: S608
IDENTITIES = "SELECT identity, merged_into, linkable, total FROM identities"


def marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def as_bytes(vector: npt.NDArray[np.floating], kind: type[np.floating]) -> bytes:
    """Little-endian, whatever the machine."""
    return np.asarray(vector, np.dtype(kind).newbyteorder("<")).tobytes()


def as_vector(data: bytes) -> F32:
    return np.frombuffer(data, "<f4").astype(np.float32)


def identity_of(row: Row) -> IdentityRow:
    """Of IDENTITIES."""
    identity, merged_into, linkable, total = row
    sums = None if total is None else np.frombuffer(total, "<f8").astype(np.float64)
    return IdentityRow(identity, merged_into, bool(linkable), sums)


def track_of(row: Row) -> TrackRow:
    """Of TRACKS."""
    number, source, name, generation, track, identity, first_s, last_s, seen, quality, template, *rest = row
    out, folder, recorded_s, pinned = rest
    return TrackRow(
        row=number,
        source=source,
        source_name=name,
        generation=generation,
        track=track,
        identity=identity,
        first_pts_s=first_s,
        last_pts_s=last_s,
        frames_seen=seen,
        quality=quality,
        template=as_vector(template),
        out=out,
        folder=folder,
        recorded_s=recorded_s,
        pinned=bool(pinned),
    )


def shot_of(row: Row) -> ShotRow:
    """Of window, rank, time, score, calibrated, chip, portrait, vector."""
    *facts, vector = row
    window, rank, pts_s, score, calibrated, chip, portrait = facts
    found = None if vector is None else as_vector(vector)
    return ShotRow(window, rank, pts_s, score, calibrated, chip, portrait, found)
