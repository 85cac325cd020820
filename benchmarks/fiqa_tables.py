"""All tables of the quality network by one command.

    python benchmarks/faceqan.py            first, for FaceQAN's row (minutes of a core)
    python benchmarks/fiqa_tables.py [--only methods thirds ablation robustness detectors gate]

methods     scores × judges on ytf-dev, with intervals (benchmarks/quality.py)
thirds      pAUC@.3 within thirds by face height, pose and sharpness (ytf-dev has no labels of age, sex, skin)
ablation    read from benchmarks/results/fiqa_ablation.json, which says where its figures come from
robustness  landmarks off by 3 and 6 % (benchmarks/alignment.py)
detectors   the same faces aligned by four detectors (the same, --detectors)
gate        fp16, bf16 and int8 of the shipped network against fp32 (facesieve models build)

Writes fiqa.md and fiqa.json to benchmarks/out/fiqa.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from alignment import disturbed
from alignment_detectors import compare
from alignment_detectors import table as detectors_table
from numpy.typing import NDArray
from quality import DLIB, ROOT, SHARED, STUDENT, judge, laplacian, recognisers_of, scores_of, table

from facesieve.engines.build.gate import Chips, Precision
from facesieve.engines.build.make import build_student
from facesieve.fiqa.edc import error_versus_discard, partial_auc, verification
from facesieve.fiqa.faces import Faces, aligned_chips, read_faces
from facesieve.stream.errors import FacesieveError
from facesieve.stream.types import F32, U8

PARTS = ("methods", "thirds", "ablation", "robustness", "detectors", "gate")
ABLATION = ROOT / "benchmarks" / "results" / "fiqa_ablation.json"
GATED = ("spearman", "same_best", "kept_best", "cosine_mean", "cosine_least")
FACEQAN = ROOT / "benchmarks" / "out" / "faceqan"


@dataclass(frozen=True, slots=True)
class Material:
    """Faces, their chips, (n,) scores per method and (n, d) embeddings per judge."""

    faces: Faces
    chips: U8
    methods: dict[str, F32]
    judges: dict[str, F32]
    student: Path


def gather(folder: Path, student: Path, dlib: Path) -> Material:
    faces = read_faces(folder)
    chips = aligned_chips(faces)
    methods, own = scores_of(faces, chips, student)
    if (FACEQAN / "scores.npy").is_file():
        record = json.loads((FACEQAN / "faceqan.json").read_text())
        methods[f"FaceQAN (k={record['copies']}, l={record['steps']})"] = np.load(FACEQAN / "scores.npy")
    return Material(faces, chips, methods, recognisers_of(chips, own, dlib), student)


def turned(faces: Faces) -> NDArray[np.float64]:
    """(n,) how far the nose is off the middle of the eyes, along their line, in eye distances."""
    if faces.landmarks is None:
        raise SystemExit("expected faces with landmarks")
    left, right, nose = (faces.landmarks[:, i].astype(np.float64) for i in range(3))
    along = (right - left) / np.linalg.norm(right - left, axis=1, keepdims=True) ** 2
    return np.abs(np.einsum("ij,ij->i", nose - (left + right) / 2, along))


def thirds(material: Material) -> dict[str, dict[str, float]]:
    """Per third pAUC@.3 of each scorer, judge foamliu: pairs within the third, threshold of the whole set."""
    faces = material.faces
    every = verification(material.judges["foamliu"], faces.identities, faces.videos)
    if faces.heights_px is None:
        raise SystemExit("expected faces with boxes")
    results = {}
    for name, unit, values in (
        ("face height", " px", faces.heights_px),
        ("nose off the middle", " eye distances", turned(faces)),
        ("Laplacian variance", "", laplacian(material.chips).astype(np.float64)),
    ):
        low, high = np.quantile(values, (1 / 3, 2 / 3))
        masks = {
            f"{name} up to {low:.3g}{unit}": values <= low,
            f"{low:.3g} to {high:.3g}": (values > low) & (values <= high),
            f"above {high:.3g}": values > high,
        }
        for label, mask in masks.items():
            both = mask[every.first] & mask[every.second]
            pairs = replace(
                every,
                first=every.first[both],
                second=every.second[both],
                similarities=every.similarities[both],
            )
            results[label] = {"FNMR": pairs.fnmr} | {
                method: partial_auc(error_versus_discard(pairs, quality))
                for method, quality in material.methods.items()
                if method != "random"
            }
    return results


def gate(material: Material) -> dict[str, dict[str, Any]]:
    """Per precision and arithmetic what the gate says: its figures, or why it refuses."""
    faces = material.faces
    chips = Chips(material.chips, faces.videos, faces.eye_distances_px())
    learning = read_faces(SHARED / "data" / "lfw-train")
    some = learning.take(np.arange(0, len(learning), 40))
    scales = Chips(aligned_chips(some), some.videos, some.eye_distances_px())
    results: dict[str, dict[str, Any]] = {}
    for precision in get_args(Precision):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / f"student-{precision}.onnx"
            try:
                built = build_student(material.student, precision, out, chips=chips, calibrate_on=scales)
                for arithmetic, found in built.figures.items():
                    measured = {key: found[key] for key in GATED}
                    results[f"{precision}, run in {arithmetic}"] = {"passes": "yes"} | measured
            except FacesieveError as refusal:
                results[precision] = {"passes": f"no: {refusal}"}
    return results


def grid(rows: dict[str, dict[str, Any]], first: str) -> str:
    """Rows of numbers (or words) as Markdown; a column that a row lacks stays empty."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = [f"| {first} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [row.get(column, "") for column in columns]
        shown = [f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def ablation(record: dict[str, Any]) -> str:
    """The committed training ablations as Markdown, with their provenance."""
    rows = {}
    for row in record["rows"]:
        pairs = {key: value for key, value in row.items() if isinstance(value, dict)}
        rows[row["student"]] = {
            f"{key}, foamliu / dlib": " / ".join("" if v is None else f"{v:.3f}" for v in value.values())
            for key, value in pairs.items()
        }
    notes = "; ".join(f"{key}: {text}" for key, text in record["columns"].items())
    return f"{grid(rows, 'student')}\n\n{record['where']}. {notes}. {record['provenance']}."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "fiqa")
    parser.add_argument("--faces", type=Path, default=SHARED / "data" / "ytf-dev")
    parser.add_argument("--student", type=Path, default=STUDENT)
    parser.add_argument("--dlib", type=Path, default=DLIB)
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    material = gather(arguments.faces, arguments.student, arguments.dlib)
    seen = material.judges["foamliu"]
    results: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for part in arguments.only:
        match part:
            case "methods":
                results[part] = {
                    name: judge(vectors, material.faces, material.methods, arguments.resamples)
                    for name, vectors in material.judges.items()
                }
                texts[part] = table(results[part])
            case "thirds":
                results[part] = thirds(material)
                texts[part] = grid(results[part], "third, judge foamliu, pAUC@.3")
            case "ablation":
                results[part] = json.loads(ABLATION.read_text())
                texts[part] = ablation(results[part])
            case "robustness":
                results[part] = disturbed(material.faces, material.chips, seen, arguments.student, draws=2)
                texts[part] = grid(results[part], "score")
            case "detectors":
                results[part] = compare(material.faces, material.chips, seen, arguments.student, SHARED)
                texts[part] = detectors_table(results[part])
            case _:
                results[part] = gate(material)
                texts[part] = grid(results[part], "precision")
        print(f"## {part}\n\n{texts[part]}\n", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "fiqa.json").write_text(json.dumps(results, indent=1) + "\n")
    whole = "\n\n".join(f"## {part}\n\n{text}" for part, text in texts.items())
    (arguments.out / "fiqa.md").write_text(whole + "\n")


if __name__ == "__main__":
    main()
