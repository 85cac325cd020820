"""Class centres and label normalisation of eDifFIQA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

HIGH_QUALITY_SHARE: Final = 0.2
FEWEST_IMAGES: Final = 10


@dataclass(frozen=True, slots=True)
class ClassCentres:
    """Where the good images of each identity lie.

    centres: (c, d) means of teacher embeddings, not normalised. names: (c,) identities.
    rows: (n,) index of each image's centre, −1 for an identity without one.
    """

    centres: NDArray[np.floating]
    names: tuple[str, ...]
    rows: NDArray[np.intp]


def class_centres(
    labels: NDArray[np.floating],
    embeddings: NDArray[np.floating],
    identities: Sequence[str] | NDArray[np.str_],
    share: float = HIGH_QUALITY_SHARE,
    fewest: int = FEWEST_IMAGES,
) -> ClassCentres:
    """The centre of an identity is the mean embedding of its high-quality images.

    labels: (n,) raw. embeddings: (n, d) of the teacher, not normalised. High quality is a label not below
    that at rank int(share·n) of all, best first; identities with fewer than `fewest` such images have
    no centre and are dropped from training.
    """
    labels = np.asarray(labels)
    names = np.asarray(identities)
    if not len(labels) == len(embeddings) == len(names):
        raise ValueError(
            f"expected one of each per image, got {len(labels)}, {len(embeddings)}, {len(names)}"
        )
    threshold = np.sort(labels)[::-1][min(int(share * len(labels)), len(labels) - 1)]
    good = labels >= threshold
    rows = np.full(len(labels), -1, np.intp)
    kept: list[str] = []
    centres: list[NDArray[np.floating]] = []
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        chosen = np.flatnonzero(own & good)
        if len(chosen) >= fewest:
            rows[own] = len(kept)
            kept.append(name)
            centres.append(embeddings[chosen].mean(axis=0))
    stacked = np.stack(centres) if centres else np.empty((0, *embeddings.shape[1:]), embeddings.dtype)
    return ClassCentres(stacked, tuple(kept), rows)


def normalise_labels(labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) min-max to [0, 1]; labels that are all equal cannot be told apart and are refused."""
    values = np.asarray(labels, np.float64)
    low, high = values.min(), values.max()
    if not high > low:
        raise ValueError(f"expected labels that differ, got {len(values)} of {low}")
    return np.asarray((values - low) / (high - low))


def validation_rows(labels: NDArray[np.floating], share: float) -> NDArray[np.intp]:
    """Every 1/share-th image in order of its label: a held-out set spread evenly over quality."""
    order = np.argsort(labels, kind="stable")
    return order[np.unique(np.arange(0, len(labels), 1 / share).astype(np.intp))]
