"""MobileFaceNet (Chen et al. 2018, arXiv 1804.07573) in the layout of eDifFIQA(T)'s checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution without bias, BN and, unless linear, PReLU."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        stride: int,
        padding: int,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)
        self.prelu = None if linear else nn.PReLU(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y if self.prelu is None else self.prelu(y)


class DepthWise(nn.Module):
    """Inverted bottleneck: 1×1 to `expand` channels, depthwise 3×3, 1×1 back without activation."""

    def __init__(self, c_in: int, c_out: int, expand: int, stride: int, residual: bool = False) -> None:
        super().__init__()
        self.conv = ConvBlock(c_in, expand, 1, 1, 0)
        self.conv_dw = ConvBlock(expand, expand, 3, stride, 1, groups=expand)
        self.project = ConvBlock(expand, c_out, 1, 1, 0, linear=True)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y


class Residual(nn.Module):
    """`units` inverted bottlenecks of stride 1, each added to its input; they lie in `model.i`."""

    def __init__(self, channels: int, units: int, expand: int) -> None:
        super().__init__()
        chain = (DepthWise(channels, channels, expand, 1, residual=True) for _ in range(units))
        self.model = nn.Sequential(*chain)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y


class MobileFaceNet(nn.Module):
    """x: (n, 3, 112, 112) float32 RGB, (pixel/255 − .5)/.5 → (n, embedding_size) of length 1."""

    def __init__(self, embedding_size: int = 512) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        self.conv1 = ConvBlock(3, 64, 3, 2, 1)
        self.conv2_dw = ConvBlock(64, 64, 3, 1, 1, groups=64)
        self.conv_23 = DepthWise(64, 64, 128, 2)
        self.conv_3 = Residual(64, 4, 128)
        self.conv_34 = DepthWise(64, 128, 256, 2)
        self.conv_4 = Residual(128, 6, 256)
        self.conv_45 = DepthWise(128, 128, 512, 2)
        self.conv_5 = Residual(128, 2, 256)
        self.conv_6_sep = ConvBlock(128, 512, 1, 1, 0)
        self.conv_6_dw = ConvBlock(512, 512, 7, 1, 0, groups=512, linear=True)
        self.linear = nn.Linear(512, embedding_size, bias=False)
        self.bn = nn.BatchNorm1d(embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_23(self.conv2_dw(self.conv1(x)))
        x = self.conv_5(self.conv_45(self.conv_4(self.conv_34(self.conv_3(x)))))
        x = self.conv_6_dw(self.conv_6_sep(x))
        embedding: Tensor = self.bn(self.linear(torch.flatten(x, 1)))
        unit: Tensor = embedding / embedding.norm(p=2, dim=1, keepdim=True)
        return unit
