"""Lids, mouth and expression."""

from __future__ import annotations

import math
from typing import Final

from ..types import F32
from .mapping import sigmoid
from .mesh import Face

_INNER_LIPS: Final = ((82, 87), (13, 14), (312, 317))
_CORNERS: Final = (61, 291)
_TURNED_AWAY: Final = 0.6


def eyes_open(face: Face, openings: F32) -> float:
    """100·sigmoid(x; .24, .025), x the smaller of the two eyes' openings, each in widths of the eye.

    As OFIQ EyesOpen (the smaller maximal distance of the lids), but OFIQ divides by the eye-to-chin height,
    which shrinks when the head goes down, and its sigmoid (.02, .01) belongs to landmarks that close with the
    lids; the mesh's stay open, so a network of its own looks at the lids. An eye that is less than .6 times
    as wide as the other is turned away and does not count.
    """
    left, right = face.distance(33, 133), face.distance(362, 263)
    seen = [
        float(opening)
        for opening, width, other in zip(openings, (left, right), (right, left), strict=True)
        if width >= _TURNED_AWAY * other
    ]
    return 100 * sigmoid(min(seen), 0.24, 0.025)


def mouth_closed(face: Face) -> float:
    """100·(1 − sigmoid(x; .2, .06)), x the largest distance of the inner lips over the eye-to-chin height
    (OFIQ MouthClosed)."""
    return 100 * (1 - sigmoid(_mouth_opening(face), 0.2, 0.06))


def expression_neutrality(face: Face) -> float:
    """100·e^(−½(a² + b² + c²)): a = opening of the mouth /.07, b = its width beyond .82 eye distances /.1, c
    = lift of its corners over the lips' middle beyond .01 /.03, the first and last in eye-to-chin heights.

    Ours: OFIQ asks two networks. The scales are about the spread of LFW faces, most of which smile; a frown
    or raised brows are not seen.
    """
    left, right = _CORNERS
    opening = _mouth_opening(face) / 0.07
    width = max(face.distance(left, right) / face.apart_px - 0.82, 0) / 0.1
    y = face.points[:, 1]
    raised = float(y[13] + y[14] - y[left] - y[right]) / 2
    lift = max(raised / face.height_px - 0.01, 0) / 0.03
    return 100 * math.exp(-0.5 * (opening**2 + width**2 + lift**2))


def _mouth_opening(face: Face) -> float:
    return max(face.distance(upper, lower) for upper, lower in _INNER_LIPS) / face.height_px
