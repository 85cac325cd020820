"""Labelled faces for training: folders with faces.csv, joined with the teacher's label files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...stream.errors import SourceMissing, SourceUnreadable
from ...stream.types import U8
from ..faces import Faces, aligned_chips, read_faces
from ..tables import read_scored
from .alignment import jitter_landmarks


@dataclass(frozen=True, slots=True)
class TrainingFaces:
    """Faces of several folders in one list.

    parts: the folders. part, row: (n,) which folder and which row of it. labels: (n,) float64 raw scores.
    identities: (n,) names.
    """

    parts: tuple[Faces, ...]
    part: NDArray[np.intp]
    row: NDArray[np.intp]
    labels: NDArray[np.float64]
    identities: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """Tells one selection of faces from another: a hash of names, identities and labels."""
        names = [self.parts[p].files[r] for p, r in zip(self.part, self.row, strict=True)]
        text = "\n".join(["\t".join(names), "\t".join(self.identities.tolist())])
        return hashlib.sha256(text.encode() + self.labels.tobytes()).hexdigest()

    def chips(
        self, indices: Sequence[int] | NDArray[np.intp], jitter: NDArray[np.float64] | None = None
    ) -> U8:
        """(m, 112, 112, 3) of these faces; jitter: (m, 5, 2) px of the source added to the landmarks.

        A folder of chips has no source: its chips are moved by the jitter of the ArcFace points themselves.
        """
        chips = []
        for position, index in enumerate(np.asarray(indices, np.intp)):
            part = self.parts[self.part[index]]
            face = part.take([self.row[index]])
            if jitter is None:
                chips.append(aligned_chips(face))
                continue
            points = jitter_landmarks(
                chip_points() if face.landmarks is None else face.landmarks[0], jitter[position]
            )
            chips.append(aligned_chips(face, points[None].astype(np.float32)))
        return np.concatenate(chips)


def chip_points() -> NDArray[np.float64]:
    """(5, 2) px: where the landmarks lie in an aligned chip."""
    from ...stream.geometry import ARCFACE_POINTS

    return ARCFACE_POINTS.astype(np.float64)


def read_training_faces(folders: Sequence[Path], label_files: Sequence[Path] | None) -> TrainingFaces:
    """The faces of these folders that have a label, in file order.

    label_files: a table with the columns file and score for each folder, as `facesieve label` writes; None
    where labels are not wanted (diffusion): all faces, labels 0.
    """
    if label_files is not None and len(label_files) != len(folders):
        raise SourceMissing(
            f"expected a label file for each of {len(folders)} folders, got {len(label_files)}"
        )
    parts = tuple(read_faces(folder) for folder in folders)
    part, row, labels, identities = [], [], [], []
    for number, faces in enumerate(parts):
        known = (
            read_labels(label_files[number]) if label_files is not None else dict.fromkeys(faces.files, 0.0)
        )
        rows = [i for i, file in enumerate(faces.files) if file in known]
        part += [number] * len(rows)
        row += rows
        labels += [known[faces.files[i]] for i in rows]
        identities += faces.identities[rows].tolist()
    if len(labels) < 2:
        raise SourceUnreadable(
            f"expected labelled faces in {', '.join(map(str, folders))}, got {len(labels)}"
        )
    return TrainingFaces(
        parts, np.array(part, np.intp), np.array(row, np.intp), np.array(labels), np.array(identities)
    )


def read_labels(path: Path) -> dict[str, float]:
    """file → score of a table of labels, CSV or Parquet; rows without a score are left out."""
    return dict(read_scored(path))


def to_input(chips: U8) -> Tensor:
    """(n, 112, 112, 3) uint8 → (n, 3, 112, 112) float32, (x/255 − .5)/.5: what students and the UNet take."""
    return torch.from_numpy(chips).permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5)


def batches(rows: NDArray[np.intp], size: int, seed: int, epoch: int) -> Iterator[NDArray[np.intp]]:
    """The rows in this epoch's own order, in batches; a last one of a single row is left out (for BN)."""
    order = rows[np.random.default_rng([seed, epoch]).permutation(len(rows))]
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        if len(batch) > 1:
            yield batch


def batches_per_epoch(rows: int, size: int) -> int:
    return rows // size + (rows % size > 1)
