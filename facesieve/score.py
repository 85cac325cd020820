"""`facesieve score`: the quality of faces in image files and labelled folders, as a table."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from .build import Built, build
from .config import ComponentsConfig, Config
from .stream.align import align, outside_share
from .stream.components import COMPONENTS, DEGREES
from .stream.decode.images import IMAGE_SUFFIXES
from .stream.decode.sources import open_source, printable
from .stream.errors import NoFrames, NotVideo, SourceError, SourceUnreadable
from .stream.geometry import ARCFACE_POINTS, similarity, warp_chip
from .stream.ports import Assessor, QualityScorer
from .stream.types import CHIP_PX, F32, U8, Crop, Detections, Frame, Quality, Rejection

BATCH = 64
SHARES = (5, 25, 50, 75, 95)
NO_FILE = "not a regular file"
_MEASURED = (*COMPONENTS, *DEGREES)


@dataclass(frozen=True, slots=True)
class Scored:
    """A face and its quality, or the reason why it has none. file: as in faces.csv, else the path."""

    folder: str
    file: str
    quality: Quality | None
    reason: str = ""


def score_paths(paths: Sequence[Path], config: Config, *, components: bool = False) -> Iterator[Scored]:
    """Scores every face of each path, in order; components: also measures those of each.

    A folder with faces.csv: its landmarks and the evaluation's plain warp (chips of 112×112 as they are). A
    folder of images (and of such folders), an image, or larger images in a faces.csv without landmarks: the
    largest central face that the detector finds, cut as `run` cuts it. Labelled faces have no portrait, so
    what is measured on one is left out of theirs.
    Raises FacesieveError where a path as a whole cannot be read; one bad image is a Scored with its reason.
    """
    config = config.model_copy(update={"components": ComponentsConfig(enabled=components)})
    with closing(build(config)) as built:
        for path in paths:
            labelled = _has_table(path)
            find = partial(_found_in, built=built, portrait=components)
            crops = labelled_crops(path, find) if labelled else _found(path, find)
            for batch in _batches(crops):
                good = [crop for _, crop in batch if isinstance(crop, Crop)]
                qualities = iter(_qualities(good, built.scorer, built.assessor if components else None))
                for file, crop in batch:
                    if isinstance(crop, Crop):
                        yield Scored(str(path), file, next(qualities))
                    else:
                        yield Scored(str(path), file, None, crop)


def _qualities(crops: Sequence[Crop], scorer: QualityScorer, assessor: Assessor | None) -> Sequence[Quality]:
    """With components where there is something to measure them."""
    scored = scorer.score(crops)
    if assessor is None:
        return scored
    measured = assessor.assess(crops)
    return [replace(quality, components=found) for quality, found in zip(scored, measured, strict=True)]


def write_table(scored: Sequence[Scored], target: TextIO) -> None:
    """as_table as CSV, with as many digits as tell anything."""
    columns, rows = as_table(scored)
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(columns)
    digits = [9 if name == "score" else 4 if name in _MEASURED else 6 for name in columns]
    for row in rows:
        cells = zip(row, digits, strict=True)
        writer.writerow([f"{cell:.{most}g}" if isinstance(cell, float) else cell for cell, most in cells])


def as_table(scored: Sequence[Scored]) -> tuple[dict[str, type], list[list[str | float | None]]]:
    """Columns `file,score,model,…` with their types, and one row for each face with a score.

    After the model: calibrated, where it has a calibration, the factors (`factor_NAME` where a component has
    the same name), and the components where they were measured.
    """
    good = [(row.file, row.quality) for row in scored if row.quality is not None]
    factors = sorted({name for _, quality in good for name in quality.factors})
    measured = {name for _, quality in good for name in quality.components}
    components = [name for name in _MEASURED if name in measured]
    calibrated = any(quality.calibrated is not None for _, quality in good)
    columns: dict[str, type] = {"file": str, "score": float, "model": str}
    named = [f"factor_{name}" if name in components else name for name in factors]
    columns |= dict.fromkeys([*(["calibrated"] if calibrated else []), *named, *components], float)
    rows: list[list[str | float | None]] = [
        [
            file, quality.score, quality.model, *([quality.calibrated] if calibrated else []),
            *(quality.factors.get(name) for name in factors),
            *(quality.components.get(name) for name in components),
        ]
        for file, quality in good
    ]  # fmt: skip
    return columns, rows


def compare(scored: Sequence[Scored]) -> Iterator[str]:
    """One line a folder: how many were scored, and the spread of the scores (synthetic against real, say)."""
    for folder, rows in itertools.groupby(scored, key=lambda row: row.folder):
        given = list(rows)
        scores = [row.quality.score for row in given if row.quality is not None]
        if len(given) > 1:
            spread = (
                ", ".join(f"p{p} {v:.4g}" for p, v in zip(SHARES, np.percentile(scores, SHARES), strict=True))
                if scores
                else "none"
            )
            yield f"{printable(folder)}: {len(scores)} of {len(given)} scored: {spread}"


def labelled_crops(
    folder: Path, find: Callable[[Path], Crop | str] | None = None
) -> Iterator[tuple[str, Crop | str]]:
    """File and face of each row of folder/faces.csv, in order, or why there is none.

    find: finds the face of an image that is no chip, where the table has no landmarks.
    """
    from .fiqa.faces import NO_FACE, five_points, read_faces

    faces = read_faces(folder)
    for index, file in enumerate(faces.files):
        try:
            image = faces.image(index)
        except SourceError as error:
            yield file, str(error)
            continue
        if faces.landmarks is not None:
            points = faces.landmarks[index]
            yield file, _plain_crop(image, points, index) if five_points(points) else NO_FACE
        elif image.shape == (CHIP_PX, CHIP_PX, 3):
            yield file, Crop.of_chip(image, ARCFACE_POINTS, index=index)
        elif find is not None:
            yield file, find(faces.path(index))
        else:
            size = f"{image.shape[1]}×{image.shape[0]}"
            yield file, f"no landmarks in faces.csv and not a 112×112 chip: {size}"


def _plain_crop(image: U8, landmarks: F32, index: int) -> Crop:
    matrix = similarity(landmarks, ARCFACE_POINTS)
    edge = np.array([[0, 0], [CHIP_PX, 0], [CHIP_PX, CHIP_PX], [0, CHIP_PX]]) - 0.5
    corners = (edge - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    outside = outside_share(corners.tolist(), image.shape[1], image.shape[0])
    return Crop.of_chip(warp_chip(image, landmarks), landmarks, index=index, truncated=outside)


def _found(path: Path, find: Callable[[Path], Crop | str]) -> Iterator[tuple[str, Crop | str]]:
    """The main face of each image of a folder and of the folders in it, or of one image."""
    if not _is_folder(path):
        yield str(path), NO_FILE if _is_no_file(path) else find(path)
        return
    for file in image_files(path):
        yield str(file), find(file)
    for other, why in left_out(path):
        yield str(other), why


def _found_in(file: Path, built: Built, *, portrait: bool) -> Crop | str:
    """The main face of an image, or why there is none."""
    try:
        with closing(open_source(str(file))) as source:
            frame = next(iter(source), None)
            if frame is None or not source.stills:
                raise NoFrames(
                    f"not an image of a kind that is read here ({' '.join(sorted(IMAGE_SUFFIXES))})"
                )
            return _main_face(frame, built.detector.detect(frame), portrait=portrait)
    except NotVideo:
        return "not an image that FFmpeg can read"
    except SourceError as error:
        return str(error).removeprefix(f"{printable(str(file))}: ")


def expected_faces(paths: Sequence[Path]) -> int:
    """How many rows score_paths will give, for a progress display. Raises as score_paths does."""
    from .fiqa.faces import read_faces

    count = 0
    for path in paths:
        if _has_table(path):
            count += len(read_faces(path))
        else:
            count += len(_entries(path)) if _is_folder(path) else 1
    return count


def image_files(folder: Path) -> list[Path]:
    """Every file of the folder and of those in it, in order; links only where they stay inside. Hidden files
    and folders are left out.

    Raises SourceUnreadable for a folder that cannot be listed.
    """
    return [file for file, why in _entries(folder) if not why]


def left_out(folder: Path) -> list[tuple[Path, str]]:
    """What else is there and is not hidden, and why image_files leaves it out. Raises as it does."""
    return [(file, why) for file, why in _entries(folder) if why]


def _entries(folder: Path) -> list[tuple[Path, str]]:
    """All below the folder that is no folder and not hidden, in order, and what keeps it from being read."""
    root, found = folder.resolve(), []
    for above, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = (Path(above, name) for name in names if not name.startswith("."))
        found += [(file, _why_not(file, root)) for file in files]
    return sorted(found)


def _why_not(file: Path, root: Path) -> str:
    try:
        if not file.exists():
            return "a link that leads nowhere"
        if not file.resolve().is_relative_to(root):
            return "a link that leads out of the folder"
        return "" if file.is_file() else NO_FILE
    except OSError as error:  # into a folder that is closed
        return f"cannot be read ({error.strerror})"


def _is_folder(path: Path) -> bool:
    """Path.is_dir raises for names that are too long and in folders that are closed."""
    return os.path.isdir(path)  # noqa: PTH112


def _has_table(path: Path) -> bool:
    return os.path.isfile(path / "faces.csv")  # noqa: PTH113


def _is_no_file(path: Path) -> bool:
    return os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113


def _unreadable(error: OSError) -> None:
    raise SourceUnreadable(f"{error.filename}: cannot be read: {error.strerror}") from error


def _main_face(frame: Frame, found: Detections, *, portrait: bool) -> Crop | str:
    """The face that the picture is of."""
    if not len(found):
        return "no face found"
    return cut(frame, found, int(np.argmax(prominence(frame, found))), portrait=portrait)


def prominence(frame: Frame, found: Detections) -> F32:
    """(n,) px²: the size of each face, nearer the middle of the picture counting for more."""
    size = np.array([frame.picture.width, frame.picture.height])
    sides = np.clip(found.boxes[:, 2:] - found.boxes[:, :2], 0, None)
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    away = np.hypot(*(2 * centres / size - 1).T) / np.sqrt(2)
    return np.asarray(sides.prod(1) * np.clip(1 - away, 0, 1), np.float32)


def cut(frame: Frame, found: Detections, index: int, *, portrait: bool = False) -> Crop | str:
    """A detection's face, or why it cannot be had."""
    made = align(frame, found, index, 0, portrait=portrait)
    return f"the face cannot be cut out ({made})" if isinstance(made, Rejection) else made


def _batches(crops: Iterator[tuple[str, Crop | str]]) -> Iterator[list[tuple[str, Crop | str]]]:
    while batch := list(itertools.islice(crops, BATCH)):
        yield batch
