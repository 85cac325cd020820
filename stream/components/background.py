"""What is behind the head."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from ..types import U8
from .mapping import percent, sigmoid
from .mesh import MESH_PX, Face

_LEAST_PX: Final = 200
_OFIQ_EYES_PX: Final = 67.8
"""Eye distance in the picture on which OFIQ measures gradients."""


def background_uniformity(face: Face) -> float | None:
    """190·(1 − sigmoid(g; 10, 100)), g the mean length of the luma's gradient (Scharr) over the background
    (OFIQ BackgroundUniformity); None where less than 200 pixels of background are seen.

    OFIQ parses the picture into hair, clothes and background. Here the background is what lies above the
    mouth and outside an ellipse about the head with its hair, so long hair at the cheeks counts as
    background. Gradients are scaled to OFIQ's resolution.
    """
    mask = _background(face)
    if cv2.countNonZero(mask) < _LEAST_PX:
        return None
    luma = cv2.cvtColor(face.picture, cv2.COLOR_RGB2GRAY)
    across, down = cv2.Scharr(luma, cv2.CV_32F, 1, 0), cv2.Scharr(luma, cv2.CV_32F, 0, 1)
    steep = cv2.mean(cv2.magnitude(across, down), mask)[0] * face.apart_px / _OFIQ_EYES_PX
    return percent(190 * (1 - sigmoid(steep, 10, 100)))


def _background(face: Face) -> U8:
    """(192, 192) 255 where the background is seen."""
    seen = (cv2.cvtColor(face.picture, cv2.COLOR_RGB2GRAY) > 0).astype(np.uint8) * 255
    mask = cv2.erode(seen, np.ones((5, 5), np.uint8), borderValue=0)
    top, chin = face.points[10, :2], face.points[152, :2]
    middle = (top + chin) / 2 + 0.15 * (top - chin)
    half = 0.62 * face.distance(10, 152), 0.72 * face.distance(10, 152)
    cv2.ellipse(mask, (middle.tolist(), (2 * half[0], 2 * half[1]), 0.0), 0, -1)
    mask[int(np.clip(face.points[[61, 291], 1].mean(), 0, MESH_PX)) :] = 0
    return np.asarray(mask, np.uint8)
