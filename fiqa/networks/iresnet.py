"""IResNet-18/50/100, the backbone of most published face recognisers (ArcFace, CosFace and their kin).

Parameter names and their order are those of the published checkpoints: training schedules that say
"the last 100 tensors" count in this order.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

BLOCKS: Final = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
"""Residual blocks in each of the four stages, by depth."""

WIDTHS: Final = (64, 128, 256, 512)
FINAL_CELLS: Final = 7 * 7  # a 112 px chip after four halvings


class IBasicBlock(nn.Module):
    """BN, conv 3×3, BN, PReLU, conv 3×3 (stride), BN, plus the input (by 1×1 conv, BN if shapes differ)."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in, eps=1e-5)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width_out, eps=1e-5)
        self.prelu = nn.PReLU(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width_out, eps=1e-5)
        self.downsample: nn.Module | None = None
        if stride != 1 or width_in != width_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(width_out, eps=1e-5),
            )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(self.bn1(x))
        y = self.bn3(self.conv2(self.prelu(self.bn2(y))))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """x: (n, 3, 112, 112) float32 RGB, (pixel/255 − .5)/.5 → (n, embedding_size), not normalised.

    depth: 18, 34, 50 or 100. The last batch norm (`features`) keeps its weight at 1.
    """

    def __init__(self, depth: int, embedding_size: int = 512) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"expected a depth of {sorted(BLOCKS)}, got {depth = }")
        self.embedding_size = embedding_size
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0], eps=1e-5)
        self.prelu = nn.PReLU(WIDTHS[0])
        widths_in = (WIDTHS[0], *WIDTHS[:-1])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                *(IBasicBlock(w_in if i == 0 else w_out, w_out, 2 if i == 0 else 1) for i in range(blocks))
            )
            for w_in, w_out, blocks in zip(widths_in, WIDTHS, BLOCKS[depth], strict=True)
        )
        self.bn2 = nn.BatchNorm2d(WIDTHS[-1], eps=1e-5)
        self.dropout = nn.Dropout(p=0.0)
        self.fc = nn.Linear(WIDTHS[-1] * FINAL_CELLS, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size, eps=1e-5)
        self.features.weight.requires_grad = False
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embedding: Tensor = self.features(self.fc(self.dropout(torch.flatten(self.bn2(x), 1))))
        return embedding
