"""The head: an eye patch in, the opening of its lids out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIDDLE, SPREAD = 0.33, 0.1
"""Of the openings of ordinary faces: the network learns what is left."""


def _step(wide_in: int, wide_out: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(wide_in, wide_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(wide_out),
        nn.ReLU(),
    ]


class EyeHead(nn.Module):
    """Patches (n, 32, 32, 3) uint8 RGB, inner corner to the left → opening (n,) in widths of the eye."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        w = width
        self.body = nn.Sequential(
            *_step(3, w, 2), *_step(w, 2 * w, 1), *_step(2 * w, 3 * w, 2), *_step(3 * w, 4 * w, 2)
        )
        self.inner = nn.Linear(4 * w * 16, 32)
        self.out = nn.Linear(32, 1)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.body((patches.permute(0, 3, 1, 2).float() - 128.0) / 64.0)
        raw: Tensor = self.out(torch.relu(self.inner(x.flatten(1))))[:, 0]
        return raw * SPREAD + MIDDLE
