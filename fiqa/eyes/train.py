"""Training: absolute error, rare openings drawn as often as common ones, pictures spoilt as cameras do."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ...stream.components.eyes import EYE_PX, EYE_WIDTHS
from ...stream.types import U8
from ..occlusion.samples import camera
from ..recipe_files import read_toml
from .labels import PATCH_PX, PATCH_WIDTHS, Eyes
from .network import EyeHead

LOG = logging.getLogger(__name__)
EDGES = np.array([0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45])
CLOSED = 0.22
OPEN = 0.3
"""Openings below and above which the teacher is sure; between them eyes are half closed."""


class Recipe(BaseModel):
    """What configs/eyes.toml says. evenness: 1 draws every class of opening equally often, 0 as they come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folders: tuple[str, ...] = ("lfw-train", "glint-train")
    held_out: float = 0.1
    width: int = 12
    steps: int = 3000
    batch: int = 128
    rate: float = 2e-3
    weight_decay: float = 0.02
    evenness: float = 0.6
    seed: int = 0


def read_recipe(path: Path) -> Recipe:
    """The recipe of a TOML file; raises ConfigError with the path and what is wrong."""
    return read_toml(Recipe, path)


def framed(patch: U8, generator: np.random.Generator | None) -> U8:
    """(48, 48, 3) → (32, 32, 3): the head's patch, a little off where a generator is given."""
    scale = PATCH_PX / PATCH_WIDTHS * EYE_WIDTHS / EYE_PX
    turn, shift = 0.0, np.zeros(2)
    if generator is not None:
        scale *= float(np.exp(generator.normal(0, 0.06)))
        turn, shift = float(generator.normal(0, 0.06)), generator.normal(0, 1.2, 2)
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
    centre = (EYE_PX - 1) / 2
    matrix[:, 2] = (PATCH_PX - 1) / 2 + shift - matrix[:, :2] @ [centre, centre]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(patch, matrix, (EYE_PX, EYE_PX), flags=flags), np.uint8)


def chances(openings: NDArray[np.floating], evenness: float) -> NDArray[np.float64]:
    """Probability of drawing each eye, by how common its class of opening is."""
    classes = np.digitize(openings, EDGES)
    counts = np.bincount(classes, minlength=len(EDGES) + 1)
    weights = counts[classes].astype(np.float64) ** -evenness
    return np.asarray(weights / weights.sum())


def train(eyes: Eyes, recipe: Recipe) -> EyeHead:
    """The trained head; a minute or two."""
    torch.manual_seed(recipe.seed)
    generator = np.random.default_rng(recipe.seed)
    rows = np.flatnonzero(~eyes.held_out)
    p = chances(eyes.openings[rows], recipe.evenness)
    head = EyeHead(recipe.width)
    optimiser = torch.optim.AdamW(head.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, recipe.steps, pct_start=0.1)
    running = 0.0
    for step in range(recipe.steps):
        drawn = generator.choice(rows, recipe.batch, p=p)
        patches = np.stack([camera(framed(eyes.patches[i], generator), generator) for i in drawn])
        found = head(torch.from_numpy(patches))
        loss = (found - torch.from_numpy(eyes.openings[drawn]).float()).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        running += (loss.item() - running) * 0.02
        if step % 250 == 249:
            LOG.info("step %d of %d, error %.4f", step + 1, recipe.steps, running)
    return head.eval()


@torch.no_grad()
def evaluate(head: EyeHead, eyes: Eyes) -> dict[str, float]:
    """On people who were not trained on, against the teacher: mean absolute error, correlation, and the area
    under the curve between eyes it calls closed and open."""
    rows = np.flatnonzero(eyes.held_out)
    patches = np.stack([framed(eyes.patches[i], None) for i in rows])
    found, true = head(torch.from_numpy(patches)).numpy(), eyes.openings[rows]
    closed, opened = found[true < CLOSED], found[true > OPEN]
    return {
        "eyes": len(rows),
        "closed": len(closed),
        "error": float(np.abs(found - true).mean()),
        "correlation": float(np.corrcoef(found, true)[0, 1]),
        "auc": float((closed[:, None] < opened[None]).mean()) if len(closed) else math.nan,
    }
