"""Training: binary cross-entropy on the map, absolute error on the shares, AdamW on one cosine."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional

from ...stream.components.regions import REGIONS
from ..checkpoints import read_checkpoint, write_checkpoint
from ..recipe_files import read_toml
from .network import OcclusionHead
from .occluders import KINDS, Kind
from .samples import Chips, sample

LOG = logging.getLogger(__name__)
SAVE_S = 60.0
SUSPECT = (0.3, 0.3, 0.15)
"""Shares of eyes, mouth and face, found on a chip that should be free, from which it is doubted."""


class Recipe(BaseModel):
    """What configs/occlusion.toml says. folders: of faces.csv, below the shared data. held_out: share of the
    people. free: probability that nothing covers a face. share_weight: of the error of the shares beside the
    map's loss. suspect_from: share of the steps after which chips that the head itself finds covered, by real
    hands and glasses that nobody labelled, are left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folders: tuple[str, ...] = ("lfw-train", "glint-train")
    held_out: float = 0.1
    kinds: tuple[Kind, ...] = KINDS
    free: float = 0.3
    width: int = 16
    steps: int = 3000
    batch: int = 64
    rate: float = 3e-3
    weight_decay: float = 0.02
    warm_up_steps: int = 200
    share_weight: float = 0.5
    suspect_from: float = 0.4
    seed: int = 0


def read_recipe(path: Path) -> Recipe:
    """The recipe of a TOML file; raises ConfigError with the path and what is wrong."""
    return read_toml(Recipe, path)


def batch_of(
    chips: Chips, rows: NDArray[np.intp], recipe: Recipe, step: int, *, held_out: bool
) -> tuple[Tensor, Tensor]:
    """The pictures (n, 112, 112, 3) and maps (n, 28, 28) of one step, drawn from the given rows; each step
    has its own seed."""
    generator = np.random.default_rng((recipe.seed, int(held_out), step))
    rows = generator.choice(rows, recipe.batch)
    surfaces = chips.surfaces[held_out]
    made = [sample(chips.chips[row], surfaces, generator, recipe.kinds, recipe.free) for row in rows]
    return torch.from_numpy(np.stack([m[0] for m in made])), torch.from_numpy(np.stack([m[1] for m in made]))


def loss_of(head: OcclusionHead, pictures: Tensor, maps: Tensor, share_weight: float) -> Tensor:
    """The face's cells count five times: that is where the shares come from."""
    logits = head.cover(pictures)
    weights = 1 + 4 * (head.regions[:, 2] > 0).float().view(1, *maps.shape[1:])
    mapped = functional.binary_cross_entropy_with_logits(logits, maps, weight=weights.expand_as(maps))
    shares = (head.shares(torch.sigmoid(logits)) - head.shares(maps)).abs().mean()
    return mapped + share_weight * shares


def train(chips: Chips, recipe: Recipe, checkpoint: Path, seconds: float = math.inf) -> OcclusionHead | None:
    """The trained head, or None if the time ran out first: call again to go on from the checkpoint."""
    torch.manual_seed(recipe.seed)
    head = OcclusionHead(recipe.width)
    head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(head.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
    first, rows = 0, chips.rows(held_out=False)
    if checkpoint.is_file():
        state = read_checkpoint(checkpoint)
        head.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first, rows = int(state["step"]), state["rows"].numpy()
    began = saved = time.monotonic()
    running = 0.0
    for step in range(first, recipe.steps):
        if step == round(recipe.suspect_from * recipe.steps):
            rows = unsuspected(head, chips, rows)
            LOG.info("step %d: %d chips left that look free", step, len(rows))
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * _schedule(step, recipe)
        head.train()
        loss = loss_of(head, *batch_of(chips, rows, recipe, step, held_out=False), recipe.share_weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), 2.0)
        optimiser.step()
        running += (loss.item() - running) * (0.02 if step > 50 else 0.2)
        now = time.monotonic()
        over = now - began > seconds
        if now - saved > SAVE_S or over or step + 1 == recipe.steps:
            saved = now
            state = {"model": head.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            write_checkpoint(checkpoint, {**state, "rows": torch.from_numpy(rows)})
            LOG.info("step %d of %d, loss %.4f, %.0f s", step + 1, recipe.steps, running, now - began)
        if over:
            return None
    return head.eval()


@torch.no_grad()
def unsuspected(head: OcclusionHead, chips: Chips, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those rows whose chips, as they are, look free: each share below SUSPECT."""
    head.eval()
    shares = [head(torch.from_numpy(chips.chips[rows[i : i + 256]])) for i in range(0, len(rows), 256)]
    return np.asarray(rows[(torch.cat(shares) < torch.tensor(SUSPECT)).all(1).numpy()])


def _schedule(step: int, recipe: Recipe) -> float:
    """A linear rise, then half a cosine to zero, as a share of the rate."""
    if step < recipe.warm_up_steps:
        return (step + 1) / recipe.warm_up_steps
    return 0.5 + 0.5 * math.cos(
        math.pi * (step - recipe.warm_up_steps) / (recipe.steps - recipe.warm_up_steps)
    )


@torch.no_grad()
def evaluate(
    head: OcclusionHead, chips: Chips, recipe: Recipe, batches: int = 16
) -> dict[str, dict[str, float]]:
    """On people who were not trained on, by kind of occluder ("free" for none): the mean absolute error of
    each share, and the mean true share. Held-out chips that look covered as they are take no part."""
    head.eval()
    result: dict[str, dict[str, float]] = {}
    rows = unsuspected(head, chips, chips.rows(held_out=True))
    for kind in (*KINDS, None):
        only = recipe.model_copy(
            update={"kinds": (kind or "hand",), "free": 0.0 if kind else 1.0, "seed": recipe.seed + 1}
        )
        got, want = [], []
        for step in range(batches):
            pictures, maps = batch_of(chips, rows, only, step, held_out=True)
            got.append(head(pictures))
            want.append(head.shares(maps))
        found, true = torch.cat(got), torch.cat(want)
        errors = (found - true).abs().mean(0).tolist()
        result[kind or "free"] = {
            **{f"{name}_error": round(error, 4) for name, error in zip(REGIONS, errors, strict=True)},
            **{name: round(value, 4) for name, value in zip(REGIONS, true.mean(0).tolist(), strict=True)},
        }
    return result
