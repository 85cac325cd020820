"""Tables of `facesieve label` beside the other scores: whole ones, and what unfinished ones have got to.

A table is made in the order of faces.csv (one sorted by person, say) and says something of the people all of
whose frames it has. The others' scores are looked at on the same frames, at the threshold of the whole set.
A whole table is a row of `methods` like any other score.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from quality import judge, table

from facesieve.fiqa.edc import verification
from facesieve.fiqa.evaluate.open import open_dataset
from facesieve.fiqa.evaluate.scores import read_scores
from facesieve.fiqa.faces import Faces
from facesieve.stream.types import F32

FEWEST_PEOPLE = 10


def labelled(folder: Path, tables: Path) -> dict[str, F32]:
    """(n,) per whole table in `tables`, named after its teacher and settings."""
    dataset = open_dataset(folder)
    return {
        _name(path): read_scores(path, dataset).astype(np.float32) for path in sorted(tables.glob("*.csv"))
    }


def begun(folder: Path, tables: Path) -> dict[str, F32]:
    """As `labelled`, of unfinished tables (`.csv.part`); −inf for faces that a table has not got to."""
    dataset = open_dataset(folder)
    return {
        _name(path.with_suffix("")): read_scores(path, dataset).astype(np.float32)
        for path in sorted(tables.glob("*.csv.part"))
        if path.read_text().count("\n") > 1  # more than the header
    }


def _name(path: Path) -> str:
    made = json.loads(path.with_name(f"{path.name}.json").read_text())
    low = ", bfloat16" if made["autocast"] != "none" else ""
    if made["method"] == "faceqan":
        return f"FaceQAN (k={made['copies']}, l={made['steps']}{low})"
    return f"DifFIQA, our UNet (n={made['repeats']}{low})"


def people_done(faces: Faces, scores: F32) -> NDArray[np.bool_]:
    """(n,) true for frames of people none of whose frames is still to come (scores: −inf)."""
    _, person = np.unique(faces.identities, return_inverse=True)
    missing = np.bincount(person, ~np.isfinite(scores)) > 0
    return ~missing[person]


def teachers(
    faces: Faces, judges: dict[str, F32], methods: dict[str, F32], tables: dict[str, F32], resamples: int
) -> tuple[dict[str, object], str]:
    """Per unfinished table the figures of all scores on its people, and the same as Markdown.

    methods, tables: (n,) each.
    """
    figures, pages = dict[str, object](), []
    for name, scores in tables.items():
        rows = np.flatnonzero(people_done(faces, scores))
        part = faces.take(rows)
        people = len(np.unique(part.identities))
        if people < FEWEST_PEOPLE:
            print(f"left out: {name}: {people} people labelled so far, {FEWEST_PEOPLE} wanted")
            continue
        others = {label: values[rows] for label, values in methods.items()}
        found = {}
        for who in ("foamliu", "dlib"):
            if who in judges:
                threshold = verification(judges[who], faces.identities, faces.videos).threshold
                shown = others | {name: scores[rows]}
                found[who] = judge(judges[who][rows], part, shown, resamples, threshold)
        figures[name] = {"people": people, "faces": len(rows), "judges": found}
        everyone = len(np.unique(faces.identities))
        pages.append(f"### {name}: {people} of {everyone} people, {len(rows)} frames\n\n{table(found)}")
    return figures, "\n".join(pages) or "No table is unfinished, or none has got far enough."
