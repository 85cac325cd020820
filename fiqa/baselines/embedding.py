"""Quality that a recogniser tells without a label: the embedding's length, its spread, its uncertainty.

Inputs are (n, 3, 112, 112) RGB in [0, 1]; outputs (n,), higher is better.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks import IResNet
from .maps import MAP_VALUES, final_map, symmetric

MAGFACE_BN_EPSILON = 2e-5
PASSES = 100
KEPT = 0.5


class MagFace(nn.Module):
    """MagFace (Meng et al., CVPR 2021): the length of the embedding, trained to about 10 … 110.

    BGR pixels in [0, 1] without normalisation, as in the authors' inference; their batch norms have ε 2e-5.
    Not checked against the authors' weights.
    """

    verified: ClassVar[bool] = False

    def __init__(self, backbone: IResNet) -> None:
        super().__init__()
        self.features = backbone
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.eps = MAGFACE_BN_EPSILON

    def forward(self, x: Tensor) -> Tensor:
        length: Tensor = self.features(x.flip(1)).norm(dim=1)
        return length


def robustness(embeddings: Tensor) -> Tensor:
    """2·σ(−mean pairwise Euclidean distance) of embeddings (n, t, d), made unit here → (n,) in (0, 1].

    SER-FIQ, eq. 2, with the mean over the pairs as in the authors' code (the paper divides by t²/2); 1 where
    all agree.
    """
    passes = embeddings.shape[1]
    unit = F.normalize(embeddings.double(), dim=2)
    cosines = unit @ unit.transpose(1, 2)
    above = torch.triu(torch.ones(passes, passes, dtype=torch.bool, device=embeddings.device), 1)
    distances = (2 - 2 * cosines[:, above]).clamp_min(0).sqrt()
    return 2 * torch.sigmoid(-distances.mean(dim=1))


class SERFIQ(nn.Module):
    """SER-FIQ (Terhörst et al., CVPR 2020), on the same model: how well embeddings under dropout agree.

    `passes` masks drop half of what the last fully connected layer is given; as in the authors' code the
    batch norm behind that layer is left out. All faces get the same masks, so that a score depends neither
    on the batch nor on the order. The backbone's checkpoint is a plain recogniser's (symmetric RGB).
    Not checked: the authors' weights are for MXNet.
    """

    verified: ClassVar[bool] = False

    def __init__(self, backbone: IResNet, passes: int = PASSES, seed: int = 0) -> None:
        super().__init__()
        if passes < 2:
            raise ValueError(f"expected two passes or more, got {passes = }")
        self.backbone = backbone
        self._passes = passes
        self._seed = seed

    def masks(self) -> Tensor:
        """(passes, 512·7·7) of 0 and 1."""
        generator = torch.Generator().manual_seed(self._seed)
        return (torch.rand((self._passes, MAP_VALUES), generator=generator) < KEPT).float()

    def forward(self, x: Tensor) -> Tensor:
        maps = final_map(self.backbone, symmetric(x))
        masks = self.masks().to(maps) / KEPT
        return torch.cat([robustness(self.backbone.fc(row * masks)[None]) for row in maps]).float()


class UncertaintyModule(nn.Module):
    """PFE's head: feature map → log σ² of each of the embedding's dimensions.

    fc, BN, ReLU, fc, BN without parameters, then one scale and one shift for all, and log(1e-6 + exp ·).
    """

    def __init__(self, embedding_size: int = 512) -> None:
        super().__init__()
        self.fc1 = nn.Linear(MAP_VALUES, embedding_size, bias=False)
        self.bn1 = nn.BatchNorm1d(embedding_size, eps=1e-3)
        self.fc2 = nn.Linear(embedding_size, embedding_size, bias=False)
        self.bn2 = nn.BatchNorm1d(embedding_size, eps=1e-3, affine=False)
        self.scale = nn.Parameter(torch.tensor(1e-4))
        self.shift = nn.Parameter(torch.tensor(-7.0))

    def forward(self, maps: Tensor) -> Tensor:
        x: Tensor = self.bn2(self.fc2(F.relu(self.bn1(self.fc1(maps)))))
        return torch.log(1e-6 + torch.exp(self.scale * x + self.shift))


def certainty(log_variance: Tensor) -> Tensor:
    """1 / harmonic mean of σ² over the dimensions of log σ² (n, d) → (n,)."""
    return torch.exp(-log_variance).mean(dim=1)


class PFE(nn.Module):
    """Probabilistic Face Embeddings (Shi and Jain, ICCV 2019): how certain the embedding is.

    The head is the published one, in torch; the authors' recogniser is a 64-layer net for TensorFlow, here it
    is an IResNet. Not checked against the authors' weights, which do not fit this backbone.
    """

    verified: ClassVar[bool] = False

    def __init__(self, backbone: IResNet) -> None:
        super().__init__()
        self.backbone = backbone
        self.uncertainty = UncertaintyModule(backbone.embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        return certainty(self.uncertainty(final_map(self.backbone, symmetric(x))))
