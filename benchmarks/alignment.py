"""How much does the student's ranking suffer when the landmarks are off?

    python benchmarks/alignment.py [--student NAME=file.onnx …] [--detectors] [--out benchmarks/out/alignment]

Every landmark is moved by uniform noise of ±3 or ±6 % of the face width before the chip is cut for scoring;
the recogniser that judges keeps its own, undisturbed chips. Writes alignment.json. With --detectors instead:
the same faces aligned by YuNet, CenterFace, SCRFD, and BlazeFace with the face mesh; writes detectors.json
and detectors.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from alignment_detectors import compare, table
from quality import LIGHTQNET, STUDENT, named, run_student
from scipy.stats import spearmanr

from facesieve.fiqa.edc import error_versus_discard, partial_auc, verification
from facesieve.fiqa.embedders import MobileFaceNetFoamliu
from facesieve.fiqa.faces import Faces, aligned_chips, read_faces
from facesieve.fiqa.lightqnet import LightQNet
from facesieve.stream.types import F32, U8

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", ROOT.parent / "shared"))


def jittered(faces: Faces, widths_px: F32, share: float, seed: int) -> F32:
    """(n, 5, 2) landmarks with uniform noise of ±share of each face's width."""
    if faces.landmarks is None:
        raise SystemExit("expected faces with landmarks")
    noise = np.random.default_rng(seed).uniform(-share, share, faces.landmarks.shape)
    return np.asarray(faces.landmarks + noise * widths_px[:, None, None], np.float32)


def disturbed(
    faces: Faces, chips: U8, judge: F32, students: Mapping[str, Path], draws: int
) -> dict[str, dict[str, float]]:
    """Per scorer pAUC@.3 undisturbed, and pAUC@.3 and Spearman to that with the landmarks off by 3 and 6 %.

    chips: by the table's landmarks; judge: (n, d) embeddings of those. students: networks by name; LightQNet
    stands beside them.
    """
    eyes = faces.eye_distances_px()
    with (faces.root / "faces.csv").open(newline="") as rows:
        wide = {row["file"]: float(row["w"]) for row in csv.DictReader(rows)}
    widths = np.array([wide[name] for name in faces.files], np.float32)
    pairs = verification(judge, faces.identities, faces.videos)
    peer = LightQNet(SHARED / LIGHTQNET)

    def scores(cut: U8) -> dict[str, F32]:
        networks = {name: run_student(path, cut, eyes)[0] for name, path in students.items()}
        return {**networks, "LightQNet": peer.score(cut)}

    plain = scores(chips)
    results: dict[str, dict[str, float]] = {}
    for name, quality in plain.items():
        results[name] = {"pauc30": partial_auc(error_versus_discard(pairs, quality))}
    for share in (0.03, 0.06):
        areas: dict[str, list[float]] = {name: [] for name in plain}
        ranks: dict[str, list[float]] = {name: [] for name in plain}
        for seed in range(draws):
            moved = aligned_chips(faces, jittered(faces, widths, share, seed))
            for name, quality in scores(moved).items():
                areas[name].append(partial_auc(error_versus_discard(pairs, quality)))
                ranks[name].append(float(spearmanr(plain[name], quality).statistic))
        for name in plain:
            results[name][f"pauc30 at {share:.0%}"] = float(np.mean(areas[name]))
            results[name][f"spearman at {share:.0%}"] = float(np.mean(ranks[name]))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "alignment")
    parser.add_argument("--faces", type=Path, default=SHARED / "data" / "ytf-dev")
    parser.add_argument(
        "--student", action="append", type=named, default=[], help="NAME=file.onnx, beside the shipped one"
    )
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--detectors", action="store_true")
    parser.add_argument("--thin", type=int, default=1, help="every so many people only")
    arguments = parser.parse_args()
    faces = read_faces(arguments.faces)
    person = np.unique(faces.identities, return_inverse=True)[1]
    faces = faces.take(np.flatnonzero(person % arguments.thin == 0))
    chips = aligned_chips(faces)
    foamliu = MobileFaceNetFoamliu(SHARED / "models" / "mobilefacenet_foamliu.onnx")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.detectors:
        compared = compare(faces, chips, foamliu.embed, STUDENT, SHARED)
        (arguments.out / "detectors.json").write_text(json.dumps(compared, indent=1))
        (arguments.out / "detectors.md").write_text(table(compared) + "\n")
        print(table(compared))
        return
    judge = foamliu.embed(chips)
    results = disturbed(
        faces, chips, judge, {"facesieve-t": STUDENT, **dict(arguments.student)}, arguments.draws
    )
    (arguments.out / "alignment.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
