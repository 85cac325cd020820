"""Tables of scores (`facesieve score`, `facesieve label`) put beside the faces of a data set."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from ...stream.errors import SourceUnreadable
from ..tables import read_scored
from .datasets import Dataset


def read_scores(path: Path, dataset: Dataset) -> NDArray[np.float64]:
    """(n,) score of each face, −inf for faces that the table lacks (they could not be scored).

    CSV or Parquet with the columns `file` and `score`; `file` is the name in the data set, or a path that
    ends in it, with or without the ending of the image. Raises SourceUnreadable where a face has two
    different scores or no row fits.
    """
    names: dict[str, list[int]] = {}
    for row, file in enumerate(dataset.files):
        names.setdefault(file, []).append(row)
    bare = {str(PurePath(file).with_suffix("")): rows for file, rows in names.items()}
    scores = np.full(len(dataset), -np.inf)
    for file, score in read_scored(path):
        for row in _named(file, names, bare):
            if scores[row] not in (-np.inf, score):
                raise SourceUnreadable(f"expected one score for {file} in {path}, got two")
            scores[row] = score
    if not np.isfinite(scores).any():
        raise SourceUnreadable(f"expected scores of faces of {dataset.name} in {path}: no row fits one")
    return scores


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
