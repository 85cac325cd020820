"""What is behind the head."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from ..types import U8
from .mapping import percent, sigmoid
from .mesh import MESH_PX, Face

_SIDE_PX: Final = MESH_PX // 2
_ERODE: Final = np.ones((3, 3), np.uint8)
_LEAST_PX: Final = 50
_OFIQ_EYES_PX: Final = 67.8
"""Eye distance in the picture on which OFIQ measures gradients."""


def background_uniformity(face: Face) -> float | None:
    """190·(1 − sigmoid(g; 10, 100)), g the mean length of the luma's gradient (Scharr) over the background
    (OFIQ BackgroundUniformity); None where hardly any background is seen.

    OFIQ parses the picture into hair, clothes and background. Here the background is what lies above the
    mouth and outside an ellipse about the head with its hair, so long hair at the cheeks counts as
    background. Gradients are scaled to OFIQ's resolution.
    """
    grey = cv2.cvtColor(face.picture, cv2.COLOR_RGB2GRAY)
    luma = cv2.resize(grey, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    mask = _background(face, luma)
    if cv2.countNonZero(mask) < _LEAST_PX:
        return None
    across, down = cv2.Scharr(luma, cv2.CV_32F, 1, 0), cv2.Scharr(luma, cv2.CV_32F, 0, 1)
    steep = cv2.mean(cv2.magnitude(across, down), mask)[0] * (face.apart_px / 2) / _OFIQ_EYES_PX
    return percent(190 * (1 - sigmoid(steep, 10, 100)))


def _background(face: Face, luma: U8) -> U8:
    """(96, 96) 255 where the background is seen; luma: of the picture at that size."""
    _, seen = cv2.threshold(luma, 0, 255, cv2.THRESH_BINARY)
    mask = cv2.erode(seen, _ERODE, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    top, chin = face.points[10, :2].tolist(), face.points[152, :2].tolist()
    middle = [(0.65 * a + 0.35 * b) / 2 for a, b in zip(top, chin, strict=True)]
    height = face.distance(10, 152) / 2
    cv2.ellipse(mask, (middle, (1.24 * height, 1.44 * height), 0.0), 0, -1)
    mouth = float(face.points[61, 1] + face.points[291, 1]) / 4
    mask[min(max(int(mouth), 0), _SIDE_PX) :] = 0
    return np.asarray(mask, np.uint8)
