"""Baselines behind the pipeline's QualityScorer port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ...stream.errors import ModelInvalid
from ...stream.ports import Closing
from ...stream.types import F32, U8, Crop, Quality

BATCH = 16


class ChipScorer(Protocol):
    """Anything that scores chips: LightQNet, or a torch network by TorchBaseline."""

    def score(self, chips: U8) -> F32:
        """(n, 112, 112, 3) RGB → (n,), higher is better."""


class TorchBaseline:
    """A network (n, 3, 112, 112) RGB in [0, 1] → (n,) as a ChipScorer, in evaluation mode."""

    def __init__(self, network: nn.Module, batch: int = BATCH) -> None:
        self._network = network.requires_grad_(False).eval()
        self._batch = batch

    def score(self, chips: U8) -> F32:
        rows = [np.zeros(0, np.float32)]
        with torch.inference_mode():
            for first in range(0, len(chips), self._batch):
                part = torch.from_numpy(chips[first : first + self._batch]).permute(0, 3, 1, 2)
                rows.append(self._network(part.float() / 255).float().numpy())
        return np.concatenate(rows)


class BaselineScorer(Closing):
    """A baseline as a QualityScorer. name: goes into every Quality; verified: checked on real weights."""

    def __init__(self, chip_scorer: ChipScorer, *, name: str, verified: bool) -> None:
        self._chip_scorer: ChipScorer | None = chip_scorer
        self.name = name
        self.verified = verified

    def score(self, crops: Sequence[Crop]) -> list[Quality]:
        """One Quality a crop, in order; ModelInvalid for a score that is not a number."""
        if self._chip_scorer is None:
            raise ValueError(f"{self.name} is closed")
        if not crops:
            return []
        scores = self._chip_scorer.score(np.stack([crop.chip for crop in crops]))
        if scores.shape != (len(crops),) or not np.isfinite(scores).all():
            raise ModelInvalid(f"{self.name}: expected {len(crops)} finite scores, got {scores.shape}")
        return [Quality(float(value), self.name) for value in scores]

    def close(self) -> None:
        self._chip_scorer = None
