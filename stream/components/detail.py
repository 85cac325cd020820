"""Sharpness, motion blur and traces of compression."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from ..types import F32, U8, Crop
from .mapping import sigmoid

_FACE: Final = slice(32, 108), slice(20, 92)
_WINDOW_PX: Final = 160
_SECOND: Final = (
    np.array([[0, 0, 0], [1, -2, 1], [0, 0, 0]], np.float32),
    np.array([[0, 1, 0], [0, -2, 0], [0, 1, 0]], np.float32),
    np.array([[1, 0, 0], [0, -2, 0], [0, 0, 1]], np.float32),
    np.array([[0, 0, 1], [0, -2, 0], [1, 0, 0]], np.float32),
)
_USUAL: Final = (0.693, 0.820, 1.250, 1.237)
"""Second differences along x, y and the diagonals over their mean: median of 150 LFW faces."""


def sharpness(luma: U8) -> float:
    """100·sigmoid(x; 1.6, .4), x = mean |luma − 3×3 mean of luma| over the face of the chip, in grey levels
    at a spread of the face's luma of 40.

    The mean difference is one of the features that OFIQ Sharpness feeds to a random forest (as focus measure:
    Pertuz, Puig and Garcia, 2013). Divided by the spread, darkness is not taken for blur. LFW faces have
    x = 3.2, blurred with sigma 2 px at 42 px between the eyes 1.2. Noise raises it.
    """
    levels = luma[_FACE].astype(np.float32)
    fine = cv2.mean(cv2.absdiff(levels, cv2.blur(levels, (3, 3))))[0]
    spread = float(cv2.meanStdDev(levels)[1][0, 0])
    return 100 * sigmoid(fine * 40 / max(spread, 8.0), 1.6, 0.4)


def motion_blur_prevention(luma: U8) -> float:
    """100·sigmoid(a; .66, .05), a the smallest over the largest of four directional sharpnesses: the mean
    absolute second differences of luma along x, y and both diagonals over the face of the chip, each over its
    usual share.

    Ours: the standard's sharpness does not tell motion from defocus. Motion blurs one direction only, defocus
    all alike: LFW faces have a = .88 (5 to 95 %: .72–.95) however much they are defocused, moved by 5 px at
    42 px between the eyes .5 (x, y) and .65 (diagonals).
    """
    part = luma[_FACE].astype(np.float32)
    fine = [
        cv2.norm(cv2.filter2D(part, -1, kernel)[1:-1, 1:-1], cv2.NORM_L1) / usual
        for kernel, usual in zip(_SECOND, _USUAL, strict=True)
    ]
    return 100 * sigmoid(min(fine) / max(*fine, 1e-6), 0.66, 0.05)


def compression_artifacts(crop: Crop) -> float | None:
    """100·(1 − sigmoid(b; 1.5, .12)), b the mean absolute step of luma across the lines of the frame's 8×8
    grid over that at the other lines, in the middle of the portrait; None for a portrait of less than 24 px.

    After Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG compressed images", 2002
    (its blockiness). OFIQ predicts structural similarity with a network. JPEG and Motion JPEG show from
    quality 60 down; H.264 and its heirs smooth their blocks, so they show only at the worst rates, and a
    picture that was scaled after compression shows nothing.
    """
    if crop.portrait is None or min(crop.portrait.shape[:2]) < 24:
        return None
    height, width = crop.portrait.shape[:2]
    x0, y0 = max(0, (width - _WINDOW_PX) // 2), max(0, (height - _WINDOW_PX) // 2)
    window = crop.portrait[y0 : y0 + _WINDOW_PX, x0 : x0 + _WINDOW_PX]
    luma = cv2.cvtColor(window, cv2.COLOR_RGB2GRAY)
    across = cv2.reduce(cv2.absdiff(luma[:, 1:], luma[:, :-1]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[0]
    down = cv2.reduce(cv2.absdiff(luma[1:], luma[:-1]), 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[:, 0]
    left, top = crop.portrait_origin
    blocks = (_step(across, left + x0) + _step(down, top + y0)) / 2
    return 100 * (1 - sigmoid(blocks, 1.5, 0.12))


def _step(steps: F32, origin: int) -> float:
    """Mean at the grid's lines over the mean elsewhere; steps[i] lies before pixel origin + i + 1."""
    grid = steps[-(origin + 1) % 8 :: 8]
    on, total = float(grid.sum()), float(steps.sum())
    return on / len(grid) / max((total - on) / (len(steps) - len(grid)), 0.25)
