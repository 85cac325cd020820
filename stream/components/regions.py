"""Where eyes, mouth and face lie in an aligned chip."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..geometry import ARCFACE_POINTS
from ..types import CHIP_PX, F32

REGIONS: Final = ("eyes", "mouth", "face")


def chip_regions() -> F32:
    """(3, 112, 112) weights in [0, 1] of eyes, mouth and face, in the order of REGIONS.

    Ellipses about the ArcFace points, softened over one pixel. An eye reaches .37 eye distances to the sides
    and .24 up and down, which holds the lids; the mouth spans its corners and .31 up and down; the face goes
    from the brows to the chin, the part that ISO/IEC 29794-5 has in mind for face occlusion: a fringe or a
    hat above the brows does not count.
    """
    left, right, _, *corners = ARCFACE_POINTS
    apart = float(right[0] - left[0])
    eyes = np.maximum(*(_ellipse(eye, 0.37 * apart, 0.24 * apart) for eye in (left, right)))
    middle = (corners[0] + corners[1]) / 2
    mouth = _ellipse(middle, float(corners[1][0] - corners[0][0]) / 2 + 0.08 * apart, 0.31 * apart)
    face = _ellipse(np.array([56.0, 70.0]), 0.98 * apart, 1.22 * apart)
    brows = float(left[1]) - 0.42 * apart
    face *= np.clip(np.arange(CHIP_PX)[:, None] - brows + 0.5, 0, 1)
    return np.stack([eyes, mouth, face]).astype(np.float32)


def _ellipse(centre: np.ndarray, across: float, down: float) -> np.ndarray:
    """(112, 112) 1 inside, 0 outside, a ramp of one pixel between."""
    y, x = np.mgrid[:CHIP_PX, :CHIP_PX]
    radius = np.hypot((x - centre[0]) / across, (y - centre[1]) / down)
    return np.asarray(np.clip((1 - radius) * min(across, down) + 0.5, 0, 1))
