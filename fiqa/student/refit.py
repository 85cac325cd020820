"""The stages that fit what stands on the finished trunk, on the chips of `prepare` and on made-up tracks.

tracks   shared data → the tracks' chips (embed them as the others, with --data)
head     shipped student → the same with another quality head, and its card
readout  shipped student → the same with the embedding read out of all levels; quality stays bit for bit
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ...stream.errors import SourceMissing
from ...stream.types import F32, U8
from ..faces import read_faces
from .dataset import Versions, read_versions
from .export import export_student
from .footage import FOOTAGE, build_tracks
from .head import HeadLesson, fit_head, head_labels, head_of, merge_heads, shares_of
from .labels import outcome
from .network import Student
from .readout import fit_readout, unit_rows, with_readout
from .recipe import Recipe
from .stages import Material, examine, read_material


def make_tracks(recipe: Recipe, shared: Path, data: Path, out: Path) -> None:
    """Writes the tracks' chips; `data` has what prepare wrote."""
    tables = [read_faces(shared / "data" / name) for name in recipe.data.folders]
    build_tracks(tables, read_versions(data), out)


def level_means(student: Student, chips: U8, batch: int = 64) -> F32:
    """(n, f) what the head sees of each chip."""
    rows = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for begin in range(0, len(chips), batch):
            pixels = torch.from_numpy(np.array(chips[begin : begin + batch])).permute(0, 3, 1, 2).float()
            rows.append(student.features(pixels)[1].float().numpy())
    return np.concatenate(rows)


def refit(recipe: Recipe, student: Student, data: Path, tracks: Path) -> Student:
    """The student with a quality head fitted anew; held-out people are left out."""
    material, footage = read_material(recipe, data), read_material(recipe, tracks)
    lesson = _lesson(recipe, material, footage, student, (data, tracks))
    settings = recipe.head
    fitted = [fit_head(lesson, settings, settings.seed + number) for number in range(settings.heads)]
    heads = [head_of(student), *fitted]
    return merge_heads(student, heads, shares_of(heads, lesson.features[lesson.rows], settings.kept))


def read_out(recipe: Recipe, student: Student, data: Path, tracks: Path) -> Student:
    """The student with its embedding read out of all levels; held-out people are left out."""
    settings = recipe.readout
    material, footage = read_material(recipe, data), read_material(recipe, tracks)
    both = _joined(material.versions, footage.versions)
    seen = (both.version <= settings.strongest) | (both.version == FOOTAGE)
    held = np.isin(both.identity, np.unique(material.versions.identity[material.held]))
    features = np.concatenate([level_means(student, m.versions.chips) for m in (material, footage)])
    undamaged = both.version == 0
    source = np.flatnonzero(undamaged)[both.source]
    teachers = {}
    for name in settings.shares:
        tables = [m.embeddings[name].astype(np.float32).mean(axis=0) for m in (material, footage)]
        table = unit_rows(np.concatenate(tables))
        table = unit_rows(table - table[undamaged].mean(axis=0))
        share = settings.clean_share
        teachers[name] = unit_rows(share * table[source] + (1 - share) * table)
    with torch.inference_mode():
        inputs = torch.from_numpy(features if student.wide else features[:, -student.trunk.width :])
        own = unit_rows(student.fc(inputs).numpy())
    weight, bias = fit_readout(features, teachers, own, np.flatnonzero(seen & ~held), settings)
    return with_readout(student, weight, bias)


def release_embedding(student: Student, recipe: Recipe, material: Material, path: Path) -> None:
    """Exports a student of unchanged quality over the one at path (.onnx).

    Of its card only what the embedding changes is written anew; `verification` is left out until fiqa.linking
    has measured it. A bound on the scores of the old weights (fiqa.bound) bounds these too."""
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    export_student(student, path)
    card = json.loads(path.with_suffix(".json").read_text())
    card.pop("verification", None)
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    figures, _ = examine(student, material)
    card["held_out"] |= {name: value for name, value in figures.items() if name.startswith("student")}
    card["recipe"]["readout"] = recipe.readout.model_dump(mode="json")
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    bound = path.with_name(f"{path.stem}-bound.json")
    if bound.is_file() and (facts := json.loads(bound.read_text()))["scorer_sha256"] == before:
        bound.write_text(json.dumps(facts | {"scorer_sha256": card["sha256"]}, indent=1) + "\n")


def _lesson(
    recipe: Recipe, material: Material, footage: Material, student: Student, folders: tuple[Path, Path]
) -> HeadLesson:
    both = _joined(material.versions, footage.versions)
    tables: Mapping[str, F32] = {
        name: np.concatenate([material.embeddings[name], footage.embeddings[name]], axis=1).astype(np.float32)
        for name in recipe.head.shares
    }
    results = {name: outcome(table[0], table[1], both) for name, table in tables.items()}
    peer = np.concatenate([_scores(folder) for folder in folders])
    labels, weights = head_labels(results, peer, recipe.head)
    held = np.unique(material.versions.identity[material.held])
    return HeadLesson(
        both,
        np.flatnonzero(~np.isin(both.identity, held)),
        np.concatenate([level_means(student, m.versions.chips) for m in (material, footage)]),
        labels,
        weights,
        [table[0] for table in tables.values()],
    )


def _joined(first: Versions, second: Versions) -> Versions:
    """Both tables, without the chips."""
    names = ("source", "version", "identity", "eyes_px")
    columns = [np.concatenate([getattr(first, name), getattr(second, name)]) for name in names]
    return Versions(np.zeros((0, *first.chips.shape[1:]), np.uint8), *columns)


def _scores(folder: Path) -> F32:
    path = folder / "lightqnet.npy"
    if not path.is_file():
        raise SourceMissing(f"expected LightQNet's scores at {path}: run the embed stage first")
    return np.asarray(np.load(path), np.float32)
