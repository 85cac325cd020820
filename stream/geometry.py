"""Boxes and similarity transforms."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from .types import CHIP_PX, F32, U8

ARCFACE_POINTS: F32 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float32,
)
"""Where the five landmarks lie in a 112×112 chip (insightface's ArcFace alignment)."""


def similarity(source: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The similarity transform that takes source to target with the least squared error.

    source, target: (..., m, 2), m ≥ 2. Returns (..., 2, 3) float64, rotation and one scale, never
    a reflection (Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    1991, eq. 40–43). In the plane it has a closed form: with both sets centred, scale·rotation is the complex
    number Σ conj(s)·t / Σ |s|². Points that all coincide give a scale of 0.
    """
    s = source[..., 0].astype(np.float64) + 1j * source[..., 1].astype(np.float64)
    t = target[..., 0].astype(np.float64) + 1j * target[..., 1].astype(np.float64)
    s_mean, t_mean = s.mean(-1, keepdims=True), t.mean(-1, keepdims=True)
    spread = (np.abs(s - s_mean) ** 2).sum(-1)
    a = (np.conj(s - s_mean) * (t - t_mean)).sum(-1) / np.where(spread > 0, spread, 1.0)
    b = t_mean[..., 0] - a * s_mean[..., 0]
    return np.stack([np.stack([a.real, -a.imag, b.real], -1), np.stack([a.imag, a.real, b.imag], -1)], -2)


def warp_chip(image: U8, landmarks: F32) -> U8:
    """The evaluation warp: image (h, w, 3) → (112, 112, 3), bilinear, black outside."""
    matrix = similarity(landmarks, ARCFACE_POINTS)
    return np.asarray(
        cv2.warpAffine(image, matrix, (CHIP_PX, CHIP_PX), flags=cv2.INTER_LINEAR, borderValue=0), np.uint8
    )


def iou(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes a (n, 4) and b (m, 4), x0 y0 x1 y1 → (n, m); 0 for empty boxes."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    both = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    both = np.maximum(both, 0.0)
    shared = both[..., 0] * both[..., 1]
    size_a, size_b = np.maximum(a[:, 2:] - a[:, :2], 0.0), np.maximum(b[:, 2:] - b[:, :2], 0.0)
    union = (size_a[:, 0] * size_a[:, 1])[:, None] + size_b[:, 0] * size_b[:, 1] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
