"""Other people's faces in the picture of one: made unrecognisable before it is cut out."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from .ports import Order, Picture
from .types import F32, U8

CELLS: Final = 4
"""A face keeps at most so many cells across its longer side: 16 colours, from which no network tells people
apart (tests hold this against the student's embedding)."""
MARGIN: Final = 0.25
"""Share of a box's width and height that is made unrecognisable around it: boxes end at chin and brow."""


class WithoutOthers:
    """A picture for cutting one face out of it. See Picture.

    own: (4,) box of that face; others: (m, 4) boxes of the other faces, both in px of the picture. In
    region() each other box, with MARGIN around it, is averaged in cells of a quarter of its longer side and
    blurred between them; what is left of it cannot be turned back. The ellipse in the own box is never
    touched, so where two faces touch, the own one wins.
    """

    __slots__ = ("_others", "_own", "_picture")

    def __init__(self, picture: Picture, own: F32, others: F32) -> None:
        self._picture, self._own = picture, own
        grown = np.stack([others[:, 2] - others[:, 0], others[:, 3] - others[:, 1]], 1) * MARGIN
        self._others = np.concatenate([others[:, :2] - grown, others[:, 2:] + grown], 1)

    @property
    def width(self) -> int:
        return self._picture.width

    @property
    def height(self) -> int:
        return self._picture.height

    def scaled(self, width: int, height: int, order: Order = "rgb") -> U8:
        """As the picture has it: nothing is cut out of it."""
        return self._picture.scaled(width, height, order)

    def luma(self, step: int) -> U8:
        """As the picture has it."""
        return self._picture.luma(step)

    def region(self, x0: int, y0: int, x1: int, y1: int) -> U8:
        """See Picture; others are unrecognisable."""
        pixels = self._picture.region(x0, y0, x1, y1)
        origin = np.array([x0, y0, x0, y0], np.float64)
        hidden: U8 | None = None
        for box in self._others - origin:
            if not np.isfinite(box).all():
                continue
            left, top = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
            right, bottom = min(math.ceil(box[2]), x1 - x0), min(math.ceil(box[3]), y1 - y0)
            if left >= right or top >= bottom:
                continue
            hidden = pixels.copy() if hidden is None else hidden
            cell = max(1, math.ceil(max(box[2] - box[0], box[3] - box[1]) / CELLS))
            hidden[top:bottom, left:right] = _coarse(hidden[top:bottom, left:right], cell)
        if hidden is None:
            return pixels
        own = self._own - origin
        y, x = np.ogrid[: y1 - y0, : x1 - x0]
        across = (2 * (x + 0.5) - own[0] - own[2]) / max(own[2] - own[0], 1e-6)
        down = (2 * (y + 0.5) - own[1] - own[3]) / max(own[3] - own[1], 1e-6)
        face = across**2 + down**2 <= 1
        hidden[face] = pixels[face]
        return hidden


def _coarse(patch: U8, cell: int) -> U8:
    """The patch averaged in cells of that many px; between their middles it is interpolated, so that no edges
    of cells disturb what looks at the own face."""
    height, width = patch.shape[:2]
    few = max(1, round(width / cell)), max(1, round(height / cell))
    small = cv2.resize(patch, few, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
