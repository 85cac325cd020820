"""Tables of scores (`facesieve score`, `facesieve label`) put beside the faces of a data set."""

from __future__ import annotations

import csv
import math
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from ...stream.errors import SourceMissing, SourceUnreadable
from .datasets import Dataset


def read_scores(path: Path, dataset: Dataset) -> NDArray[np.float64]:
    """(n,) score of each face, −inf for faces that the table lacks (they could not be scored).

    Columns `file` and `score`; `file` is the name in the data set, or a path that ends in it, with or without
    the ending of the image. Raises SourceUnreadable where a face has two different scores or no row fits.
    """
    names: dict[str, list[int]] = {}
    for row, file in enumerate(dataset.files):
        names.setdefault(file, []).append(row)
    bare = {str(PurePath(file).with_suffix("")): rows for file, rows in names.items()}
    scores = np.full(len(dataset), -np.inf)
    for file, score in _rows(path):
        for row in _named(file, names, bare):
            if scores[row] not in (-np.inf, score):
                raise SourceUnreadable(f"expected one score for {file} in {path}, got two")
            scores[row] = score
    if not np.isfinite(scores).any():
        raise SourceUnreadable(f"expected scores of faces of {dataset.name} in {path}: no row fits one")
    return scores


def _rows(path: Path) -> list[tuple[str, float]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if not {"file", "score"} <= set(table.fieldnames or ()):
                raise SourceUnreadable(
                    f"expected a table with the columns file and score in {path}, got {table.fieldnames}"
                )
            rows = [(row["file"], float(row["score"])) for row in table if row["score"]]
    except OSError as cause:
        raise SourceMissing(f"expected a table of scores at {path}: {cause.strerror}") from cause
    except (ValueError, TypeError, csv.Error) as damage:
        raise SourceUnreadable(f"expected numbers as scores in {path}: {damage}") from damage
    bad = next((file for file, score in rows if not math.isfinite(score)), None)
    if bad is not None:
        raise SourceUnreadable(f"expected a finite score for {bad} in {path}")
    return rows


def _named(file: str, names: dict[str, list[int]], bare: dict[str, list[int]]) -> list[int]:
    """The rows that a table's name means: the longest end of its path that is a name of the set."""
    parts = PurePath(file.replace("\\", "/")).parts
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        if end in names:
            return names[end]
        if (stem := str(PurePath(end).with_suffix(""))) in bare:
            return bare[stem]
    return []
