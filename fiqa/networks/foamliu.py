"""The 128-d MobileFaceNet of foamliu/MobileFaceNet (Apache-2.0), a recogniser for FaceQAN and DifFIQA.

Its published state dict and nothing else of it: names are those of the file.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

STAGES: Final = (  # expansion, width, units, stride of the first unit
    (2, 64, 5, 2),
    (4, 128, 1, 2),
    (2, 128, 6, 1),
    (4, 128, 1, 2),
    (2, 128, 2, 1),
)


def _conv_bn_relu6(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """1×1 to `expansion` times the width, depthwise 3×3, 1×1 down; added to the input where shapes agree."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        self.residual = stride == 1 and c_in == c_out
        self.conv = nn.Sequential(
            _conv_bn_relu6(c_in, hidden, 1),
            _conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class DepthwiseSeparable(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.depthwise(x)))
        return torch.relu(self.bn2(self.pointwise(x)))


class GlobalDepthwise(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.depthwise(x))
        return y


class FoamliuMobileFaceNet(nn.Module):
    """x: (n, 3, 112, 112) RGB/255 less ImageNet's mean, over its deviation → (n, 128), not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv_bn_relu6(3, 64, 3, 2)
        self.dw_conv = DepthwiseSeparable(64)
        units: list[nn.Module] = []
        width = 64
        for expansion, c_out, count, stride in STAGES:
            for i in range(count):
                units.append(InvertedResidual(width, c_out, stride if i == 0 else 1, expansion))
                width = c_out
        self.features = nn.Sequential(*units)
        self.conv2 = _conv_bn_relu6(width, 512, 1)
        self.gdconv = GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(self.dw_conv(self.conv1(x)))
        embedding: Tensor = self.bn(self.conv3(self.gdconv(self.conv2(x))))
        return torch.flatten(embedding, 1)
