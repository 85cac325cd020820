"""What a store holds, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from ..types import F32, TrackKey

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ShotRow:
    """A kept shot. window: of its track, from 0. chip, portrait: paths below the folder of results. vector:
    (d,) its embedding, unit length, or None where it is not asked for."""

    window: int
    rank: int
    pts_s: float
    score: float
    calibrated: float | None
    chip: str
    portrait: str | None
    vector: F32 | None = None


@dataclass(frozen=True, slots=True)
class TrackRow:
    """A track of a source and the person it belongs to.

    row: number in the store. generation: of the run that wrote it; a later run of the same source has a
    higher one. quality: of the template, in [0, 1]. template: (d,) float32, unit length. out: where the run's
    results lie, absolute; folder: this source's, relative to it. recorded_s: Unix time. pinned: a user put it
    there, so it is not moved any more.
    """

    row: int
    source: int
    source_name: str
    generation: int
    track: int
    identity: int
    first_pts_s: float
    last_pts_s: float
    frames_seen: int
    quality: float
    template: F32
    out: str
    folder: str
    recorded_s: float
    pinned: bool = False

    @property
    def live(self) -> TrackKey | None:
        """What the service's events call a track of a live camera, whose folder is people/CAMERA/RUN-SESSION;
        None for a track of a file."""
        parts = PurePath(self.folder).parts
        run, _, session = parts[-1].rpartition("-") if len(parts) == 3 else ("", "", "")
        if not run or not session.isdecimal() or parts[0] != "people":
            return None
        return run, self.source_name, int(session), self.track


@dataclass(frozen=True, slots=True)
class Sightings:
    """What all tracks of a person tell together. sources: names, sorted. first_s, last_s: Unix time at which
    the first and the last were stored. best: the track of the highest quality, of equals the oldest."""

    tracks: int
    sources: Sequence[str]
    first_s: float
    last_s: float
    best: TrackRow


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """A person. merged_into: who it became, else None. linkable: whether tracks may be joined to it (its
    faces are good enough). total: (d,) float64, the quality-weighted sum of its tracks' templates; None for
    one that was merged."""

    identity: int
    merged_into: int | None
    linkable: bool
    total: F64 | None

    @property
    def centre(self) -> F32:
        """(d,) float32 of unit length."""
        if self.total is None:
            raise ValueError(f"identity {self.identity} was merged into {self.merged_into}: it has no centre")
        return np.asarray(self.total / max(float(np.linalg.norm(self.total)), 1e-12), np.float32)


@dataclass(frozen=True, slots=True)
class Revision:
    """Something that was done: when (Unix time), by whom, to which person, and how much it touched."""

    revision: int
    at_s: float
    actor: str
    action: str
    identity: int | None
    other: int | None
    tracks: int
    shots: int


@dataclass(frozen=True, slots=True)
class Edit:
    """What a user, or retention, did to a person: what services that have told of it must tell of now.

    revision: of the store then. merged_from: who had become, or becomes, this person. left: tracks that it
    has now; 0 is a person that was deleted. tracks: of live cameras, those deleted with it or, of one who is
    left, those that were somebody else's until now.
    """

    revision: int
    identity: int
    merged_from: Sequence[int]
    left: int
    tracks: Sequence[TrackKey]


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened in a store since an earlier revision. gone: deleted or merged identities."""

    revision: int
    changed: Sequence[IdentityRow]
    gone: Sequence[int]
