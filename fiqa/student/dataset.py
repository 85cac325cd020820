"""The student's training chips: every source image as it is and degraded, in one memory-mapped file.

chips.npy    (n, 112, 112, 3) uint8      versions.npz   source, version, identity, eyes_px of each chip
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...stream.geometry import ARCFACE_POINTS
from ...stream.types import CHIP_PX, F32, U8
from ..faces import CHIP_EYE_DISTANCE_PX, Faces, read_faces
from .degrade import Degradation, degrade


@dataclass(frozen=True, slots=True)
class Versions:
    """Training chips and where each came from.

    chips: (n, 112, 112, 3) RGB. source: (n,) number of the source image over all folders. version: (n,) 0 is
    the source as it is. identity: (n,) number of the person. eyes_px: (n,) float32 eye distance after
    degradation; NaN where the source was a chip already and kept its size.
    """

    chips: U8
    source: NDArray[np.int32]
    version: NDArray[np.int8]
    identity: NDArray[np.int32]
    eyes_px: F32


def degradations(source: int, versions: int, seed: int) -> Iterator[Degradation]:
    """The versions of one source image: as it is, then growing strength."""
    generator = np.random.default_rng((seed, source))
    yield Degradation.none()
    for version in range(1, versions):
        low, high = (0.0, 0.4) if version == 1 else (0.2, 1.0)
        yield Degradation.draw(generator, float(generator.uniform(low, high)))


@dataclass(frozen=True, slots=True)
class _Part:
    faces: Faces
    rows: range
    first: int
    versions: int
    seed: int
    out: Path


def _make(part: _Part) -> list[float]:
    """Fills the chips of some rows of one folder; returns their eye distances."""
    cv2.setNumThreads(1)
    chips = np.load(part.out / "chips.npy", mmap_mode="r+")
    eyes = []
    for row in part.rows:
        source = part.first + row
        image = part.faces.image(row)
        landmarks = ARCFACE_POINTS if part.faces.landmarks is None else part.faces.landmarks[row]
        for version, how in enumerate(degradations(source, part.versions, part.seed)):
            chip, distance = degrade(image, landmarks, how)
            chips[source * part.versions + version] = chip
            unknown = part.faces.landmarks is None and distance >= CHIP_EYE_DISTANCE_PX - 1
            eyes.append(float("nan") if unknown else distance)
    return eyes


def build_versions(
    folders: list[Path], out: Path, versions: int = 4, seed: int = 0, workers: int = 2
) -> Versions:
    """Writes the chips of all folders to out and returns them; the same arguments give the same chips."""
    out.mkdir(parents=True, exist_ok=True)
    tables = [read_faces(folder) for folder in folders]
    total = sum(len(table) for table in tables)
    np.lib.format.open_memmap(
        out / "chips.npy", "w+", np.uint8, (total * versions, CHIP_PX, CHIP_PX, 3)
    ).flush()
    parts, first = [], 0
    for table in tables:
        for start in range(0, len(table), 128):
            rows = range(start, min(start + 128, len(table)))
            parts.append(_Part(table, rows, first, versions, seed, out))
        first += len(table)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        eyes = [value for part in pool.imap(_make, parts) for value in part]
    people = np.concatenate([table.identities for table in tables])
    np.savez(
        out / "versions.npz",
        source=np.repeat(np.arange(total, dtype=np.int32), versions),
        version=np.tile(np.arange(versions, dtype=np.int8), total),
        identity=np.repeat(np.unique(people, return_inverse=True)[1].astype(np.int32), versions),
        eyes_px=np.array(eyes, np.float32),
    )
    return read_versions(out)


def read_versions(folder: Path) -> Versions:
    """What build_versions wrote, chips mapped rather than read."""
    with np.load(folder / "versions.npz") as table:
        return Versions(np.load(folder / "chips.npy", mmap_mode="r"), **{name: table[name] for name in table})
