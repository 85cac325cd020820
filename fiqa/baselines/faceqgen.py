"""FaceQgen: how little a restoration to a perfect portrait changes a face."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class FaceQgen(nn.Module):
    """FaceQgen (Hernandez-Ortega et al., 2021, arXiv 2201.00770), for a generator of your own.

    x: (n, 3, h, w) RGB in [0, 1] → (n,), higher is better. generator: pixels in [−1, 1] → the restored face
    in the same range. Quality is −mean((restored − x)²) or, where a discriminator is given, the mean of what
    it says of (x, restored). Neither network nor weights are public, so nothing of this could be checked.
    """

    verified: ClassVar[bool] = False

    def __init__(self, generator: nn.Module, discriminator: nn.Module | None = None) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator

    def forward(self, x: Tensor) -> Tensor:
        pixels = (x - 0.5) / 0.5
        restored: Tensor = self.generator(pixels)
        if self.discriminator is None:
            return -(restored - pixels).pow(2).flatten(1).mean(dim=1)
        said: Tensor = self.discriminator(pixels, restored)
        return said.flatten(1).mean(dim=1)
