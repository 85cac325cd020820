"""Training eDifFIQA, DifFIQA(R) and AI-KD students from labels: one loop, three schedules."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from ...stream.errors import ConfigError
from ..networks import Student, build_student
from .alignment import draw_jitter
from .centres import class_centres, normalise_labels, validation_rows
from .data import TrainingFaces, batches, batches_per_epoch, to_input
from .recipes import AIKDRecipe, DifFIQARRecipe, EDifFIQARecipe
from .run import Run, autocast
from .schedule import AveragedWeights, aikd_learning_rate, last_tensors, validation_steps
from .targets import aikd_loss, c3_target, ediffiqa_loss

LabelRecipe = EDifFIQARecipe | DifFIQARRecipe | AIKDRecipe
Progress = Callable[[int, int, float], None]
RECORD_EVERY = 10


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a student learns from: aligned to the faces by row.

    labels: (n,) float32, as the method wants them. teacher: (n, d) float32 embeddings of the aligned crops,
    None where the method has no use for them. centres: (n, d) of each face's class, None likewise.
    train, validation: rows.
    """

    faces: TrainingFaces
    labels: NDArray[np.float32]
    teacher: NDArray[np.float32] | None
    centres: NDArray[np.float32] | None
    train: NDArray[np.intp]
    validation: NDArray[np.intp]

    def digest(self) -> str:
        """Tells whether a run on disk learned from the same faces, labels and teacher."""
        parts = (self.labels, self.teacher, self.centres, self.train)
        content = b"".join(np.ascontiguousarray(part).tobytes() for part in parts if part is not None)
        return hashlib.sha256(self.faces.digest().encode() + content).hexdigest()


def prepare(recipe: LabelRecipe, faces: TrainingFaces, teacher: NDArray[np.floating] | None) -> Lesson:
    """Labels, centres and the split as the method defines them.

    teacher: (n, d) embeddings of all faces, not normalised; eDifFIQA and AI-KD need them. eDifFIQA: centres
    from raw labels, identities without one dropped, then min-max. DifFIQA(R): min-max. AI-KD: as they are.
    """
    if isinstance(recipe, DifFIQARRecipe):
        labels, rows, centres, teacher = normalise_labels(faces.labels), np.arange(len(faces)), None, None
    elif teacher is None or len(teacher) != len(faces):
        got = "none" if teacher is None else f"{len(teacher)}"
        raise ConfigError(f"expected a teacher's embedding for each of {len(faces)} faces, got {got}")
    elif isinstance(recipe, AIKDRecipe):
        labels, rows, centres = faces.labels, np.arange(len(faces)), None
    else:
        found = class_centres(
            faces.labels, teacher, faces.identities, recipe.high_quality_share, recipe.fewest_images
        )
        rows = np.flatnonzero(found.rows >= 0)
        if not len(rows):
            raise ConfigError(
                f"expected identities with {recipe.fewest_images} images among the best "
                f"{recipe.high_quality_share:.0%}, got none of {len(set(faces.identities.tolist()))}; "
                f"lower fewest_images or give more labelled faces"
            )
        labels = np.zeros(len(faces))
        labels[rows] = normalise_labels(faces.labels[rows])
        centres = found.centres[found.rows].astype(np.float32)
    held_out = rows[validation_rows(faces.labels[rows], recipe.validation_share)]
    train = np.setdiff1d(rows, held_out)
    if len(train) < 2:
        raise ConfigError(f"expected at least 2 faces to train on, got {len(train)}")
    embeddings = None if teacher is None else teacher.astype(np.float32)
    return Lesson(faces, labels.astype(np.float32), embeddings, centres, train, held_out)


def build_optimiser(recipe: LabelRecipe, student: Student) -> Optimizer:
    """Head and the backbone's last tensors, each with its own rate or momentum; the rest is frozen."""
    count = recipe.trained_tensors
    total = len(list(student.backbone.parameters()))
    backbone = last_tensors(student.backbone, total if count == "all" else count)
    head = list(student.head.parameters())
    if isinstance(recipe, AIKDRecipe):
        return SGD(
            [
                {"params": head, "momentum": recipe.head_momentum, "weight_decay": recipe.head_decay},
                {"params": backbone, "momentum": recipe.backbone_momentum},
            ],
            lr=recipe.rate,
        )
    return Adam([{"params": head, "lr": recipe.head_rate}, {"params": backbone, "lr": recipe.backbone_rate}])


def train_student(
    recipe: LabelRecipe,
    lesson: Lesson,
    folder: Path,
    student: Student | None = None,
    progress: Progress | None = None,
    stop_after: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains to the end of the recipe, or for `stop_after` more steps, or until `stop()` after one of them;
    resumes what the folder holds.

    student: the start, by default random weights drawn from the recipe's seed. Writes checkpoint.pt,
    curve.csv, curve.png and, after each validation that is the best so far, best.pth (a state dict).
    AI-KD validates and keeps the averaged weights, the others the current ones after each epoch.

    Where the published scripts err, the papers' intent is kept: the gradient's norm is that of the trained
    tensors (theirs counts frozen ones, whose gradients add up over the run); AI-KD's teacher stays as it was
    (theirs is the student itself) and its average lives on between validations (theirs starts anew).
    """
    torch.manual_seed(recipe.seed)
    student = build_student(recipe.architecture) if student is None else student
    if lesson.teacher is not None and lesson.teacher.shape[1] != student.backbone.embedding_size:
        raise ConfigError(
            f"expected teacher embeddings of the student's width {student.backbone.embedding_size}, "
            f"got {lesson.teacher.shape[1]}"
        )
    optimiser = build_optimiser(recipe, student)
    average = AveragedWeights(recipe.average_alpha) if isinstance(recipe, AIKDRecipe) else None
    run = Run(folder, recipe, lesson.digest(), student, optimiser, average)
    run.resume()
    total = steps_of(recipe, lesson)
    validated = _validated_steps(recipe, total // recipe.epochs)
    last = total if stop_after is None else min(total, run.step + stop_after)
    for rows in islice(_steps(recipe, lesson), run.step, last):
        loss = _step(recipe, lesson, run, student, rows, total)
        run.step += 1
        if run.step % RECORD_EVERY == 0 or run.step == total:
            run.record(training_loss=loss)
        if run.step in validated:
            _validate(recipe, lesson, run, student)
        stopped = stop()
        if run.step % recipe.checkpoint_every == 0 or run.step == last or stopped:
            run.save()
        if progress is not None:
            progress(run.step, total, loss)
        if stopped:
            break
    return run


def steps_of(recipe: LabelRecipe, lesson: Lesson) -> int:
    """Steps of a whole run."""
    return batches_per_epoch(len(lesson.train), recipe.batch_size) * recipe.epochs


def _validated_steps(recipe: LabelRecipe, per_epoch: int) -> set[int]:
    """After each epoch; in AI-KD at its own steps and at the end."""
    total = per_epoch * recipe.epochs
    if isinstance(recipe, AIKDRecipe):
        return {*validation_steps(total, recipe.pretrain, recipe.validate_every), total}
    return {per_epoch * (epoch + 1) for epoch in range(recipe.epochs)}


def _steps(recipe: LabelRecipe, lesson: Lesson) -> Iterator[NDArray[np.intp]]:
    for epoch in range(recipe.epochs):
        yield from batches(lesson.train, recipe.batch_size, recipe.seed, epoch)


def _step(
    recipe: LabelRecipe, lesson: Lesson, run: Run, student: Student, rows: NDArray[np.intp], total: int
) -> float:
    if isinstance(recipe, AIKDRecipe):
        rate = aikd_learning_rate(
            run.step, total, recipe.rate, recipe.pretrain, recipe.warmup, recipe.swa_rate,
            recipe.swa_updates, recipe.validate_every,
        )  # fmt: skip
        for group in run.optimiser.param_groups:
            group["lr"] = rate
    student.train()
    x = to_input(lesson.faces.chips(rows, _jitter(recipe, run.step, len(rows))))
    if recipe.autocast == "bfloat16":
        x = x.contiguous(memory_format=torch.channels_last)
    run.optimiser.zero_grad()
    with autocast(recipe):
        embedding, quality = student(x)
    loss = _loss(recipe, lesson, rows, embedding.float(), quality.float(), training=True)
    loss.backward()  # type: ignore[no-untyped-call]
    trained = [p for group in run.optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
    run.optimiser.step()
    return loss.item()


def _jitter(recipe: LabelRecipe, step: int, count: int) -> NDArray[np.float64] | None:
    if not isinstance(recipe, AIKDRecipe):
        return None
    generator = np.random.default_rng([recipe.seed, 1, step])
    return np.stack([draw_jitter(generator, recipe.jitter_px) for _ in range(count)])


def _loss(
    recipe: LabelRecipe,
    lesson: Lesson,
    rows: NDArray[np.intp],
    embedding: Tensor,
    quality: Tensor,
    training: bool,
) -> Tensor:
    labels = torch.from_numpy(lesson.labels[rows])
    if isinstance(recipe, DifFIQARRecipe):
        return F.l1_loss(quality, labels)
    teacher = torch.from_numpy(lesson.teacher[rows]) if lesson.teacher is not None else embedding.detach()
    if isinstance(recipe, AIKDRecipe):
        return aikd_loss(quality, labels, embedding, teacher, recipe.smooth_l1_beta)
    if training and lesson.centres is not None:
        labels = c3_target(labels, embedding, torch.from_numpy(lesson.centres[rows]), recipe.epsilon)
    return ediffiqa_loss(quality, labels, embedding, teacher, recipe.theta)


@torch.no_grad()
def _validate(recipe: LabelRecipe, lesson: Lesson, run: Run, student: Student) -> None:
    """The method's loss on aligned crops of held-out faces, with plain labels; keeps the best weights."""
    if run.average is not None:
        run.average.update(student)
        judged: nn.Module = copy.deepcopy(student)
        judged.load_state_dict(run.average.state)
    else:
        judged = student
    judged.eval()
    losses = []
    for start in range(0, len(lesson.validation), recipe.batch_size):
        rows = lesson.validation[start : start + recipe.batch_size]
        with autocast(recipe):
            embedding, quality = judged(to_input(lesson.faces.chips(rows)))
        loss = _loss(recipe, lesson, rows, embedding.float(), quality.float(), training=False)
        losses.append(loss.item() * len(rows))
    mean = sum(losses) / len(lesson.validation)
    run.record(validation_loss=mean)
    run.offer(mean, judged.state_dict())
