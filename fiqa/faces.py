"""Folders of labelled faces (faces.csv + images/) and their ArcFace chips.

The file format: one row a face with `file, identity` and, where known, `video, x, y, w, h`, five landmarks
`lx0, ly0 … lx4, ly4` (the eye on the image's left, other eye, nose, mouth corners) and the detector's
`score`; pixels are those of the crop in `images/`. Rows without landmarks are chips already (112×112).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from ..stream.decode.images import declared_size, picture_of
from ..stream.decode.video import MAX_PIXELS
from ..stream.errors import FrameTooLarge, NoFrames, SourceMissing, SourceUnreadable
from ..stream.geometry import ARCFACE_POINTS, warp_chip
from ..stream.types import CHIP_PX, F32, U8

CHIP_EYE_DISTANCE_PX = float(np.hypot(*(ARCFACE_POINTS[1] - ARCFACE_POINTS[0])))
MOST_BYTES = 1 << 30
FURTHEST_PX = 1 << 16
"""A landmark further out lies in no image that is read here."""
NO_FACE = "landmarks that are not five points"


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
        """(h, w, 3) RGB. Raises SourceError with the path, see read_image and inside."""
        return read_image(self.path(row))

    def path(self, row: int) -> Path:
        """Of an image, which need not be there. A table written on Windows has folders with backslashes.

        Raises SourceUnreadable for a name that leads out of the folder.
        """
        folder, name = self.root / "images", self.files[row]
        path = inside(folder, name)
        return path if "\\" not in name or path.exists() else inside(folder, name.replace("\\", "/"))


def inside(folder: Path, name: str) -> Path:
    """folder/name. Raises SourceUnreadable for a name in a table that leads out of the folder."""
    pure = PurePath(name)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in name:
        raise SourceUnreadable(f"expected the name of a file below {folder}, got {name[:200]!r}")
    return folder / pure


def read_image(path: Path) -> U8:
    """(h, w, 3) RGB of an image file. Raises SourceMissing, or as decode_image."""
    try:
        if not path.is_file():
            raise SourceMissing(f"expected an image at {path}: no such file")
        if path.stat().st_size > MOST_BYTES:
            raise FrameTooLarge(f"expected an image, got a file of more than {MOST_BYTES} bytes: {path}")
        data = path.read_bytes()
    except OSError as cause:
        raise SourceUnreadable(f"expected an image at {path}: {cause.strerror}") from cause
    return decode_image(data, str(path))


def decode_image(data: bytes, shown: str) -> U8:
    """(h, w, 3) RGB of an encoded image, by OpenCV, turned as its EXIF says; shown: how errors name it.

    Its size is looked at before it is decoded. Raises SourceUnreadable, FrameTooLarge.
    """
    size = declared_size(data)
    if size is None and data:  # a format whose header is not read here: FFmpeg keeps to the limit
        try:
            picture_of(data, shown)
        except NoFrames as foreign:
            raise SourceUnreadable(
                f"expected an image, got something OpenCV cannot read: {shown}"
            ) from foreign
    elif size is not None and size[0] * size[1] > MAX_PIXELS:
        raise FrameTooLarge(
            f"expected an image of at most {MAX_PIXELS} pixels, got {size[0]}×{size[1]}: {shown}"
        )
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise SourceUnreadable(f"expected an image, got something OpenCV cannot read: {shown}")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def five_points(landmarks: F32) -> bool:
    """Whether (5, 2) landmarks can align anything: places that an image may have, and not all the same."""
    return bool((np.abs(landmarks) < FURTHEST_PX).all() and np.ptp(landmarks, axis=0).any())


def read_faces(folder: Path) -> Faces:
    """Reads folder/faces.csv. Raises SourceUnreadable with the path where it is missing or malformed.

    Landmarks may be NaN or empty in single rows: such a face cannot be aligned (five_points).
    """
    path = folder / "faces.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as cause:
        raise SourceMissing(f"expected a table of faces at {path}: {cause.strerror}") from cause
    except (UnicodeDecodeError, csv.Error) as cause:
        raise SourceUnreadable(f"expected a table of faces in {path}: {cause}") from cause
    if not rows:
        raise SourceUnreadable(f"expected rows with the columns file and identity in {path}, got none")
    if not {"file", "identity"} <= rows[0].keys():
        got = ", ".join(str(name) for name in rows[0])[:200]
        raise SourceUnreadable(f"expected the columns file and identity in {path}, got {got}")
    short = next((i for i, row in enumerate(rows, 2) if not row["file"] or row["identity"] is None), None)
    if short is not None:
        raise SourceUnreadable(f"expected a file and an identity in row {short} of {path}")
    landmarks = heights = None
    if "lx0" in rows[0]:
        points = _numbers(rows, [f"l{axis}{i}" for i in range(5) for axis in "xy"], path, empty=np.nan)
        with np.errstate(over="ignore"):  # beyond float32 is infinite: no landmark either
            landmarks = points.astype(np.float32).reshape(-1, 5, 2)
    if "h" in rows[0]:
        heights = _numbers(rows, ["h"], path)[:, 0]
    return Faces(
        folder,
        tuple(row["file"] for row in rows),
        np.array([row["identity"] for row in rows]),
        np.array([row.get("video") or f"{row['identity']}/{row['file']}" for row in rows]),
        landmarks,
        heights,
    )


def _numbers(
    rows: Sequence[dict[str, str]], columns: Sequence[str], path: Path, empty: float | None = None
) -> NDArray[np.float64]:
    """(n, columns) of the table at path. empty: what an empty cell stands for; None: it is refused."""
    values = np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, name in enumerate(columns):
            cell = row.get(name)
            try:
                values[i, j] = empty if cell == "" and empty is not None else float(cell)  # type: ignore[arg-type]
            except (TypeError, ValueError) as cause:
                got = "no such cell" if cell is None else repr(cell[:40])
                raise SourceUnreadable(
                    f"expected numbers for the box and five landmarks in {path}, got {got} for {name} "
                    f"in row {i + 2}"
                ) from cause
    return values


def aligned_chips(faces: Faces, landmarks: F32 | None = None) -> U8:
    """(n, 112, 112, 3) chips of all faces; `landmarks` (n, 5, 2) replaces those of the table."""
    points = faces.landmarks if landmarks is None else landmarks
    chips = np.empty((len(faces), CHIP_PX, CHIP_PX, 3), np.uint8)
    for row in range(len(faces)):
        image = faces.image(row)
        if points is not None and not five_points(points[row]):
            raise SourceUnreadable(f"{NO_FACE}: {faces.root / 'images' / faces.files[row]}")
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
