"""Training chips and their committed labels as a folder that `facesieve train` reads.

    python -m facesieve.fiqa.distill.versions [--chips 20000] [--held-out] [--out FOLDER]

Takes the chips of `python -m facesieve.fiqa.student prepare` and fiqa/labels/facesieve-t.npz, which has a row
for each; writes OUT/faces.csv, OUT/images/ and OUT/labels.csv. Of the people who are never to be trained on
nothing is taken (with --held-out: of them alone), nor of those with a single image, whose labels are guesses.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...stream.errors import SourceMissing, SourceUnreadable
from ..student.dataset import Versions, read_versions
from .run import replace_file

FULL_WEIGHT = 1.0
FOLDER_CHIPS = 1000


def choose(
    versions: Versions, weight: NDArray[np.floating], people: NDArray[np.bool_], chips: int, seed: int
) -> NDArray[np.intp]:
    """(m,) rows, m ≤ chips, rising: drawn so that a person counts by the root of their number of chips.

    people: (n,) whose chips may be taken.
    """
    rows = np.flatnonzero(people & (weight >= FULL_WEIGHT))
    _, who, count = np.unique(versions.identity[rows], return_inverse=True, return_counts=True)
    odds = 1 / np.sqrt(count[who])
    generator = np.random.default_rng(seed)
    drawn = generator.choice(rows, min(chips, len(rows)), replace=False, p=odds / odds.sum())
    return np.sort(drawn)


def write_faces(versions: Versions, label: NDArray[np.floating], rows: NDArray[np.intp], out: Path) -> None:
    """These chips as PNG, their people and labels as tables; faces.csv comes last, when all is there."""
    faces, labels = [["file", "identity"]], [["file", "score"]]
    for number, row in enumerate(rows):
        name = f"{number // FOLDER_CHIPS:03d}/{row:06d}.png"
        path = out / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        chip = cv2.cvtColor(np.asarray(versions.chips[row]), cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(path), chip, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise SourceUnreadable(f"could not write {path}")
        faces.append([name, f"person{versions.identity[row]}"])
        labels.append([name, f"{float(label[row]):.6g}"])
    replace_file(out / "labels.csv", _csv(labels))
    replace_file(out / "faces.csv", _csv(faces))


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m facesieve.fiqa.distill.versions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, default=Path("checkpoints/student/data"))
    parser.add_argument("--labels", type=Path, default=Path("fiqa/labels/facesieve-t.npz"))
    parser.add_argument("--out", type=Path, default=Path("checkpoints/ediffiqa-s/faces"))
    parser.add_argument("--chips", type=int, default=20_000)
    parser.add_argument("--held-out", action="store_true", help="people who are not to be trained on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not (arguments.data / "versions.npz").is_file():
        raise SystemExit(
            f"expected the chips of `python -m facesieve.fiqa.student prepare`: {arguments.data}"
        )
    versions = read_versions(arguments.data)
    with np.load(arguments.labels) as table:
        label, weight, held_out = table["label"], table["weight"], table["held_out"]
    if len(label) != len(versions.chips):
        raise SourceMissing(
            f"expected a label for each of {len(versions.chips)} chips, got {len(label)}: {arguments.labels}"
        )
    people = held_out if arguments.held_out else ~held_out
    rows = choose(versions, weight, people, arguments.chips, arguments.seed)
    write_faces(versions, label.astype(np.float32), rows, arguments.out)
    print(f"{len(rows)} chips of {len(np.unique(versions.identity[rows]))} people: {arguments.out}")  # noqa: T201


if __name__ == "__main__":
    main()
