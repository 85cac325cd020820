"""How alike do cheap settings of a teacher rank faces, and the paper's?

    facesieve label ../shared/data/ytf-dev --method faceqan --fr foamliu.pt --copies 2 --autocast bfloat16 \\
        --batch 8 --out checkpoints/labels/ytf-dev/faceqan.csv
    python benchmarks/faceqan.py checkpoints/labels/ytf-dev/faceqan.csv ../shared/data/ytf-dev \\
        --fr foamliu.pt

Scores a random sample of the faces of a table again with the paper's settings in float32, k = n = 10. Prints,
and writes beside the table (`<name>.check.json`), Spearman of the two and CPU seconds a face of the paper's.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from facesieve.fiqa.diffiqa import load_diffusion
from facesieve.fiqa.distill.data import read_labels
from facesieve.fiqa.label import FaceFolder
from facesieve.fiqa.recognisers import load_recogniser
from facesieve.fiqa.teachers import DifFIQA, FaceQAN, Teacher, diffiqa_settings, faceqan_settings


def check(
    table: Path, faces: FaceFolder, teacher: Teacher, count: int, seed: int, copies: str
) -> dict[str, Any]:
    """Of `count` faces drawn from the table. teacher: with the paper's settings."""
    known = read_labels(table)
    rows = [row for row, name in enumerate(faces.names) if name in known]
    drawn = np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False))
    began, whole = time.process_time(), []
    for row in drawn:
        whole += teacher.label(faces.chip(int(row))[None], [faces.names[row]])
    spent = (time.process_time() - began) / len(drawn)
    made = json.loads(table.with_name(f"{table.name}.json").read_text())
    cheap = [known[faces.names[row]] for row in drawn]
    return {
        "method": made["method"],
        "copies": made[copies],
        "autocast": made["autocast"],
        "faces": len(drawn),
        "spearman": float(spearmanr(cheap, [score for score, *_ in whole]).statistic),
        "paper_cpu_s_per_face": spent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fr", type=Path, required=True)
    parser.add_argument("--diffusion", type=Path, help="the UNet, for a table of DifFIQA's")
    parser.add_argument("--faces", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recogniser = load_recogniser(arguments.fr)
    teacher: Teacher = FaceQAN(recogniser, faceqan_settings(arguments.seed, None))
    if arguments.diffusion is not None:
        settings = diffiqa_settings(arguments.seed, None, arguments.diffusion)
        teacher = DifFIQA(recogniser, load_diffusion(arguments.diffusion), settings)
    copies = "copies" if arguments.diffusion is None else "repeats"
    found = check(
        arguments.table, FaceFolder(arguments.folder), teacher, arguments.faces, arguments.seed, copies
    )
    text = json.dumps(found, indent=1)
    arguments.table.with_suffix(".check.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
