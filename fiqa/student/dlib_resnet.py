"""dlib's face recognition ResNet (D. E. King, CC0): its file format and its network in torch.

The file is dlib's serialisation of the network, first layer first: each convolution and affine layer is its
name, a tensor header and raw little-endian float32. 29 convolutions in five levels of residual blocks, input
150×150 RGB, output 128-d, compared by Euclidean distance.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...stream.errors import ModelInvalid, SourceMissing, WeightsCorrupt
from ...stream.types import F32

WEIGHTS_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
INPUT_PX = 150
MEAN_RGB = (122.782, 117.001, 104.298)
LEVELS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
"""(width, blocks) of each level; every level but the first starts with a block of stride 2."""


@dataclass(frozen=True, slots=True)
class _Reader:
    data: bytes

    def integer(self, at: int) -> tuple[int, int]:
        """dlib's varint at an offset: a byte with sign (bit 7) and length, then little-endian bytes."""
        size = self.data[at] & 0x0F
        value = int.from_bytes(self.data[at + 1 : at + 1 + size], "little")
        return (-value if self.data[at] & 0x80 else value), at + 1 + size

    def tensor(self, at: int) -> F32:
        """Version, four dimensions, raw floats."""
        version, at = self.integer(at)
        if version != 2:
            raise ModelInvalid(f"expected a dlib tensor of version 2, got {version}")
        shape = []
        for _ in range(4):
            size, at = self.integer(at)
            shape.append(size)
        count = int(np.prod(shape))
        return np.frombuffer(self.data, "<f4", count, at).reshape(shape).astype(np.float32)


def read_dlib_tensors(path: Path, sha256: str = WEIGHTS_SHA256) -> list[tuple[str, F32]]:
    """(layer, parameters) of every convolution, affine and fully connected layer, first layer first."""
    if not path.is_file():
        raise SourceMissing(f"expected dlib's network at {path}: it is in the wheel face-recognition-models")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise WeightsCorrupt(f"expected SHA-256 {sha256} of {path}, got {found}")
    reader, at = _Reader(data), 0
    layers: list[tuple[str, F32]] = []
    marks = (b"con_4", b"affine_", b"fc_2")
    while True:
        places = [(data.find(mark, at), mark) for mark in marks]
        places = [(place, mark) for place, mark in places if place >= 0]
        if not places:
            return layers
        start, mark = min(places)
        start += len(mark)
        if mark == b"fc_2":  # outputs and inputs come before the tensor
            for _ in range(2):
                _, start = reader.integer(start)
        values = reader.tensor(start)
        layers.append((mark.decode(), values))
        at = start + values.nbytes


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut. dlib pads convolutions of stride 1 only, and adds tensors of
    different sizes as if the smaller one went on with zeros."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1 if stride == 1 else 0)
        self.conv2 = nn.Conv2d(width, width, 3, 1, padding=1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(functional.relu(self.conv1(x)))
        if self.stride == 2:
            x = functional.avg_pool2d(x, 2, 2)
        channels = y.shape[1] - x.shape[1]
        rows, columns = x.shape[2] - y.shape[2], x.shape[3] - y.shape[3]
        if channels:
            x = functional.pad(x, (0, 0, 0, 0, 0, channels))
        if rows or columns:
            y = functional.pad(y, (0, columns, 0, rows))
        return functional.relu(x + y)


class Trunk(nn.Module):
    """Normalised 150×150 RGB (n, 3, 150, 150) → feature map of the last level. Affine layers are folded in.

    levels: (width, blocks) a level, LEVELS for the whole network; fewer blocks leave the last ones out.
    """

    def __init__(self, levels: tuple[tuple[int, int], ...] = LEVELS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, 2)
        blocks: list[Block] = []
        width = 32
        for level, (outputs, count) in enumerate(levels):
            for index in range(count):
                blocks.append(Block(width, outputs, 2 if level and not index else 1))
                width = outputs
        self.blocks = nn.ModuleList(blocks)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.stem(x)), 3, 2)
        for block in self.blocks:
            x = block(x)
        return x


class DlibResNet(nn.Module):
    """(n, 3, 150, 150) RGB 0..255 → (n, 128), as dlib gives it (not of unit length)."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.fc = nn.Linear(256, 128, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.trunk((pixels - self.mean) / 256.0)
        return self.fc(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def load_dlib(path: Path) -> DlibResNet:
    """The network with dlib's weights, in evaluation mode."""
    layers = read_dlib_tensors(path)
    network = DlibResNet().eval()
    convolutions = [network.trunk.stem]
    for block in network.trunk.blocks:
        convolutions += [block.conv1, block.conv2]  # type: ignore[list-item]
    expected = ["con_4", "affine_"] * len(convolutions) + ["fc_2"]
    if [name for name, _ in layers] != expected:
        raise ModelInvalid(f"expected {len(expected)} layers of dlib's face recognition ResNet in {path}")
    with torch.no_grad():
        for index, convolution in enumerate(convolutions):
            values, affine = layers[2 * index][1].ravel(), layers[2 * index + 1][1].ravel()
            outputs = convolution.out_channels
            weight = torch.from_numpy(values[:-outputs].copy()).view_as(convolution.weight)
            gamma, beta = torch.from_numpy(affine[:outputs].copy()), torch.from_numpy(affine[outputs:].copy())
            convolution.weight.copy_(weight * gamma.view(-1, 1, 1, 1))
            convolution.bias.copy_(torch.from_numpy(values[-outputs:].copy()) * gamma + beta)  # type: ignore[union-attr]
        network.fc.weight.copy_(torch.from_numpy(layers[-1][1].reshape(256, 128).T.copy()))
    return network
