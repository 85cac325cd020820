"""Recognition backbones with a learnt quality head.

Inputs are (n, 3, 112, 112) RGB in [0, 1]; outputs (n,), higher is better.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..networks import IResNet
from .maps import MAP_VALUES, final_map, symmetric


class CRFIQA(IResNet):
    """CR-FIQA (Boutros et al., CVPR 2023): certainty ratio regressed on the embedding.

    Keys as published: an IResNet-50 (S) or -100 (L) and `qs`. Not checked against the authors' weights.
    """

    verified: ClassVar[bool] = False

    def __init__(self, depth: int = 100, embedding_size: int = 512) -> None:
        super().__init__(depth, embedding_size)
        self.qs = nn.Linear(embedding_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        quality: Tensor = self.qs(super().forward(symmetric(x)))
        return quality.squeeze(1)


class PCNet(nn.Module):
    """PCNet (Xie, Byrne and Zisserman, BMVC 2020): confidence whose lower one of a pair predicts its cosine.

    The authors publish no code: a head of two layers (256, BN, ReLU, 1, sigmoid) on the feature map, as
    public re-implementations have it. Not checked against any weights of theirs.
    """

    verified: ClassVar[bool] = False

    def __init__(self, backbone: IResNet, hidden: int = 256) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(
            nn.Linear(MAP_VALUES, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.head(final_map(self.backbone, symmetric(x)))).squeeze(1)
