"""The alignment perturbation of AI-KD (Babnik et al., IWBF 2024, arXiv 2404.09555)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

JITTER_PX: Final = 3.0
LANDMARKS: Final = 5


def draw_jitter(generator: np.random.Generator, jitter_px: float = JITTER_PX) -> NDArray[np.float64]:
    """(5, 2) uniform in [−jitter_px, jitter_px), px of the source image."""
    return (generator.random((LANDMARKS, 2)) * 2 - 1) * jitter_px


def jitter_landmarks(landmarks: ArrayLike, noise: ArrayLike) -> NDArray[np.float64]:
    """The landmarks a student's crop is aligned with: landmarks + noise, a new (…, 5, 2) float64 array.

    landmarks: (…, 5, 2) px of the source image. noise: the same shape, px, uniform in ±3 in the paper.
    Each coordinate of each point moves on its own, so the crop shifts, turns and scales a little.
    """
    points, offsets = np.asarray(landmarks, np.float64), np.asarray(noise, np.float64)
    if points.shape != offsets.shape or points.shape[-2:] != (LANDMARKS, 2):
        raise ValueError(f"expected landmarks and noise (…, 5, 2), got {points.shape = }, {offsets.shape = }")
    return points + offsets
