"""What AI-KD's objective does for a student: its last blocks trained again, with and without misalignment.

    python benchmarks/aikd.py [--chips 5000 --steps 300] [--out checkpoints/aikd]
    python benchmarks/alignment.py --student plain=…/plain.onnx --student AI-KD=…/aikd.onnx

Both start at the shipped student, keep the stem and blocks 1-9, and see the same chips in the same order;
loss (AI-KD's: SmoothL1 to the label, cosine to the embedding that the start gives the aligned crop),
optimiser and seed are the same too. `plain` sees the aligned crop, `aikd` the crop that landmarks off by
up to 3 or 6 % of the face width give. Only chips without a landmark error of their own, of people who are
trained on; labels are the committed ones. Writes plain.onnx, aikd.onnx and aikd.json; chips are kept for
a second call.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facesieve.fiqa.distill import aikd_loss
from facesieve.fiqa.faces import read_faces
from facesieve.fiqa.student.dataset import degradations, read_versions
from facesieve.fiqa.student.degrade import degrade
from facesieve.fiqa.student.export import export_student
from facesieve.fiqa.student.head import student_of
from facesieve.fiqa.student.network import Student
from facesieve.stream.geometry import ARCFACE_POINTS
from facesieve.stream.types import F32, U8

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", ROOT.parent / "shared"))
STUDENT = ROOT / "engines" / "zoo" / "weights" / "facesieve-t.onnx"
LABELS = ROOT / "fiqa" / "labels" / "facesieve-t.npz"
FROZEN = 9
SHARES = (0.03, 0.06)
BATCH = 64


def aligned_rows(count: int, versions: int, seed: int) -> NDArray[np.intp]:
    """(m,) rows of the training chips whose landmarks are right, of people who are trained on."""
    with np.load(LABELS) as table:
        open_rows = np.flatnonzero(~table["held_out"] & (table["weight"] >= 1))
    drawn = np.random.default_rng(seed).permutation(open_rows)
    right = (row for row in drawn if _how(int(row), versions).jitter == 0)
    return np.sort(np.fromiter((row for row, _ in zip(right, range(count), strict=False)), np.intp))


def _how(row: int, versions: int) -> Any:
    source, version = divmod(row, versions)
    return list(degradations(source, versions, seed=0))[version]


def misaligned(rows: NDArray[np.intp], versions: int, share: float) -> Iterator[U8]:
    """Each chip again, its damage the same, its landmarks off by up to ±share of the face width."""
    tables = [read_faces(SHARED / "data" / name) for name in ("lfw-train", "glint-train")]
    for row in rows:
        source, how = int(row) // versions, _how(int(row), versions)
        faces = tables[source >= len(tables[0])]
        at = source - len(tables[0]) * (source >= len(tables[0]))
        points = ARCFACE_POINTS if faces.landmarks is None else faces.landmarks[at]
        off = replace(how, jitter=share, seed=how.seed or int(row) + 1)
        yield degrade(faces.image(at), points, off)[0]


def make_chips(rows: NDArray[np.intp], data: Path, out: Path) -> dict[str, U8]:
    """(m, 112, 112, 3) chips: aligned, and off by each of SHARES; kept in out."""
    versions = read_versions(data)
    each = len(versions.chips) // (int(versions.source.max()) + 1)
    chips = {"aligned": np.asarray(versions.chips[rows])}
    for share in SHARES:
        path = out / f"off-{share:g}.npy"
        if not path.is_file() or len(np.load(path, mmap_mode="r")) != len(rows):
            np.save(path, np.stack(list(misaligned(rows, each, share))))
        chips[f"{share:g}"] = np.load(path)
    return chips


@torch.no_grad()
def features(student: Student, chips: U8) -> tuple[Tensor, Tensor, Tensor]:
    """Of the frozen blocks: maps (m, 128, 8, 8), means of levels that end in them; the start's embedding."""
    maps, means, embeddings = [], [], []
    for begin in range(0, len(chips), BATCH):
        pixels = torch.from_numpy(chips[begin : begin + BATCH]).permute(0, 3, 1, 2).float()
        with torch.autocast("cpu", torch.bfloat16):
            x, levels = student.body(pixels, FROZEN)
            raw, _ = student.tail(x, levels, FROZEN)
        maps.append(x.to(torch.bfloat16))
        means.append(torch.cat([level.float() for level in levels], dim=1))
        embeddings.append(nn.functional.normalize(raw.float(), dim=1))
    return torch.cat(maps), torch.cat(means), torch.cat(embeddings)


def train(
    student: Student,
    views: list[tuple[Tensor, Tensor]],
    labels: Tensor,
    teacher: Tensor,
    steps: int,
    seed: int,
) -> list[float]:
    """Trains blocks 10-14 and the heads in place, a batch of one of `views` a step; the loss of each step."""
    head = [*student.fc.parameters(), *student.l1.parameters(), *student.l2.parameters()]
    trunk = [*student.trunk.blocks[FROZEN:].parameters()]
    trained = [*head, *trunk]
    optimiser = torch.optim.AdamW([{"params": trunk, "lr": 1e-4}, {"params": head, "lr": 3e-4}])
    rates = [group["lr"] for group in optimiser.param_groups]
    generator, losses = np.random.default_rng(seed), []
    student.train()
    for step in range(steps):
        rows = torch.from_numpy(generator.choice(len(labels), BATCH, replace=False))
        maps, means = views[int(generator.integers(1 << 30)) % len(views)]
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * min(1, (step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        with torch.autocast("cpu", torch.bfloat16):
            seen = student.tail(maps[rows], [means[rows]], FROZEN)
        quality, embedding = student.join([seen], None)
        loss = aikd_loss(quality, labels[rows], embedding, teacher[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 5.0)
        optimiser.step()
        losses.append(loss.item())
    student.eval()
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT / "checkpoints" / "student" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "checkpoints" / "aikd")
    parser.add_argument("--student", type=Path, default=STUDENT)
    parser.add_argument("--chips", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = aligned_rows(arguments.chips, 4, arguments.seed)
    chips = make_chips(rows, arguments.data, arguments.out)
    with np.load(LABELS) as table:
        labels = torch.from_numpy(table["label"][rows].astype(np.float32))
    start = student_of(arguments.student)
    seen = {name: features(start, part) for name, part in chips.items()}
    record: dict[str, Any] = {"chips": len(rows), "steps": arguments.steps, "batch": BATCH}
    for name, views in (("plain", ["aligned"]), ("aikd", [f"{share:g}" for share in SHARES])):
        student, began = student_of(arguments.student), time.process_time()
        torch.manual_seed(arguments.seed)
        inputs = [seen[view][:2] for view in views]
        losses: F32 = np.array(
            train(student, inputs, labels, seen["aligned"][2], arguments.steps, arguments.seed), np.float32
        )
        export_student(student, arguments.out / f"{name}.onnx")
        ends = [float(part.mean()) for part in (losses[:20], losses[-20:])]
        record[name] = {"first_losses": ends[0], "last_losses": ends[1], "cpu_s": time.process_time() - began}
    (arguments.out / "aikd.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
