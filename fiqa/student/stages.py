"""The stages that make facesieve-t, each leaving files that the next one reads.

prepare  shared data → chips.npy, versions.npz
embed    chips → one npy of unit embeddings (2, n, d) a recogniser: chips and their mirror images; scores
train    → checkpoint.pt, log.csv, holdout.json
release  → facesieve-t.onnx and facesieve-t.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...stream.errors import ConfigError, SourceMissing
from ...stream.types import F32
from ..calibration import Calibration, fit_calibration
from ..edc import verification
from ..embedders import Embedder
from ..lightqnet import LightQNet
from .dataset import Versions, build_versions, read_versions
from .dlib_resnet import load_dlib
from .export import export_student
from .holdout import Holdout, make_holdout
from .labels import Outcome, held_out, outcome, quality_labels
from .network import Student
from .recipe import Recipe
from .train import Lesson, Trainer, averaged_network, mirrored_at_random, reframe

UNKNOWN_EYES_PX = 36.0
"""Eye distance of a source that came as a chip: its original size is not known."""


@dataclass(frozen=True, slots=True)
class Material:
    """Chips with what the recognisers say of them. embeddings: per recogniser (2, n, d): chip, mirror
    image.
    """

    versions: Versions
    embeddings: Mapping[str, NDArray[np.float16]]
    held: NDArray[np.bool_]


def prepare(recipe: Recipe, shared: Path, out: Path) -> None:
    """Writes the training chips below out."""
    folders = [shared / "data" / name for name in recipe.data.folders]
    build_versions(folders, out, recipe.data.versions, recipe.data.seed)


def embed(embedder: Embedder, out: Path, batch: int = 256) -> None:
    """Writes out/<name>.npy."""
    versions = read_versions(out)
    width = embedder.embed(np.asarray(versions.chips[:1])).shape[1]
    shape = (2, len(versions.chips), width)
    partial = out / f"{embedder.name}.part.npy"
    table = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
    for start in range(0, shape[1], batch):
        chips = np.asarray(versions.chips[start : start + batch])
        table[0, start : start + batch] = embedder.embed(chips)
        table[1, start : start + batch] = embedder.embed(np.ascontiguousarray(chips[:, :, ::-1]))
    table.flush()
    partial.replace(out / f"{embedder.name}.npy")


def score_peer(peer: LightQNet, out: Path, batch: int = 256) -> None:
    """Writes out/lightqnet.npy."""
    chips = read_versions(out).chips
    parts = [peer.score(np.asarray(chips[start : start + batch])) for start in range(0, len(chips), batch)]
    np.save(out / "lightqnet.npy", np.concatenate(parts))


def read_material(recipe: Recipe, out: Path) -> Material:
    """What prepare and embed wrote."""
    versions = read_versions(out)
    tables = {}
    for name in {*recipe.labels.recognisers, "dlib"}:
        path = out / f"{name}.npy"
        if not path.is_file():
            raise SourceMissing(f"expected embeddings at {path}: run the embed stage first")
        tables[name] = np.load(path, mmap_mode="r")
        if tables[name].shape[:2] != (2, len(versions.chips)):
            raise ConfigError(f"expected (2, {len(versions.chips)}, d) in {path}, got {tables[name].shape}")
    return Material(versions, tables, held_out(versions))


def outcomes(material: Material) -> dict[str, Outcome]:
    """Per recogniser."""
    return {
        name: outcome(table[0].astype(np.float32), table[1].astype(np.float32), material.versions)
        for name, table in material.embeddings.items()
    }


def make_lesson(recipe: Recipe, material: Material, out: Path) -> Lesson:
    """Labels, teacher and rows of a recipe; held-out people are left out."""
    versions = material.versions
    each = outcomes(material)
    labels, weights = quality_labels(
        [each[name] for name in recipe.labels.recognisers],
        recipe.labels.mirror_share,
        np.load(out / "lightqnet.npy") if recipe.labels.lightqnet_share else None,
        recipe.labels.lightqnet_share,
    )
    teacher = centred(material.embeddings["dlib"].astype(np.float32).mean(axis=0), material)
    clean = np.flatnonzero(versions.version == 0)[versions.source]
    share = recipe.training.clean_share
    teacher = _unit(share * teacher[clean] + (1 - share) * teacher)
    return Lesson(
        versions,
        np.flatnonzero(~material.held),
        np.load(out / "maps.npy", mmap_mode="r") if recipe.training.cached else None,
        np.load(out / "means.npy") if recipe.training.cached else None,
        labels,
        weights,
        teacher,
        tuple(np.asarray(material.embeddings[name][0]) for name in recipe.labels.recognisers),
        known_eyes(versions),
    )


def save_labels(recipe: Recipe, material: Material, data: Path, path: Path) -> None:
    """Writes labels and what they are made of as float16, row for row as the recipe's chips are made: sources
    in the order of the folders' tables, versions within a source."""
    lesson, each = make_lesson(recipe, material, data), outcomes(material)
    parts = {
        f"{name}_{term}": getattr(result, term).astype(np.float16)
        for name, result in each.items()
        for term in ("mates", "source", "mirror")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        label=lesson.labels.astype(np.float16),
        weight=lesson.weights.astype(np.float16),
        eyes_px=material.versions.eyes_px.astype(np.float16),
        lightqnet=np.load(data / "lightqnet.npy").astype(np.float16),
        held_out=material.held,
        **parts,
    )


def known_eyes(versions: Versions) -> F32:
    """(n,) eye distances px, UNKNOWN_EYES_PX where unknown."""
    return np.nan_to_num(versions.eyes_px, nan=UNKNOWN_EYES_PX).astype(np.float32)


def freeze(student: Student, recipe: Recipe, material: Material, out: Path) -> None:
    """Writes maps.npy and means.npy: what the frozen blocks make of every chip, each chip mirrored or not at
    random and each batch in its own framing."""
    blocks, count = recipe.training.frozen, len(material.versions.chips)
    student = student.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    partial = out / "maps.part.npy"
    maps = np.lib.format.open_memmap(partial, "w+", np.uint16, (count, 8, 8, 128))
    means = []
    generator = np.random.default_rng(recipe.training.seed)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for begin in range(0, count, 64):
            chips = torch.from_numpy(np.asarray(material.versions.chips[begin : begin + 64]))
            pixels = mirrored_at_random(chips, generator)
            reframe(student, generator, recipe.training.jitter)
            x, levels = student.body(pixels, blocks)
            x = x.to(torch.bfloat16).permute(0, 2, 3, 1).contiguous()
            maps[begin : begin + 64] = x.view(torch.uint16).numpy()
            means.append(torch.cat([level.float() for level in levels], dim=1).numpy())
    reframe(student, generator, 0.0)
    maps.flush()
    np.save(out / "means.npy", np.concatenate(means))
    partial.replace(out / "maps.npy")


def centred(embeddings: F32, material: Material) -> F32:
    """dlib's embeddings without their common part, of unit length."""
    return _unit(_unit(embeddings) - _unit(embeddings)[material.versions.version == 0].mean(axis=0))


def start(recipe: Recipe, material: Material, dlib: Path) -> Student:
    """The untrained student on dlib's weights; the fc's bias takes dlib's mean embedding off."""
    network = recipe.network
    student = Student(network.levels, network.size, network.mirror, network.eyes, network.hidden)
    torch.manual_seed(recipe.training.seed)
    clean = np.flatnonzero(material.versions.version == 0)[::64]
    teacher = load_dlib(dlib)
    with torch.inference_mode():
        chips = torch.from_numpy(np.asarray(material.versions.chips[clean]))
        pixels = chips.permute(0, 3, 1, 2).float()
        raw = [teacher(student.chip(part)) for part in torch.split(pixels, 64)]
    student.start_from(teacher, torch.cat(raw).mean(dim=0))
    return student


def train(
    recipe: Recipe, material: Material, student: Student, data: Path, out: Path, until: float
) -> Student:
    """Trains (or goes on training) to the recipe's end or the monotonic time `until`, s."""
    trainer = Trainer(student, make_lesson(recipe, material, data), recipe.training, out)
    trainer.run(until)
    return averaged_network(trainer)


def run_rows(student: Student, material: Material, rows: NDArray[np.intp]) -> tuple[F32, F32]:
    """(m,) quality and (m, 128) embedding of these chips, in bfloat16 convolutions as in training."""
    student = student.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    eyes = known_eyes(material.versions)
    quality, embedding = [], []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for begin in range(0, len(rows), 64):
            part = rows[begin : begin + 64]
            chips = torch.from_numpy(np.asarray(material.versions.chips[part]))
            scores, vectors = student(chips, torch.from_numpy(eyes[part]))
            quality.append(scores.float().numpy())
            embedding.append(vectors.float().numpy())
    return np.concatenate(quality), np.concatenate(embedding)


def examine(student: Student, material: Material) -> tuple[dict[str, float], Calibration]:
    """Figures on held-out people under every recogniser and the student itself, and the calibration."""
    holdout = make_holdout(material.versions, material.held)
    quality, own = run_rows(student, material, holdout.rows)
    judges = {name: table[0][holdout.rows].astype(np.float32) for name, table in material.embeddings.items()}
    figures = holdout.figures(quality, {**judges, "student": own})
    for name, vectors in {**judges, "student": own}.items():
        figures[f"{name} FNMR"] = verification(vectors, holdout.people, holdout.videos).fnmr
    return figures, calibrate(quality, holdout, material, judges)


def calibrate(quality: F32, holdout: Holdout, material: Material, judges: Mapping[str, F32]) -> Calibration:
    """Score → probability that a comparison with a clean image of the same person succeeds at FMR 1e-3."""
    clean = material.versions.version[holdout.rows] == 0
    success = []
    for vectors in judges.values():
        pairs = verification(vectors, holdout.people, holdout.videos)
        hits, count = np.zeros(len(vectors)), np.zeros(len(vectors))
        for one, other in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
            against = clean[other]
            np.add.at(hits, one[against], ~pairs.errors[against])
            np.add.at(count, one[against], 1)
        success.append(hits / np.maximum(count, 1))
    known = count > 0
    return fit_calibration(quality[known], np.mean(success, axis=0)[known])


def release(
    student: Student, recipe: Recipe, material: Material, path: Path, notes: Mapping[str, object]
) -> dict[str, float]:
    """Exports the student to path (.onnx) and writes its card beside it (.json)."""
    figures, calibration = examine(student, material)
    export_student(student, path)
    card = {
        "name": path.stem,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "calibration": {"raw": calibration.raw, "probability": calibration.probability},
        "held_out": figures,
        "recipe": recipe.model_dump(mode="json"),
        **notes,
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    return figures


def _unit(rows: F32) -> F32:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
