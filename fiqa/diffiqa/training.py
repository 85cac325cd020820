"""Training the UNet of DifFIQA to undo degradation (IJCB 2023, sec. 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from ..distill.data import TrainingFaces, to_input
from ..distill.recipes import DiffusionRecipe
from ..distill.run import Run, autocast
from ..distill.schedule import AveragedWeights
from .degradation import training_pair
from .diffusion import Diffusion
from .unet import UNet

Progress = Callable[[int, int, float], None]
RECORD_EVERY = 10


def train_diffusion(
    recipe: DiffusionRecipe,
    faces: TrainingFaces,
    folder: Path,
    progress: Progress | None = None,
    stop_after: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains to the recipe's last step, or for `stop_after` more, or until `stop()` after one of them;
    resumes what the folder holds.

    checkpoint.pt has the layout of the reference ({step, model, opt, ema, scaler}); scoring uses `model`.
    Every step draws its images, degradations, times and noise from (seed, step).
    """
    torch.manual_seed(recipe.seed)
    diffusion = Diffusion(UNet(recipe.dim, recipe.multipliers), recipe.timesteps)
    if recipe.autocast == "bfloat16":
        diffusion.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = Adam(diffusion.model.parameters(), lr=recipe.rate, betas=(recipe.beta1, recipe.beta2))
    average = AveragedWeights(recipe.average_decay)
    run = Run(folder, recipe, faces.digest(), diffusion, optimiser, average)
    run.resume()
    last = recipe.steps if stop_after is None else min(recipe.steps, run.step + stop_after)
    while run.step < last:
        loss = _step(recipe, run, diffusion, faces)
        run.step += 1
        if run.step % RECORD_EVERY == 0 or run.step == recipe.steps:
            run.record(training_loss=loss)
        if run.step % recipe.average_every == 0:
            average.update(diffusion)
        stopped = stop()
        if run.step % recipe.checkpoint_every == 0 or run.step == last or stopped:
            run.save()
        if progress is not None:
            progress(run.step, recipe.steps, loss)
        if stopped:
            break
    return run


def _step(recipe: DiffusionRecipe, run: Run, diffusion: Diffusion, faces: TrainingFaces) -> float:
    diffusion.train()
    run.optimiser.zero_grad()
    total = 0.0
    for part in range(recipe.accumulate):
        x, x_lq, t, noise = _batch(recipe, run.step * recipe.accumulate + part, faces)
        if recipe.autocast == "bfloat16":
            x = x.contiguous(memory_format=torch.channels_last)
        with autocast(recipe):
            loss = diffusion.loss(x, x_lq, t, noise) / recipe.accumulate
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    run.optimiser.step()
    return total


def _batch(
    recipe: DiffusionRecipe, index: int, faces: TrainingFaces
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch number `index` of the run: every face once before any comes twice."""
    generator = np.random.default_rng([recipe.seed, 2, index])
    per_pass = max(1, len(faces) // recipe.batch_size)
    order = np.random.default_rng([recipe.seed, 3, index // per_pass]).permutation(len(faces))
    start = index % per_pass * recipe.batch_size
    rows = order[start : start + recipe.batch_size]
    pairs = [training_pair(chip, generator) for chip in faces.chips(rows)]
    x, x_lq = (to_input(np.stack(side)) for side in zip(*pairs, strict=True))
    t = torch.from_numpy(generator.integers(0, recipe.trained_times, len(rows)))
    noise = torch.from_numpy(generator.standard_normal(x.shape, np.float32))
    return x, x_lq, t, noise
