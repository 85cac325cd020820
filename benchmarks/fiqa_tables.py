"""All tables of the quality network by one command.

    python benchmarks/fiqa_tables.py [--only PART …]

methods     scores × judges on ytf-dev, with intervals (benchmarks/quality.py)
heldout     the same on held-out people of the training sets (benchmarks/fiqa_heldout.py)
teachers    unfinished tables of `facesieve label` on the people that each has got to, other scores beside
thirds      pAUC@.3 within thirds by face height, pose and sharpness (ytf-dev has no labels of age, sex, skin)
ablation    read from benchmarks/results/fiqa_ablation.json, which says where its figures come from
robustness  landmarks off by 3 and 6 % (benchmarks/alignment.py), students of benchmarks/aikd.py beside
detectors   the same faces aligned by four detectors (the same, --detectors)
gate        fp16, bf16 and int8 of each network against fp32 (facesieve models build)
runtime     parameters and CPU time a face (benchmarks/fiqa_runtime.py)

What takes hours is read where it has been made; what is not there is told and left out:
checkpoints/labels/ytf-dev/*.csv (`facesieve label` with any teacher, a row each; unfinished ones are
*.csv.part and count for `teachers` alone),
checkpoints/ediffiqa-s/ediffiqa-s.onnx (`facesieve train ediffiqa`, `facesieve models import`),
checkpoints/aikd/*.onnx. Writes fiqa.md and fiqa.json to benchmarks/results; with --only the other parts
stay as they are there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import openvino
from alignment import disturbed
from alignment_detectors import compare
from alignment_detectors import table as detectors_table
from fiqa_heldout import heldout
from fiqa_runtime import runtime
from fiqa_teachers import begun, labelled, teachers
from numpy.typing import NDArray
from quality import (
    DLIB,
    ROOT,
    SHARED,
    STUDENT,
    foamliu,
    judge,
    laplacian,
    recognisers_of,
    scores_of,
    table,
)

from facesieve.engines.build.gate import Chips, Precision
from facesieve.engines.build.make import build_student
from facesieve.fiqa.edc import error_versus_discard, partial_auc, verification
from facesieve.fiqa.faces import Faces, aligned_chips, read_faces
from facesieve.stream.errors import FacesieveError
from facesieve.stream.types import F32, U8

PARTS = ("methods", "teachers", "heldout", "thirds", "ablation", "robustness", "detectors", "gate", "runtime")
ABLATION = ROOT / "benchmarks" / "results" / "fiqa_ablation.json"
THIN = 6
GATED = ("spearman", "same_best", "kept_best", "cosine_mean", "cosine_least")
LABELS = ROOT / "fiqa" / "labels" / "facesieve-t.npz"
MADE = ROOT / "checkpoints"
TABLES = MADE / "labels"
NETWORKS = {"eDifFIQA(S), ours": MADE / "ediffiqa-s" / "ediffiqa-s.onnx"}
ALIGNED = {
    "last blocks again, aligned crops": MADE / "aikd" / "plain.onnx",
    "last blocks again, AI-KD": MADE / "aikd" / "aikd.onnx",
}
UNET = MADE / "diffusion" / "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Material:
    """Faces, their chips, (n,) scores per method and (n, d) embeddings per judge; those that were asked for.

    networks: quality networks besides the student, those that have been made.
    """

    faces: Faces
    chips: U8
    methods: dict[str, F32]
    judges: dict[str, F32]
    student: Path
    networks: dict[str, Path]


def gather(folder: Path, student: Path, dlib: Path, parts: Collection[str]) -> Material:
    """What these parts need: scores and judges cost minutes, and most parts look at none but foamliu's."""
    faces = read_faces(folder)
    chips = aligned_chips(faces)
    networks = there(NETWORKS)
    if not {"methods", "teachers", "thirds"} & set(parts):
        judges = {"foamliu": foamliu().embed(chips)}
        return Material(faces, chips, {}, judges, student, networks)
    methods, own = scores_of(faces, chips, student)
    methods |= labelled(folder, TABLES / folder.name)
    for name, path in networks.items():
        methods[name] = run_network(path, chips)
    return Material(faces, chips, methods, recognisers_of(chips, own, dlib), student, networks)


def run_network(path: Path, chips: U8, batch: int = 16) -> F32:
    """(n,) qualities, in the arithmetic that OpenVINO chooses for this CPU (bfloat16 where it has it)."""
    settings = {"INFERENCE_NUM_THREADS": 1}
    network = openvino.Core().compile_model(path, "CPU", settings)
    parts = [network(chips[start : start + batch])["quality"] for start in range(0, len(chips), batch)]
    return np.concatenate(parts).astype(np.float32)


def there(networks: dict[str, Path]) -> dict[str, Path]:
    """Those that have been made; tells of the others."""
    for name, path in networks.items():
        if not path.is_file():
            print(f"left out: {name}: {path} has not been made", file=sys.stderr)
    return {name: path for name, path in networks.items() if path.is_file()}


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


def gates(material: Material) -> dict[str, dict[str, Any]]:
    """Per network, precision and arithmetic what the gate says; of larger networks on every sixth person."""
    faces, chips = material.faces, material.chips
    person = np.unique(faces.identities, return_inverse=True)[1]
    asked = {"facesieve-t": (material.student, np.arange(len(faces)))}
    asked |= {name: (path, np.flatnonzero(person % THIN == 0)) for name, path in material.networks.items()}
    return {
        f"{name}, {how}": {"chips": len(rows)} | row
        for name, (path, rows) in asked.items()
        for how, row in gate(faces.take(rows), chips[rows], path).items()
    }


def gate(faces: Faces, cut: U8, network: Path) -> dict[str, dict[str, Any]]:
    """Per precision and arithmetic what the gate says: its figures, or why it refuses. cut: the chips."""
    chips = Chips(cut, faces.videos, faces.eye_distances_px())
    learning = read_faces(SHARED / "data" / "lfw-train")
    some = learning.take(np.arange(0, len(learning), 40))
    scales = Chips(aligned_chips(some), some.videos, some.eye_distances_px())
    results: dict[str, dict[str, Any]] = {}
    for precision in get_args(Precision):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / f"student-{precision}.onnx"
            try:
                built = build_student(network, precision, out, chips=chips, calibrate_on=scales)
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
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--faces", type=Path, default=SHARED / "data" / "ytf-dev")
    parser.add_argument("--student", type=Path, default=STUDENT)
    parser.add_argument("--dlib", type=Path, default=DLIB)
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    material = gather(arguments.faces, arguments.student, arguments.dlib, arguments.only)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part in arguments.only:
        figures, text = make(part, arguments.faces, material, arguments.resamples)
        print(f"## {part}\n\n{text}\n", flush=True)
        keep(part, figures, text, arguments.out / "fiqa.json")


def keep(part: str, figures: dict[str, Any], text: str, path: Path) -> None:
    """Puts the part in its place among those that are there, as JSON and as one page."""
    kept = json.loads(path.read_text()) if path.is_file() else {}
    kept[part] = {"table": text, "figures": figures}
    whole = {name: kept[name] for name in PARTS if name in kept}
    path.write_text(json.dumps(whole, indent=1) + "\n")
    pages = (f"## {name}\n\n{made['table'].strip()}" for name, made in whole.items())
    path.with_suffix(".md").write_text("\n\n".join(pages) + "\n")


def make(part: str, folder: Path, material: Material, resamples: int) -> tuple[dict[str, Any], str]:
    """A part's figures, and the same as Markdown."""
    seen, figures = material.judges["foamliu"], dict[str, Any]()
    match part:
        case "methods":
            for name, vectors in material.judges.items():
                figures[name] = judge(vectors, material.faces, material.methods, resamples)
            return figures, table(figures)
        case "teachers":
            tables = begun(folder, TABLES / folder.name)
            return teachers(material.faces, material.judges, material.methods, tables, resamples)
        case "heldout":
            networks = {"facesieve-t": material.student, **material.networks}
            runs = {name: partial(run_network, path) for name, path in networks.items()}
            figures = heldout(MADE / "student" / "data", LABELS, runs)
            return figures, grid(figures, "score, judges on held-out people")
        case "thirds":
            figures = thirds(material)
            return figures, grid(figures, "third, judge foamliu, pAUC@.3")
        case "ablation":
            figures = json.loads(ABLATION.read_text())
            return figures, ablation(figures)
        case "robustness":
            students = {"facesieve-t": material.student, **there(ALIGNED), **material.networks}
            figures = disturbed(material.faces, material.chips, seen, students, draws=2)
            return figures, grid(figures, "score")
        case "detectors":
            figures = compare(material.faces, material.chips, foamliu().embed, material.student, SHARED)
            return figures, detectors_table(figures)
        case "runtime":
            figures = runtime(
                material.student, SHARED / "models" / "mobilefacenet_foamliu.pt", UNET, material.chips[:8]
            )
            return figures, grid(figures, "network")
        case _:
            figures = gates(material)
            return figures, grid(figures, "precision")


if __name__ == "__main__":
    main()
