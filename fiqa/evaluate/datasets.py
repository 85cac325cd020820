"""Sets of labelled faces as every loader gives them: images, people, videos, and the published pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...stream.errors import SourceMissing, SourceUnreadable
from ...stream.types import F32, U8
from ..faces import decode_image, inside, read_faces, read_image

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True, slots=True)
class FaceImage:
    """Where one face comes from.

    source: a file, or the encoded bytes of one. landmarks: (5, 2) float32 px of the image, None where the
    image is a 112×112 chip or a face has to be found in it. box: centre x, y, width, height px, or None.
    """

    source: Path | bytes
    landmarks: F32 | None = None
    box: tuple[float, float, float, float] | None = None

    def read(self, name: str) -> U8:
        """(h, w, 3) RGB; name is for the message. Raises SourceError with the path, see read_image."""
        if isinstance(self.source, bytes):
            return decode_image(self.source, name)
        return read_image(self.source)


@dataclass(frozen=True, slots=True)
class PairList:
    """Published pairs. first, second: (p,) rows. same: (p,) whether one person."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    same: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Templates:
    """Groups of faces that are compared as one, and the published pairs of groups.

    rows: of each template. media: (n,) number of the medium (image or video) of each face. pairs: of
    templates.
    """

    rows: tuple[NDArray[np.intp], ...]
    media: NDArray[np.intp]
    pairs: PairList


@dataclass(frozen=True, slots=True)
class Dataset:
    """Faces with who they are.

    name: for tables. layout: which published layout it was read as. files: (n) names as in a table of scores.
    identities, videos: (n,); a face without a video is a video of its own. pairs: the published pairs, None
    where all pairs of the set count (one person and different videos; different people). unit: what the
    bootstrap draws: people, or pairs where a set does not say who is in them. heights_px: (n,) or None.
    by_template: whether only templates are compared, never single faces (IJB has too many for all pairs).
    """

    name: str
    layout: str
    files: tuple[str, ...]
    images: tuple[FaceImage, ...] = field(repr=False)
    identities: NDArray[np.str_]
    videos: NDArray[np.str_]
    pairs: PairList | None = None
    templates: Templates | None = None
    unit: str = "people"
    heights_px: NDArray[np.float64] | None = None
    by_template: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def has_tracks(self) -> bool:
        """Whether some video has two faces, and some person two videos."""
        if self.pairs is not None or self.by_template or len(np.unique(self.videos)) == len(self):
            return False
        whose = np.unique(np.stack([self.identities, self.videos], 1), axis=0)[:, 0]
        return len(np.unique(whose)) < len(whose)

    def fingerprint(self) -> str:
        """SHA-256 over names, landmarks and what tells a changed image: size and time, or its bytes."""
        digest = hashlib.sha256()
        for file, image in zip(self.files, self.images, strict=True):
            digest.update(file.encode() + b"\0")
            if isinstance(image.source, bytes):
                digest.update(hashlib.sha256(image.source).digest())
            elif image.source.exists():
                stat = image.source.stat()
                digest.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
            if image.landmarks is not None:
                digest.update(np.ascontiguousarray(image.landmarks, np.float32).tobytes())
        return digest.hexdigest()

    def without(self, dropped: NDArray[np.bool_]) -> Dataset:
        """The set less some faces, and less the pairs and templates that needed them."""
        if not dropped.any():
            return self
        kept = np.flatnonzero(~dropped)
        row_of = np.full(len(self), -1, np.intp)
        row_of[kept] = np.arange(len(kept))
        templates = self.templates
        if templates is not None:
            rows = tuple(row_of[r][row_of[r] >= 0] for r in templates.rows)
            alive = np.array([len(r) > 0 for r in rows], np.bool_)
            pairs = templates.pairs
            sound = alive[pairs.first] & alive[pairs.second]
            some = PairList(pairs.first[sound], pairs.second[sound], pairs.same[sound])
            templates = Templates(rows, templates.media[kept], some)
        return Dataset(
            self.name,
            self.layout,
            tuple(self.files[i] for i in kept),
            tuple(self.images[i] for i in kept),
            self.identities[kept],
            self.videos[kept],
            None if self.pairs is None else _renumbered(self.pairs, row_of),
            templates,
            self.unit,
            None if self.heights_px is None else self.heights_px[kept],
            self.by_template,
        )


def _renumbered(pairs: PairList, row_of: NDArray[np.intp]) -> PairList:
    first, second = row_of[pairs.first], row_of[pairs.second]
    sound = (first >= 0) & (second >= 0)
    return PairList(first[sound], second[sound], pairs.same[sound])


def pair_list(pairs: Sequence[tuple[int, int, bool]], path: Path) -> PairList:
    """From (first, second, same)."""
    table = np.array([(a, b, int(same)) for a, b, same in pairs], np.intp).reshape(-1, 3)
    return both_kinds(PairList(table[:, 0], table[:, 1], table[:, 2].astype(np.bool_)), path)


def both_kinds(pairs: PairList, path: Path) -> PairList:
    """The pairs, if there are matched and mismatched ones; else SourceUnreadable with the path."""
    same = pairs.same
    if same.all() or not same.any():
        raise SourceUnreadable(
            f"expected matched and mismatched pairs in {path}, got {int(same.sum())} and {int((~same).sum())}"
        )
    return pairs


def read_text(path: Path) -> list[str]:
    """Lines that hold something. Raises SourceMissing, or SourceUnreadable for an empty or binary file."""
    return [line for line in read_whole(path).splitlines() if line.strip()]


def read_whole(path: Path) -> str:
    """The text of a list, of which at least one line holds something; raises as read_text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as cause:
        raise SourceMissing(f"expected a list at {path}: {cause.strerror}") from cause
    except UnicodeDecodeError as cause:
        raise SourceUnreadable(f"expected text in {path}: {cause}") from cause
    if not text or text.isspace():
        raise SourceUnreadable(f"expected a list, got an empty file: {path}")
    return text


def damaged(path: Path, number: int, expected: str, line: str) -> SourceUnreadable:
    """The error for line `number` (from 1) of a list."""
    return SourceUnreadable(f"expected {expected} in line {number} of {path}, got {line[:80]!r}")


def faces_csv(folder: Path) -> Dataset:
    """A folder with faces.csv and images/."""
    faces = read_faces(folder)
    landmarks = faces.landmarks
    images = tuple(
        FaceImage(inside(folder / "images", file), None if landmarks is None else landmarks[row])
        for row, file in enumerate(faces.files)
    )
    videos = np.char.add(np.char.add(faces.identities, "/"), faces.videos)
    return Dataset(
        folder.name, "faces.csv", faces.files, images, faces.identities, videos, heights_px=faces.heights_px
    )
