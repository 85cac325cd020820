"""Backbones with a quality head. Every student answers (embedding, quality) in one pass.

| name         | backbone        | keys                                            | parameters |
|--------------|-----------------|-------------------------------------------------|------------|
| ediffiqa-t   | MobileFaceNet   | base_model.*, mlp.l1/l2.*                       | 1.73 M     |
| ediffiqa-s   | IResNet-18      | base_model.*, mlp.l1/l2.*                       | 24.55 M    |
| ediffiqa-m   | IResNet-50      | base_model.*, mlp.l1/l2.*                       | 44.12 M    |
| ediffiqa-l   | IResNet-100     | base_model.*, mlp.l1/l2.*                       | 65.68 M    |
| aikd         | IResNet-100     | feature_extractor.*, quality_head.l1/l2.*       | 65.68 M    |
| diffiqa-r    | IResNet-100     | base.*, linear.*                                | 65.16 M    |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from ..methods import Architecture
from .iresnet import IResNet
from .mobilefacenet import MobileFaceNet

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
Backbone = IResNet | MobileFaceNet
EMBEDDING: Final = 512
"""Width of the published networks' embedding; a student of another teacher has that teacher's."""


class QualityMLP(nn.Module):
    """(n, width_in) → (n, 1): linear, GELU (the exact one), linear."""

    def __init__(self, width_in: int = 512, hidden: int = 1024) -> None:
        super().__init__()
        self.l1 = nn.Linear(width_in, hidden)
        self.l2 = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.l2(F.gelu(self.l1(x)))
        return y


class EDifFIQA(nn.Module):
    """eDifFIQA (Babnik et al., TBIOM 2024): x (n, 3, 112, 112) → embedding (n, d), quality (n,).

    x is RGB, (pixel/255 − .5)/.5. The embedding is the backbone's own output: of length 1 from
    MobileFaceNet, not normalised from IResNet. The quality is unbounded, higher is better.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.base_model = backbone
        self.mlp = QualityMLP(backbone.embedding_size)

    @property
    def backbone(self) -> Backbone:
        return self.base_model

    @property
    def head(self) -> nn.Module:
        return self.mlp

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding: Tensor = self.base_model(x)
        return embedding, self.mlp(embedding).squeeze(-1)


class AIKD(nn.Module):
    """AI-KD (Babnik et al., IWBF 2024, arXiv 2404.09555); shapes and ranges as in EDifFIQA."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.feature_extractor = backbone
        self.quality_head = QualityMLP(backbone.embedding_size)

    @property
    def backbone(self) -> Backbone:
        return self.feature_extractor

    @property
    def head(self) -> nn.Module:
        return self.quality_head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding: Tensor = self.feature_extractor(x)
        return embedding, self.quality_head(embedding).squeeze(-1)


class DifFIQAR(nn.Module):
    """DifFIQA(R) (Babnik et al., IJCB 2023, arXiv 2305.05768); shapes and ranges as in EDifFIQA."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.base = backbone
        self.linear = nn.Linear(backbone.embedding_size, 1)

    @property
    def backbone(self) -> Backbone:
        return self.base

    @property
    def head(self) -> nn.Module:
        return self.linear

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding: Tensor = self.base(x)
        return embedding, self.linear(embedding).squeeze(-1)


Student = EDifFIQA | AIKD | DifFIQAR


def build_student(architecture: Architecture, embedding_size: int = EMBEDDING) -> Student:
    """The network of that name with random weights."""
    match architecture:
        case "ediffiqa-t":
            return EDifFIQA(MobileFaceNet(embedding_size))
        case "ediffiqa-s":
            return EDifFIQA(IResNet(18, embedding_size))
        case "ediffiqa-m":
            return EDifFIQA(IResNet(50, embedding_size))
        case "ediffiqa-l":
            return EDifFIQA(IResNet(100, embedding_size))
        case "aikd":
            return AIKD(IResNet(100, embedding_size))
        case "diffiqa-r":
            return DifFIQAR(IResNet(100, embedding_size))
        case _:
            raise ValueError(f"expected one of {', '.join(ARCHITECTURES)}, got {architecture!r}")


def embedding_size_of(state: Mapping[str, Tensor]) -> int:
    """How wide the embedding is in the weights of a student or a backbone; EMBEDDING where they don't say.

    The last batch norm has it in both backbones: `features` in IResNet, `bn` in MobileFaceNet.
    """
    for prefix in ("", "base_model.", "feature_extractor.", "base."):
        for name in ("features.weight", "bn.weight"):
            if (scale := state.get(prefix + name)) is not None:
                return int(scale.numel())
    return EMBEDDING
