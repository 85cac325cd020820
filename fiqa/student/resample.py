"""The fixed step from an ArcFace chip (112×112) to the chip dlib's network was trained on (150×150).

Both are similarity-aligned, so one similarity without rotation joins them. Written as two matrix products
(rows, then columns, bilinear weights, edge pixels repeated beyond the chip): the same standard nodes in every
runtime.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SCALE = 1.57
"""dlib px per ArcFace px. The landmarks of lfw-train alone would say 1.51; 1.57 verifies best on its
people.
"""
OFFSET_X, OFFSET_Y = -13.68, -37.43
"""Where the ArcFace chip's pixel (0, 0) lies in dlib's chip, px."""


def interpolation_matrix(inputs: int, outputs: int, scale: float, offset: float) -> Tensor:
    """(outputs, inputs) bilinear weights: output pixel o reads input position (o − offset) / scale."""
    position = ((torch.arange(outputs, dtype=torch.float64) - offset) / scale).clamp(0, inputs - 1)
    low = position.floor().clamp(max=inputs - 2)
    weight = position - low
    matrix = torch.zeros(outputs, inputs, dtype=torch.float64)
    rows = torch.arange(outputs)
    matrix[rows, low.long()] += 1 - weight
    matrix[rows, low.long() + 1] += weight
    return matrix.float()


class DlibChip(nn.Module):
    """(n, c, 112, 112) → (n, c, size, size) in dlib's framing; size 150 is dlib's own."""

    rows: Tensor
    columns: Tensor

    def __init__(self, size: int = 150, chip: int = 112) -> None:
        super().__init__()
        zoom = size / 150
        self.register_buffer(
            "rows", interpolation_matrix(chip, size, SCALE * zoom, OFFSET_Y * zoom), persistent=False
        )
        self.register_buffer(
            "columns", interpolation_matrix(chip, size, SCALE * zoom, OFFSET_X * zoom).T, persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ x @ self.columns
