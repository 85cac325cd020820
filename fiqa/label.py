"""Labels for a folder of faces: one row a face, resumable after a kill to the same bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..stream.errors import OutputExists, SourceError, SourceMissing, SourceUnreadable
from ..stream.geometry import warp_chip
from ..stream.types import CHIP_PX, U8
from .checkpoints import unwritten
from .distill.run import replace_file
from .faces import NO_FACE, Faces, five_points, read_faces, read_image
from .tables import is_parquet, need_arrow, read_columns, write_parquet
from .teachers import Teacher

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Labelled:
    """path: the table. scored, refused: faces with and without a score. resumed: rows that were there."""

    path: Path
    scored: int
    refused: int
    resumed: int


class FaceFolder:
    """The faces of a folder by name: rows of its faces.csv, or else all its images, which must be chips."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SourceMissing(f"expected a folder of faces: {folder}")
        self._folder = folder
        self._faces: Faces | None = None
        if (folder / "faces.csv").is_file():
            self._faces = read_faces(folder)
            self.names: tuple[str, ...] = self._faces.files
        else:
            found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
            self.names = tuple(sorted(path.relative_to(folder).as_posix() for path in found))
        if not self.names:
            raise SourceMissing(f"expected images or a faces.csv in {folder}, found none")

    def chip(self, index: int) -> U8:
        """(112, 112, 3) RGB. Raises SourceError for a file that is no image or has no landmarks."""
        if self._faces is not None:
            image, points = self._faces.image(index), self._faces.landmarks
            if points is not None and not five_points(points[index]):
                raise SourceUnreadable(NO_FACE)
            if points is not None:
                return warp_chip(image, points[index])
        else:
            image = read_image(self._folder / self.names[index])
        if image.shape != (CHIP_PX, CHIP_PX, 3):
            raise SourceUnreadable(
                f"expected a 112×112 chip, or landmarks in faces.csv, got {image.shape[1]}×{image.shape[0]}"
            )
        return image


def label_folder(
    folder: Path,
    out: Path,
    teacher: Teacher,
    recogniser: Path,
    batch: int = 4,
    progress: Progress | None = None,
) -> Labelled:
    """Labels every face of the folder; writes `out` (CSV or .parquet) and beside it `out`.json, the settings.

    Columns: file, score, model, the teacher's components, reason (why a face has no score). Rows are added to
    `out`.part (`out`.csv.part for Parquet) batch by batch and the table gets its name when whole; a second
    call goes on where the first stopped, with equal bytes at the end. Raises OutputExists for rows of other
    settings, SourceUnreadable where no face could be scored, EngineUnavailable for Parquet without pyarrow.
    """
    if is_parquet(out):
        need_arrow()
    faces = FaceFolder(folder)
    settings = _settings_text(teacher, recogniser, batch)
    beside, part = out.with_name(f"{out.name}.json"), _part_of(out)
    _same_settings(settings, beside, out, part)
    columns = ("file", "score", "model", *teacher.components, "reason")
    model = f"{json.loads(settings)['method']}-{recogniser.stem}"
    if out.is_file():
        return _count(out, faces.names, resumed=len(faces.names))
    replace_file(beside, settings.encode())
    done = _resume(part, columns, faces.names, batch)
    try:
        with part.open("a", newline="", encoding="utf-8") as file:
            for start in range(done, len(faces.names), batch):
                rows = _label_batch(faces, range(start, min(start + batch, len(faces.names))), teacher, model)
                file.write(_csv_text(rows))
                file.flush()
                os.fsync(file.fileno())
                if progress is not None:
                    progress(min(start + batch, len(faces.names)), len(faces.names))
        if is_parquet(out):
            write_parquet(out, *_typed(part, columns))
            part.unlink()
        else:
            part.replace(out)
    except OSError as cause:
        raise unwritten(out, cause) from cause
    return _count(out, faces.names, resumed=done)


def _part_of(out: Path) -> Path:
    """Rows so far, always CSV; by another name than that under which a Parquet table is written."""
    return out.with_name(f"{out.name}.csv.part" if is_parquet(out) else f"{out.name}.part")


def _label_batch(faces: FaceFolder, indices: range, teacher: Teacher, model: str) -> list[list[str]]:
    chips, good, reasons = [], [], {}
    for index in indices:
        try:
            chips.append(faces.chip(index))
            good.append(index)
        except SourceError as refused:
            reasons[index] = str(refused)
    names = [faces.names[index] for index in good]
    values = dict(zip(good, teacher.label(np.stack(chips), names), strict=True)) if chips else {}
    rows = []
    for index in indices:
        name = faces.names[index]
        if index in values and not all(map(math.isfinite, values[index])):
            reasons[index] = "the network gives no number for it"
            del values[index]
        if index in values:
            score, *components = (f"{value:.9g}" for value in values[index])
            rows.append([name, score, model, *components, ""])
        else:
            rows.append([name, "", model, *("" for _ in teacher.components), reasons[index]])
    return rows


def _typed(part: Path, columns: Sequence[str]) -> tuple[dict[str, type], list[list[str | float | None]]]:
    """Columns with their types, and the rows of a finished part."""
    kinds: dict[str, type] = {name: str if name in ("file", "model", "reason") else float for name in columns}
    rows = [
        [None if cell is None else kinds[name](cell) for name, cell in zip(columns, row, strict=True)]
        for row in read_columns(part, columns)
    ]
    return kinds, rows


def _settings_text(teacher: Teacher, recogniser: Path, batch: int) -> str:
    """What the labels depend on; the batch too, because sums round differently in another."""
    if not recogniser.is_file():
        raise SourceMissing(f"expected a recogniser: {recogniser}")
    digest = hashlib.sha256(recogniser.read_bytes()).hexdigest()
    settings = {
        **teacher.settings(),
        "batch": batch,
        "recogniser": recogniser.name,
        "recogniser_sha256": digest,
    }
    return json.dumps(settings, indent=1, sort_keys=True) + "\n"


def _same_settings(settings: str, beside: Path, out: Path, part: Path) -> None:
    """Labels of other settings are never continued or overwritten."""
    if not (out.is_file() or part.is_file()):
        return
    try:
        there = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = {}
    asked = json.loads(settings)
    other = [
        f"{key} {there.get(key)!r} (now {asked[key]!r})" for key in asked if there.get(key) != asked[key]
    ]
    if other:
        raise OutputExists(
            f"expected labels of the same settings, got {', '.join(other)}: {out}; name another file"
        )


def _resume(part: Path, columns: Sequence[str], names: Sequence[str], batch: int) -> int:
    """Cuts a torn last batch off; the number of rows that stay. Starts the file where there is none."""
    header = _csv_text([list(columns)])
    text = part.read_text(encoding="utf-8") if part.is_file() else ""
    lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
    if not lines:
        replace_file(part, header.encode())
        return 0
    if lines[0] != list(columns) or [row[0] for row in lines[1:]] != list(names[: len(lines) - 1]):
        raise OutputExists(f"expected rows of the same faces to go on from: {part}; remove it to start again")
    kept = len(lines) - 1 if len(lines) - 1 == len(names) else (len(lines) - 1) // batch * batch
    replace_file(part, (header + _csv_text(lines[1 : kept + 1])).encode())
    return kept


def _csv_text(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _count(out: Path, names: Sequence[str], resumed: int) -> Labelled:
    rows = list(read_columns(out, ("file", "score", "reason")))
    if [file for file, *_ in rows] != list(names):
        raise OutputExists(f"expected labels of the {len(names)} faces that are there now: {out}")
    refused = [reason for _, score, reason in rows if score is None]
    if len(refused) == len(rows):
        raise SourceUnreadable(f"expected a face that can be scored, got {refused[0]} and the like: {out}")
    return Labelled(out, len(rows) - len(refused), len(refused), resumed)
