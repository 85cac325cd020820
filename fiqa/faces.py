"""Folders of labelled faces (faces.csv + images/) and their ArcFace chips.

The file format: one row a face with `file, identity` and, where known, `video, x, y, w, h`, five landmarks
`lx0, ly0 … lx4, ly4` (the eye on the image's left, other eye, nose, mouth corners) and the detector's
`score`; pixels are those of the crop in `images/`. Rows without landmarks are chips already (112×112).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..stream.errors import SourceMissing, SourceUnreadable
from ..stream.geometry import ARCFACE_POINTS, warp_chip
from ..stream.types import CHIP_PX, F32, U8

CHIP_EYE_DISTANCE_PX = float(np.hypot(*(ARCFACE_POINTS[1] - ARCFACE_POINTS[0])))


@dataclass(frozen=True, slots=True)
class Faces:
    """The rows of a faces.csv in file order.

    root: the folder. files: paths below root/images. identities: (n,) names.
    videos: (n,) video of each face; a face without one is a video of its own.
    landmarks: (n, 5, 2) float32 px of the image, or None where the images are chips already.
    heights_px: (n,) float64 height of the face box, or None.
    """

    root: Path
    files: tuple[str, ...]
    identities: NDArray[np.str_]
    videos: NDArray[np.str_]
    landmarks: F32 | None
    heights_px: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Faces:
        """The same folder with these rows only, in this order."""
        index = np.asarray(rows, dtype=np.intp)
        return Faces(
            self.root,
            tuple(self.files[i] for i in index),
            self.identities[index],
            self.videos[index],
            None if self.landmarks is None else self.landmarks[index],
            None if self.heights_px is None else self.heights_px[index],
        )

    def eye_distances_px(self) -> F32:
        """(n,) distance of the eyes in px of the image; that of a chip where there are no landmarks."""
        if self.landmarks is None:
            return np.full(len(self), CHIP_EYE_DISTANCE_PX, np.float32)
        between = self.landmarks[:, 1] - self.landmarks[:, 0]
        return np.asarray(np.hypot(between[:, 0], between[:, 1]), np.float32)

    def image(self, row: int) -> U8:
        """(h, w, 3) RGB. Raises SourceUnreadable with the path for a file that cannot be decoded."""
        path = self.root / "images" / self.files[row]
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise SourceUnreadable(f"expected an image, got something OpenCV cannot read: {path}")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def read_faces(folder: Path) -> Faces:
    """Reads folder/faces.csv. Raises SourceUnreadable with the path where it is missing or malformed."""
    path = folder / "faces.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as cause:
        raise SourceMissing(f"expected a table of faces at {path}: {cause.strerror}") from cause
    except (UnicodeDecodeError, csv.Error) as cause:
        raise SourceUnreadable(f"expected a table of faces in {path}: {cause}") from cause
    if not rows or not {"file", "identity"} <= rows[0].keys():
        raise SourceUnreadable(
            f"expected rows with the columns file and identity in {path}, got {len(rows)} rows"
        )
    landmarks = heights = None
    try:
        if "lx0" in rows[0]:
            flat = [[float(row[f"l{axis}{i}"]) for i in range(5) for axis in "xy"] for row in rows]
            landmarks = np.array(flat, np.float32).reshape(-1, 5, 2)
        if "h" in rows[0]:
            heights = np.array([float(row["h"]) for row in rows], np.float64)
    except (KeyError, TypeError, ValueError) as cause:
        raise SourceUnreadable(
            f"expected numbers for the box and five landmarks in {path}: {cause}"
        ) from cause
    return Faces(
        folder,
        tuple(row["file"] for row in rows),
        np.array([row["identity"] for row in rows]),
        np.array([row.get("video") or f"{row['identity']}/{row['file']}" for row in rows]),
        landmarks,
        heights,
    )


def aligned_chips(faces: Faces, landmarks: F32 | None = None) -> U8:
    """(n, 112, 112, 3) chips of all faces; `landmarks` (n, 5, 2) replaces those of the table."""
    points = faces.landmarks if landmarks is None else landmarks
    chips = np.empty((len(faces), CHIP_PX, CHIP_PX, 3), np.uint8)
    for row in range(len(faces)):
        image = faces.image(row)
        if points is not None:
            chips[row] = warp_chip(image, points[row])
        elif image.shape == (CHIP_PX, CHIP_PX, 3):
            chips[row] = image
        else:
            raise SourceUnreadable(
                f"expected a 112×112 chip where the table has no landmarks, got {image.shape = } "
                f"in {faces.root / 'images' / faces.files[row]}"
            )
    return chips
