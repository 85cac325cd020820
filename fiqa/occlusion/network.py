"""The head: a chip in, a map of cover inside, the shares of eyes, mouth and face out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...stream.components.regions import chip_regions
from .samples import MAP_PX


class _Separable(nn.Sequential):
    """3×3 of each channel, then 1×1 across them (Howard et al., MobileNets, 2017)."""

    def __init__(self, wide_in: int, wide_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(wide_in, wide_in, 3, stride, 1, groups=wide_in, bias=False),
            nn.BatchNorm2d(wide_in),
            nn.ReLU(),
            nn.Conv2d(wide_in, wide_out, 1, bias=False),
            nn.BatchNorm2d(wide_out),
            nn.ReLU(),
        )


class OcclusionHead(nn.Module):
    """Chips (n, 112, 112, 3) uint8 RGB → covered (n, 3) float32 in [0, 1]: shares of REGIONS.

    A small encoder to 7×7 and a decoder that adds its levels up to the 28×28 map; the shares are the map's
    means under the regions' weights, so the head needs no weights of its own for them.
    """

    regions: Tensor

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(
            nn.Conv2d(3, w, 3, 2, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU(), _Separable(w, 2 * w, 2)
        )
        self.fine = _Separable(2 * w, 2 * w)
        self.middle = nn.Sequential(_Separable(2 * w, 4 * w, 2), _Separable(4 * w, 4 * w))
        self.more = _Separable(4 * w, 4 * w)
        self.coarse = nn.Sequential(_Separable(4 * w, 6 * w, 2), _Separable(6 * w, 6 * w))
        self.last = _Separable(6 * w, 6 * w)
        self.up_coarse = nn.Conv2d(6 * w, 4 * w, 1)
        self.up_middle = nn.Sequential(_Separable(4 * w, 4 * w), nn.Conv2d(4 * w, 2 * w, 1))
        self.out = nn.Sequential(_Separable(2 * w, 2 * w), nn.Conv2d(2 * w, 1, 1))
        cell = 112 // MAP_PX
        weights = functional.avg_pool2d(torch.from_numpy(chip_regions()), cell).flatten(1)
        self.register_buffer(
            "regions", (weights / weights.sum(1, keepdim=True)).T.contiguous(), persistent=False
        )

    def cover(self, chips: Tensor) -> Tensor:
        """(n, 28, 28) logits of the map."""
        x = (chips.permute(0, 3, 1, 2).float() - 128.0) / 64.0
        fine = self.stem(x)
        fine = fine + self.fine(fine)
        middle = self.middle(fine)
        middle = middle + self.more(middle)
        coarse = self.coarse(middle)
        coarse = coarse + self.last(coarse)
        middle = middle + functional.interpolate(self.up_coarse(coarse), scale_factor=2.0, mode="nearest")
        fine = fine + functional.interpolate(self.up_middle(middle), scale_factor=2.0, mode="nearest")
        logits: Tensor = self.out(fine)[:, 0]
        return logits

    def shares(self, cover: Tensor) -> Tensor:
        """(n, 28, 28) cover in [0, 1] → (n, 3)."""
        return cover.flatten(1) @ self.regions

    def forward(self, chips: Tensor) -> Tensor:
        return self.shares(torch.sigmoid(self.cover(chips)))
