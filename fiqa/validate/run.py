"""From a run's folder to the figures and the verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...stream.errors import NoFrames, SourceMissing
from ...stream.sinks.candidates import read_candidates
from ...stream.sinks.results import Results, read_results
from ...stream.types import U8
from ..teachers import Teacher
from .figures import Agreement, Recognition, Regret, agreement, recognition, regret
from .sample import Sample, draw, seen_together
from .verdict import Thresholds, Verdict, judge

EMBEDDING_BATCH = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """others: candidates looked at besides those kept. tracks: None for all. fmr: where the threshold is
    read off the run itself; threshold: the recogniser's own, before that. batch: faces a teacher takes."""

    others: int = 200
    tracks: int | None = None
    seed: int = 0
    fmr: float = 1e-3
    threshold: float | None = None
    batch: int = 4
    wanted: Thresholds = field(default_factory=Thresholds)


@dataclass(frozen=True, slots=True)
class Validation:
    """settings: of the teacher. student: the scorer's name in the run. chips: (n, 112, 112, 3) of the
    sample. candidates: how many there were in the run. recognition: or why it cannot be told."""

    results: Results
    plan: Plan
    settings: Mapping[str, Any]
    recogniser: str
    student: str
    candidates: int
    sample: Sample
    chips: U8
    teacher: NDArray[np.float64]
    agreement: Agreement
    regret: Regret | None
    recognition: Recognition | str
    verdict: Verdict


def validate_run(
    folder: Path,
    teacher: Teacher,
    recogniser: nn.Module,
    recogniser_file: Path,
    plan: Plan,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Validation:
    """Score a sample of the run's candidates anew and hold the run's choice against it.

    recogniser: RGB in [0, 1] → embeddings. tick: called with faces done and in all. Raises SourceMissing
    where the folder has no results or no candidates, NoFrames where nothing was scored.
    """
    several = sorted(path.parent for path in folder.glob("*/tracks.jsonl"))
    if several and not (folder / "tracks.jsonl").is_file():
        raise SourceMissing(f"{str(folder)!r} holds several sources: give one, such as {str(several[0])!r}")
    results, candidates = read_results(folder), read_candidates(folder)
    sample = draw(candidates.records, plan.others, plan.seed, plan.tracks)
    if not len(sample):
        raise NoFrames(f"{str(folder)!r}: the run scored no face, so there is nothing to validate")
    chips = candidates.chips(sample.rows.tolist())
    taught = _labels(teacher, chips, sample.names(), plan.batch, tick)
    agreed, lacking = agreement(sample, taught, plan.seed), regret(sample, taught, plan.seed)
    recognised = recognition(
        sample,
        _embeddings(recogniser, chips),
        seen_together(candidates.records),
        {track.track: track.identity for track in results.tracks},
        fmr=plan.fmr,
        threshold=plan.threshold,
        seed=plan.seed,
    )
    digest = hashlib.sha256(recogniser_file.read_bytes()).hexdigest()
    student = next((shot.model for shots in results.shots.values() for shot in shots), "")
    return Validation(
        results,
        plan,
        teacher.settings(),
        f"{recogniser_file.name}@{digest[:8]}",
        student,
        len(candidates.records),
        sample,
        chips,
        taught,
        agreed,
        lacking,
        recognised,
        judge(agreed, lacking, recognised, plan.wanted),
    )


def _labels(
    teacher: Teacher, chips: U8, names: list[str], batch: int, tick: Callable[[int, int], None]
) -> NDArray[np.float64]:
    scores: list[float] = []
    for first in range(0, len(chips), batch):
        part = slice(first, first + batch)
        scores += [row[0] for row in teacher.label(chips[part], names[part])]
        tick(len(scores), len(chips))
    return np.array(scores, np.float64)


def _embeddings(recogniser: nn.Module, chips: U8) -> NDArray[np.float32]:
    rows = []
    with torch.inference_mode():
        for first in range(0, len(chips), EMBEDDING_BATCH):
            part = torch.from_numpy(chips[first : first + EMBEDDING_BATCH]).permute(0, 3, 1, 2)
            rows.append(recogniser(part.float() / 255).numpy())
    return np.asarray(np.concatenate(rows), np.float32)
