"""Hands as capsules: palm, fingers and forearm with the shading of cylinders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...stream.types import CHIP_PX, F32

EYES_PX = 35.2
"""Eye distance of a chip; a grown-up's is 63 mm, so a chip pixel is 1.8 mm of a face."""

Point = NDArray[np.float64]


def hand(generator: np.random.Generator) -> tuple[F32, F32]:
    """A hand before the face: cover (112, 112) in [0, 1] and shade (112, 112), about 1.

    Seen from its back or palm (that is not told apart), at any angle, fingers spread, bent or closed to a
    fist, nearer to the camera than the face and so up to 1.6 times its scale.
    """
    g = generator
    size = float(EYES_PX * g.uniform(0.85, 1.6))
    turn = float(g.uniform(0, 2 * np.pi))
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    reach = g.normal(0, 1, 2) * np.array([26.0, 30.0])
    knuckles = np.array([56.0, 66.0]) + reach
    wrist = knuckles - along * size * 1.35
    cover = np.zeros((CHIP_PX, CHIP_PX), np.float32)
    shade = np.ones((CHIP_PX, CHIP_PX), np.float32)
    elbow = wrist - (along + across * g.normal(0, 0.3)) * size * 4
    _capsule(cover, shade, wrist, elbow, size * 0.42, size * 0.55, 0.25)
    for side in (-0.33, 0.0, 0.33):
        _capsule(cover, shade, wrist, knuckles + across * side * size, size * 0.3, size * 0.27, 0.12)
    fist = g.random() < 0.25
    spread, bend = float(g.uniform(-0.02, 0.3)), float(g.normal(0, 0.25))
    lengths = (0.9, 1.1, 1.2, 1.0) if not fist else (0.35, 0.4, 0.4, 0.35)
    for number, share in zip((-1.5, -0.5, 0.5, 1.5), lengths, strict=True):
        base = knuckles + across * number * 0.26 * size
        length = size * share * float(g.uniform(0.75, 1.05))
        direction = along + across * (number * spread + g.normal(0, 0.04))
        middle = base + direction * length * 0.55
        tip = middle + (direction + across * bend) * length * 0.45
        _capsule(cover, shade, base, middle, size * 0.145, size * 0.13, 0.4)
        _capsule(cover, shade, middle, tip, size * 0.13, size * 0.105, 0.4)
    if g.random() < 0.7:
        side = float(g.choice([-1, 1]))
        root = wrist + along * size * 0.4 + across * side * size * 0.4
        tip = root + (along * g.uniform(0.3, 0.9) + across * side * g.uniform(0.2, 0.9)) * size
        _capsule(cover, shade, root, tip, size * 0.19, size * 0.13, 0.4)
    return cover, shade


def _capsule(cover: F32, shade: F32, a: Point, b: Point, start: float, end: float, depth: float) -> None:
    """Draws a tapering capsule from a to b over what is there; its rim is darker than its ridge by depth."""
    reach = max(start, end) + 1
    low = np.floor(np.minimum(a, b) - reach).astype(int).clip(0, CHIP_PX)
    high = np.ceil(np.maximum(a, b) + reach).astype(int).clip(0, CHIP_PX)
    if (high <= low).any():
        return
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
    length = float(((b - a) ** 2).sum()) or 1.0
    t = (((x - a[0]) * (b[0] - a[0]) + (y - a[1]) * (b[1] - a[1])) / length).clip(0, 1)
    away = np.hypot(x - a[0] - t * (b[0] - a[0]), y - a[1] - t * (b[1] - a[1]))
    radius = start + t * (end - start)
    alpha = (radius - away + 0.5).clip(0, 1)
    ridge = 1 - depth + depth * np.sqrt((1 - (away / radius) ** 2).clip(0, 1))
    part = slice(low[1], high[1]), slice(low[0], high[0])
    shade[part] = shade[part] * (1 - alpha) + ridge * alpha
    cover[part] = np.maximum(cover[part], alpha)
