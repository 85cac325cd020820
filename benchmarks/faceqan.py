"""FaceQAN's scores of a folder of faces, kept on disk: minutes of a core even with few copies and steps.

    python benchmarks/faceqan.py [--copies 1 --steps 3] [--check 60] [--out benchmarks/out/faceqan]

Writes scores.npy (n,) and faceqan.json: settings, CPU seconds a face, and, over a random sample, Spearman to
the paper's settings (k=10, l=5). M is foamliu's MobileFaceNet; convolutions in bfloat16 unless --precise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from facesieve.fiqa.faceqan import COPIES, STEPS, batch_similarities, draw_noise, score, symmetry
from facesieve.fiqa.faces import aligned_chips, read_faces
from facesieve.fiqa.recognisers import load_recogniser
from facesieve.stream.types import F32, U8

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", ROOT.parent / "shared"))
OUT = ROOT / "benchmarks" / "out" / "faceqan"


def faceqan(chips: U8, copies: int, steps: int, precise: bool, batch: int = 16) -> F32:
    """(n,) scores; noise by the place in the folder."""
    network = load_recogniser(SHARED / "models" / "mobilefacenet_foamliu.pt")

    def embed(x: Tensor) -> Tensor:
        low = contextlib.nullcontext() if precise else torch.autocast("cpu", torch.bfloat16)
        with low:
            embedding: Tensor = network(x.contiguous(memory_format=torch.channels_last))
        return embedding.float()

    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows = []
    for begin in range(0, len(chips), batch):
        images = torch.from_numpy(chips[begin : begin + batch]).permute(0, 3, 1, 2).float() / 255
        noise = [draw_noise(torch.Generator().manual_seed(begin + i), copies) for i in range(len(images))]
        similarities = batch_similarities(embed, images, torch.stack(noise), steps=steps)
        rows.append(score(similarities.numpy(), symmetry(embed, images).numpy()))
    return np.concatenate(rows).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=SHARED / "data" / "ytf-dev")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--precise", action="store_true", help="float32 throughout")
    parser.add_argument("--check", type=int, default=60, help="faces to score with the paper's settings too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chips = aligned_chips(read_faces(arguments.faces))
    started = time.process_time()
    scores = faceqan(chips, arguments.copies, arguments.steps, arguments.precise)
    spent = (time.process_time() - started) / len(chips)
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.save(arguments.out / "scores.npy", scores)
    record = {
        "copies": arguments.copies,
        "steps": arguments.steps,
        "bfloat16": not arguments.precise,
        "faces": len(chips),
        "cpu_s_per_face": spent,
    }
    path = arguments.out / "faceqan.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.check:
        some = np.random.default_rng(0).choice(len(chips), arguments.check, replace=False)
        whole = faceqan(chips[some], COPIES, STEPS, precise=True, batch=2)
        record |= {"checked": arguments.check, "spearman": float(spearmanr(scores[some], whole).statistic)}
        path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
