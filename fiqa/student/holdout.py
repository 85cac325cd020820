"""Choosing between students on people who were not trained on: EDC and selection over made-up tracks.

A track is a handful of versions of a few source images of one person, so that pose, expression and damage
vary within it as they do in a video; tracks of a person share no source image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...stream.types import F32
from ..edc import error_versus_discard, partial_auc, verification
from ..selection import track_selection, tracks_of
from .dataset import Versions

MOST_SOURCES = 24
"""Source images of one person that take part: a few people with hundreds must not decide."""
FRAMES = 5


@dataclass(frozen=True, slots=True)
class Holdout:
    """rows: (m,) chips of held-out people. videos: (m,) the source of each: same-source pairs don't count.
    tracked: (t,) positions in rows that are in a track, tracks: (t,) name of the track of each."""

    rows: NDArray[np.intp]
    people: NDArray[np.str_]
    videos: NDArray[np.str_]
    tracked: NDArray[np.intp]
    tracks: NDArray[np.str_]

    def figures(self, quality: NDArray[np.floating], embeddings: Mapping[str, F32]) -> dict[str, float]:
        """Per recogniser pAUC@.3 at FMR 1e-3 and gap closed; quality (m,), embeddings (m, d), over rows."""
        result = {}
        for name, vectors in embeddings.items():
            pairs = verification(vectors, self.people, self.videos)
            result[f"{name} pAUC"] = partial_auc(error_versus_discard(pairs, quality))
            tracks = tracks_of(self.people[self.tracked], self.tracks)
            picked = track_selection(
                vectors[self.tracked], tracks, quality[self.tracked], pairs.threshold, resamples=2
            )
            result[f"{name} gap"] = picked.gap_closed.value
        return result


def make_holdout(versions: Versions, mask: NDArray[np.bool_], seed: int = 0) -> Holdout:
    """mask: (n,) chips of held-out people."""
    generator = np.random.default_rng(seed)
    rows: list[int] = []
    tracked: list[int] = []
    names: list[str] = []
    for person in np.unique(versions.identity[mask]):
        own = np.flatnonzero(mask & (versions.identity == person))
        sources = generator.permutation(np.unique(versions.source[own]))[:MOST_SOURCES]
        mine = own[np.isin(versions.source[own], sources)]
        first = len(rows)
        rows += mine.tolist()
        for number, group in enumerate(
            np.array_split(sources, len(sources) // 2) if len(sources) > 3 else []
        ):
            inside = first + np.flatnonzero(np.isin(versions.source[mine], group))
            inside = np.sort(generator.permutation(inside)[:FRAMES])
            tracked += inside.tolist()
            names += [f"{person}/{number}"] * len(inside)
    index = np.array(rows)
    return Holdout(
        index,
        versions.identity[index].astype(np.str_),
        versions.source[index].astype(np.str_),
        np.array(tracked),
        np.array(names),
    )
