"""Training labels that carry the recognition outcome, averaged over recognisers.

A chip's label is how well it verifies: its mean similarity to the better half of the person's other source
images as they are (not its own source), after Ou et al., SDD-FIQA (CVPR 2021), and Boutros et al., CR-FIQA
(CVPR 2023), who also grade a face by its place among its mates. Each recogniser's similarities are
standardised before they are averaged, so that none rules by its scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...stream.types import F32
from .dataset import Versions


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one recogniser says of each chip.

    mates: (n,) mean similarity to the better half of the person's other clean images, NaN without any.
    source: (n,) similarity to the clean chip of the same source (1 for the clean chip itself).
    mirror: (n,) similarity of the chip and its mirror image.
    """

    mates: F32
    source: F32
    mirror: F32


def outcome(embeddings: F32, mirrored: F32, versions: Versions) -> Outcome:
    """embeddings, mirrored: (n, d) of unit length, of the chips and of their mirror images."""
    mates = np.full(len(embeddings), np.nan, np.float32)
    order = np.argsort(versions.identity, kind="stable")
    starts = np.flatnonzero(np.diff(versions.identity[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        clean = rows[versions.version[rows] == 0]
        if len(clean) < 2:
            continue
        similarity = embeddings[rows] @ embeddings[clean].T
        own = versions.source[rows][:, None] == versions.source[clean][None, :]
        ranked = -np.sort(-np.where(own, -np.inf, similarity), axis=1)
        better = (len(clean) - 1 + 1) // 2
        mates[rows] = ranked[:, :better].mean(axis=1)
    clean_of = np.flatnonzero(versions.version == 0)  # one a source, in order of sources
    source = np.einsum("ij,ij->i", embeddings, embeddings[clean_of[versions.source]])
    mirror = np.einsum("ij,ij->i", embeddings, mirrored)
    return Outcome(mates, source.astype(np.float32), mirror.astype(np.float32))


def quality_labels(
    outcomes: Sequence[Outcome],
    mirror_share: float = 0.0,
    peer: F32 | None = None,
    peer_share: float = 0.0,
) -> tuple[F32, F32]:
    """(n,) labels of mean 0 and deviation 1, and (n,) weights in (0, 1].

    People with a single image have no mates: their label is what similarity to the source and to the mirror
    image predict of it (least squares over everyone else), at a quarter of the weight. mirror_share mixes the
    mirror similarity into the label: FaceQAN's symmetry term, which sees pose. peer_share mixes in the
    log-odds of another quality network's scores `peer` (n,) in [0, 1], which has seen far more people.
    """
    columns, known = [], ~np.isnan(outcomes[0].mates)
    for each in outcomes:
        terms = np.stack([each.source, each.source**2, each.mirror, np.ones_like(each.source)], axis=1)
        fit, *_ = np.linalg.lstsq(terms[known], each.mates[known], rcond=None)
        label = _standard(np.where(known, each.mates, terms @ fit))
        columns.append((1 - mirror_share) * label + mirror_share * _standard(each.mirror))
    mixed = _standard(np.mean(columns, axis=0))
    if peer is not None and peer_share:
        clipped = np.clip(peer.astype(np.float64), 1e-4, 1 - 1e-4)
        mixed = (1 - peer_share) * mixed + peer_share * _standard(np.log(clipped / (1 - clipped)))
    return _standard(mixed), np.where(known, 1.0, 0.25).astype(np.float32)


def held_out(versions: Versions, every: int = 6) -> NDArray[np.bool_]:
    """(n,) true for chips of the people who are never trained on: every sixth of those with mates, by the
    number of their images, so that people with few and with many are both there."""
    people, sources = np.unique(versions.identity[versions.version == 0], return_counts=True)
    ranked = people[np.argsort(sources, kind="stable")]
    ranked = ranked[np.sort(sources, kind="stable") > 1]
    return np.isin(versions.identity, ranked[every - 1 :: every])


def _standard(values: NDArray[np.floating]) -> F32:
    return np.asarray((values - values.mean()) / values.std(), np.float32)
