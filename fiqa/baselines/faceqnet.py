"""FaceQnet's network."""

from __future__ import annotations

from typing import ClassVar, Final

import torch.nn.functional as F
from torch import Tensor, nn

INPUT_PX: Final = 224
STAGES: Final = ((64, 3), (128, 4), (256, 6), (512, 3))
BN_EPSILON: Final = 1e-3
"""Keras' default."""


class _Bottleneck(nn.Module):
    """1×1 (stride), 3×3, 1×1 to four times the width, each with BN, plus the input."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.residual = nn.Sequential(
            nn.Conv2d(width_in, width, 1, stride, bias=False),
            nn.BatchNorm2d(width, eps=BN_EPSILON),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width, eps=BN_EPSILON),
            nn.ReLU(),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out, eps=BN_EPSILON),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width_in != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, out, 1, stride, bias=False), nn.BatchNorm2d(out, eps=BN_EPSILON)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


class FaceQnet(nn.Module):
    """FaceQnet (Hernandez-Ortega et al., ICB 2019; v1 arXiv 2006.03298): likeness to an ICAO portrait.

    x: (n, 3, h, w) RGB in [0, 1], scaled to 224 px and fed as BGR 0 … 255 without a mean, as in the authors'
    script → (n,) clipped to [0, 1]. ResNet-50 of VGGFace2 with two fully connected layers. The authors give
    Keras weights for loose face crops, not for aligned chips; the hidden width is the paper's. Not checked.
    """

    verified: ClassVar[bool] = False

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64, eps=BN_EPSILON), nn.ReLU()
        )
        units: list[nn.Module] = []
        width_in = 64
        for stage, (width, count) in enumerate(STAGES):
            for i in range(count):
                units.append(_Bottleneck(width_in, width, 2 if stage and i == 0 else 1))
                width_in = 4 * width
        self.body = nn.Sequential(*units)
        self.head = nn.Sequential(nn.Linear(width_in, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, (INPUT_PX, INPUT_PX), mode="bilinear", align_corners=False)
        x = F.max_pool2d(self.stem(x.flip(1) * 255), 3, 2, ceil_mode=True)
        quality: Tensor = self.head(self.body(x).mean(dim=(2, 3)))
        return quality.squeeze(1).clamp(0, 1)
