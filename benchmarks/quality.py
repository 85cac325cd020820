"""Which score picks better frames? Methods × judges on video frames of people nobody trained on.

    python benchmarks/quality.py [--out benchmarks/out/quality]

Writes quality.json and quality.md: FNMR at FMR 1e-3 after discarding pairs, pAUC, and track selection, with
95 % intervals that resample people.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from facesieve.fiqa.edc import discard_at, error_versus_discard, partial_auc, unit, verification
from facesieve.fiqa.embedders import DlibOnChips, MobileFaceNetFoamliu
from facesieve.fiqa.faces import Faces, aligned_chips, read_faces
from facesieve.fiqa.lightqnet import LightQNet
from facesieve.fiqa.selection import (
    Interval,
    oracle_quality,
    partial_auc_interval,
    template_fnmr,
    track_selection,
    tracks_of,
)
from facesieve.stream.types import F32, U8

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", ROOT.parent / "shared"))
STUDENT = ROOT / "engines" / "zoo" / "weights" / "facesieve-t.onnx"
LIGHTQNET = Path("models") / "lightqnet-dm100.pb"
DLIB = ROOT / "checkpoints" / "dlib_face_recognition_resnet_model_v1.dat"


def named(text: str) -> tuple[str, Path]:
    """NAME=file, of the command line."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"expected NAME=file, got {text!r}")
    return name, Path(path)


def laplacian(chips: U8) -> F32:
    """(n,) variance of the Laplacian of the grey chip."""
    grey = [cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY) for chip in chips]
    return np.array([cv2.Laplacian(image, cv2.CV_64F).var() for image in grey], np.float32)


def run_student(path: Path, chips: U8, eyes_px: F32, batch: int = 64) -> tuple[F32, F32]:
    """(n,) qualities and (n, d) embeddings."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = {entry.name for entry in session.get_inputs()}
    quality, embedding = [], []
    for start in range(0, len(chips), batch):
        part = slice(start, start + batch)
        feeds = {"chips": chips[part], "eye_distance_px": eyes_px[part]}
        outputs = session.run(["quality", "embedding"], {k: v for k, v in feeds.items() if k in wanted})
        quality.append(outputs[0])
        embedding.append(outputs[1])
    return np.concatenate(quality), np.concatenate(embedding)


def judge(
    embeddings: F32,
    faces: Faces,
    methods: dict[str, F32],
    resamples: int,
    threshold: float | None = None,
) -> dict[str, object]:
    """All figures of one recogniser. threshold: of a larger set that these faces are from; else their own."""
    pairs = verification(embeddings, faces.identities, faces.videos)
    if threshold is not None:
        pairs = replace(pairs, threshold=threshold)
    tracks = tracks_of(faces.identities, faces.videos)
    rows: dict[str, object] = {}
    for name, quality in {**methods, "oracle": oracle_quality(embeddings, tracks)}.items():
        curve = error_versus_discard(pairs, quality)
        area = partial_auc_interval(pairs, faces.identities, quality, 0.3, resamples)
        picked = track_selection(embeddings, tracks, quality, pairs.threshold, resamples)
        rank = np.argsort(np.argsort(quality)) / len(quality)
        rows[name] = {
            "edc": [discard_at(curve, share) for share in (0.1, 0.2, 0.3)],
            "pauc20": partial_auc(curve, 0.2),
            "pauc30": _triple(area),
            "auc": partial_auc(curve, 1.0),
            "picked_fnmr": _triple(picked.fnmr),
            "gap_closed": _triple(picked.gap_closed),
            "template_fnmr": template_fnmr(embeddings, tracks, quality, rank, pairs.threshold),
        }
    return {
        "fnmr": pairs.fnmr,
        "threshold": pairs.threshold,
        "random_fnmr": picked.random_fnmr,
        "scores": rows,
    }


def _triple(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]


def table(results: dict[str, dict[str, object]]) -> str:
    """The figures as Markdown."""
    lines = []
    for name, result in results.items():
        lines += [
            f"Judge {name}: FNMR {result['fnmr']:.4f} at FMR 1e-3, random frame {result['random_fnmr']:.4f}",
            "",
            "| score | FNMR, 10 / 20 / 30 % discarded | pAUC@.2 | pAUC@.3 | best-of-track FNMR | gap |",
            "|---|---|---|---|---|---|",
        ]
        for method, row in result["scores"].items():  # type: ignore[attr-defined]
            edc = " / ".join(f"{value:.4f}" for value in row["edc"])
            area, picked, gap = (
                f"{row[key][0]:.3f} [{row[key][1]:.3f}, {row[key][2]:.3f}]"
                for key in ("pauc30", "picked_fnmr", "gap_closed")
            )
            lines.append(f"| {method} | {edc} | {row['pauc20']:.3f} | {area} | {picked} | {gap} |")
        lines.append("")
    return "\n".join(lines)


def scores_of(faces: Faces, chips: U8, student: Path) -> tuple[dict[str, F32], F32]:
    """Per method (n,) scores; the student's (n, d) embeddings."""
    quality, own = run_student(student, chips, faces.eye_distances_px())
    methods: dict[str, F32] = {
        "random": np.random.default_rng(0).random(len(faces)).astype(np.float32),
        "Laplacian variance": laplacian(chips),
        "LightQNet": LightQNet(SHARED / LIGHTQNET).score(chips),
        "facesieve-t": quality,
    }
    if faces.heights_px is not None:
        methods["face height"] = faces.heights_px.astype(np.float32)
    return methods, own


def foamliu() -> MobileFaceNetFoamliu:
    return MobileFaceNetFoamliu(SHARED / "models" / "mobilefacenet_foamliu.onnx")


def recognisers_of(chips: U8, own: F32, dlib: Path) -> dict[str, F32]:
    """Per judge (n, d) embeddings; without dlib's where its network is missing."""
    judges = {"foamliu": foamliu().embed(chips)}
    if dlib.is_file():
        judges["dlib"] = DlibOnChips(dlib).embed(chips)
    return {name: unit(table).astype(np.float32) for name, table in {**judges, "facesieve-t": own}.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "quality")
    parser.add_argument("--faces", type=Path, default=SHARED / "data" / "ytf-dev")
    parser.add_argument("--student", type=Path, default=STUDENT)
    parser.add_argument(
        "--dlib", type=Path, default=DLIB, help="dlib's network; left out where it is missing"
    )
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    faces = read_faces(arguments.faces)
    chips = aligned_chips(faces)
    methods, own = scores_of(faces, chips, arguments.student)
    judges = recognisers_of(chips, own, arguments.dlib)
    results = {name: judge(table, faces, methods, arguments.resamples) for name, table in judges.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "quality.json").write_text(json.dumps(results, indent=1))
    (arguments.out / "quality.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
