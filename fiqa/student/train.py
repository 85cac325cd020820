"""The training loop of the student: seeded, resumable, with averaged weights and a log of every hundred
steps.
"""

from __future__ import annotations

import csv
import math
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...stream.types import F32
from . import losses
from .dataset import Versions
from .network import Student
from .recipe import Training
from .resample import OFFSET_X, OFFSET_Y, SCALE, interpolation_matrix

GROUP = 4
"""Chips of one person in a batch: two versions each of two sources, or four of one."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Everything the loop reads, row for row.

    rows: the chips to train on. maps: (n, 8, 8, 128) bfloat16 as uint16 and means: (n, 96) float32, what the
    frozen blocks make of each chip (see stages.freeze); None to run them at each step. labels, weights: (n,).
    teacher: (n, 128) unit, what the embedding should be.
    recognisers: per recogniser (n, d) unit embeddings. eyes_px: (n,).
    """

    versions: Versions
    rows: NDArray[np.intp]
    maps: NDArray[np.uint16] | None
    means: F32 | None
    labels: F32
    weights: F32
    teacher: F32
    recognisers: tuple[F32, ...]
    eyes_px: F32


def batches(versions: Versions, rows: NDArray[np.intp], groups: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Endless (groups·4,) rows: people drawn by the square root of their number of sources."""
    generator = np.random.default_rng(seed)
    order = rows[np.lexsort((versions.source[rows], versions.identity[rows]))]
    by_person = np.split(order, np.flatnonzero(np.diff(versions.identity[order])) + 1)
    by_source = [np.split(own, np.flatnonzero(np.diff(versions.source[own])) + 1) for own in by_person]
    odds = np.sqrt([len(sources) for sources in by_source])
    odds /= odds.sum()
    while True:
        batch = []
        for person in generator.choice(len(by_source), groups, replace=False, p=odds):
            sources = by_source[person]
            if len(sources) == 1:
                batch += generator.choice(sources[0], GROUP, replace=False).tolist()
            else:
                for source in generator.choice(len(sources), 2, replace=False):
                    batch += generator.choice(sources[source], 2, replace=False).tolist()
        yield np.array(batch)


def similarity_scale(
    embeddings: F32, lesson_rows: NDArray[np.intp], versions: Versions
) -> tuple[float, float]:
    """Mean and deviation of strangers' similarities among clean chips."""
    clean = lesson_rows[versions.version[lesson_rows] == 0][::7]
    similarity = embeddings[clean] @ embeddings[clean].T
    strangers = similarity[versions.identity[clean][:, None] != versions.identity[clean][None, :]]
    return float(strangers.mean()), float(strangers.std())


class Averaged:
    """Exponential moving average of a network's weights (Polyak); buffers are copied."""

    def __init__(self, network: nn.Module, keep: float) -> None:
        self.keep = keep
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: nn.Module, step: int) -> None:
        keep = min(self.keep, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value.detach(), 1 - keep)
            else:
                self.state[name].copy_(value)


class Trainer:
    """One student in training. network: with its starting weights. out: folder of checkpoint.pt and
    log.csv.
    """

    def __init__(self, network: Student, lesson: Lesson, settings: Training, out: Path) -> None:
        torch.manual_seed(settings.seed)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.lesson, self.settings, self.out = lesson, settings, out
        self.pair_scale = nn.Parameter(torch.tensor(1.0))
        self.pair_shift = nn.Parameter(torch.tensor(0.0))
        head = [*network.l1.parameters(), *network.l2.parameters(), *network.fc.parameters()]
        trunk = [*network.trunk.blocks[settings.frozen :].parameters()]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": trunk, "lr": settings.trunk_rate},
                {"params": head, "lr": settings.head_rate},
                {"params": [self.pair_scale, self.pair_shift], "lr": settings.head_rate, "weight_decay": 0.0},
            ],
            weight_decay=settings.weight_decay,
        )
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.steps = math.ceil(settings.epochs * len(lesson.rows) / (settings.groups * GROUP))
        self.step = 0
        self.averaged = Averaged(network, settings.average)
        self.scales = [similarity_scale(e, lesson.rows, lesson.versions) for e in lesson.recognisers]
        out.mkdir(parents=True, exist_ok=True)
        if (out / "checkpoint.pt").exists():
            self._resume()

    def run(self, until: float = math.inf) -> None:
        """Trains to the last step, or to the monotonic time `until` in seconds; leaves a checkpoint either
        way.
        """
        ready: queue.Queue[tuple[NDArray[np.intp], NDArray[Any]]] = queue.Queue(4)
        stop = threading.Event()
        table = self.lesson.versions.chips if self.lesson.maps is None else self.lesson.maps

        def load() -> None:
            for rows in batches(
                self.lesson.versions, self.lesson.rows, self.settings.groups, self.settings.seed + self.step
            ):
                while not stop.is_set():
                    try:
                        ready.put((rows, np.asarray(table[rows])), timeout=0.5)
                        break
                    except queue.Full:
                        continue
                if stop.is_set():
                    return

        loader = threading.Thread(target=load, daemon=True)
        loader.start()
        totals: dict[str, float] = {}
        started, first = time.monotonic(), self.step
        try:
            while self.step < self.steps and time.monotonic() < until:
                for name, value in self._learn(*ready.get()).items():
                    totals[name] = totals.get(name, 0.0) + value / 50
                if self.step % 50 == 0:
                    pace = (time.monotonic() - started) / (self.step - first)
                    self._log({"step": self.step, "seconds_per_step": pace, **totals})
                    totals = {}
                if self.step % 100 == 0:
                    self._save()
        finally:
            stop.set()
            loader.join()
            self._save()

    def _learn(self, rows: NDArray[np.intp], inputs: NDArray[Any]) -> dict[str, float]:
        settings = self.settings
        share = self.step / self.steps
        warm = min(1.0, (self.step + 1) / settings.warm_up_steps)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * warm * (0.5 + 0.5 * math.cos(math.pi * share))
        quality, embedding = self._forward(inputs, rows)
        parts = self._losses(quality, embedding, rows)
        total = sum(parts.values(), torch.zeros(()))
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        self.averaged.update(self.network, self.step)
        return {name: float(value.detach()) for name, value in parts.items()}

    def _forward(self, inputs: NDArray[Any], rows: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        network, frozen = self.network.train(), self.settings.frozen
        with torch.autocast("cpu", torch.bfloat16):
            if self.lesson.maps is not None and self.lesson.means is not None:
                x = torch.from_numpy(inputs).view(torch.bfloat16).permute(0, 3, 1, 2)
                means = [torch.from_numpy(self.lesson.means[rows])]
            else:
                generator = np.random.default_rng((self.settings.seed, self.step))
                pixels = mirrored_at_random(torch.from_numpy(inputs), generator)
                reframe(network, generator, self.settings.jitter)
                with torch.set_grad_enabled(frozen == 0):
                    x, means = network.body(pixels, frozen)
            features = network.tail(x, means, frozen)
        quality, embedding = network.join([features], torch.from_numpy(self.lesson.eyes_px[rows]))
        return quality, embedding

    def _losses(self, quality: Tensor, embedding: Tensor, rows: NDArray[np.intp]) -> dict[str, Tensor]:
        lesson, settings = self.lesson, self.settings
        label = torch.from_numpy(lesson.labels[rows])
        identity = torch.from_numpy(lesson.versions.identity[rows])
        source = torch.from_numpy(lesson.versions.source[rows])
        parts = {"label": losses.label_loss(quality, label, torch.from_numpy(lesson.weights[rows]))}
        if settings.ranking:
            parts["ranking"] = settings.ranking * losses.ranking_loss(quality, label, identity)
        standard = torch.zeros(len(rows), len(rows))
        for embeddings, (mean, deviation) in zip(lesson.recognisers, self.scales, strict=True):
            own = torch.from_numpy(embeddings[rows].astype(np.float32))
            standard += (own @ own.T - mean) / deviation / len(lesson.recognisers)
        if settings.pairs:
            parts["pairs"] = settings.pairs * losses.pair_loss(
                quality, standard / 2 - 1.5, identity, source, self.pair_scale, self.pair_shift
            )
        if settings.teacher:
            teacher = torch.from_numpy(lesson.teacher[rows].astype(np.float32))
            parts["teacher"] = settings.teacher * losses.teacher_loss(embedding, teacher)
        if settings.relation:
            parts["relation"] = settings.relation * losses.relation_loss(embedding, standard * 0.11, source)
        return parts

    def _log(self, row: dict[str, float]) -> None:
        path = self.out / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow({name: f"{value:.5g}" for name, value in row.items()})

    def _save(self) -> None:
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state,
            "optimiser": self.optimiser.state_dict(),
            "pair": [float(self.pair_scale), float(self.pair_shift)],
        }
        partial = self.out / "checkpoint.part"
        torch.save(state, partial)
        partial.replace(self.out / "checkpoint.pt")

    def _resume(self) -> None:
        state = torch.load(self.out / "checkpoint.pt", weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged.state = state["averaged"]
        self.optimiser.load_state_dict(state["optimiser"])
        with torch.no_grad():
            self.pair_scale.fill_(state["pair"][0])
            self.pair_shift.fill_(state["pair"][1])
        self.step = state["step"]


def mirrored_at_random(chips: Tensor, generator: np.random.Generator) -> Tensor:
    """(n, 112, 112, 3) uint8 → (n, 3, 112, 112) float32, half of them mirrored."""
    pixels = chips.permute(0, 3, 1, 2).float()
    turned = torch.from_numpy(generator.random(len(pixels)) < 0.5)
    return torch.where(turned[:, None, None, None], pixels.flip(3), pixels)


def reframe(network: Student, generator: np.random.Generator, jitter: float) -> None:
    """Moves and scales the framing of the next batch by up to `jitter` of the chip; 0 restores it."""
    size, chip = network.chip.rows.shape
    zoom = size / 150
    for name, offset in (("rows", OFFSET_Y), ("columns", OFFSET_X)):
        scale = SCALE * (1 + generator.uniform(-jitter, jitter))
        middle = offset + SCALE * chip / 2 + generator.uniform(-jitter, jitter) * SCALE * chip
        matrix = interpolation_matrix(chip, size, scale * zoom, (middle - scale * chip / 2) * zoom)
        setattr(network.chip, name, matrix if name == "rows" else matrix.T)


def averaged_network(trainer: Trainer) -> Student:
    """The student with averaged weights, framing restored, in evaluation mode."""
    reframe(trainer.network, np.random.default_rng(0), 0.0)
    trainer.network.load_state_dict(trainer.averaged.state)
    student: Student = trainer.network.eval()
    return student
