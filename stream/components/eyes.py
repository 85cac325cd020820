"""Eye patches: what the network that measures the opening of the lids looks at."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from ..types import F32, U8

EYE_PX: Final = 32
EYE_WIDTHS: Final = 2.2
"""Side of a patch in widths of the eye, corner to corner."""
CORNERS: Final = ((133, 33), (362, 263))
"""Vertices of the mesh: inner and outer corner of the eye on the image's left, then of the other."""


def eye_patches(picture: U8, points: F32, side_px: int = EYE_PX, widths: float = EYE_WIDTHS) -> U8:
    """(2, side_px, side_px, 3): each eye with its corners level, the inner one to the left.

    picture: (h, w, 3). points: (468, 2 or more) in pixel centres of it. The eye on the image's left is
    mirrored, so that one network serves both.
    """
    patches = np.empty((2, side_px, side_px, 3), np.uint8)
    middle = (side_px - 1) / 2
    for patch, (inner, outer), mirrored in zip(patches, CORNERS, (True, False), strict=True):
        along = (points[outer, :2] - points[inner, :2]).astype(np.float64)
        if mirrored:
            along = -along
        step = along * (widths / side_px)
        across = np.array([-step[1], step[0]])
        x, y = (points[inner, :2] + points[outer, :2]).astype(np.float64) / 2 - middle * (step + across)
        to_picture = np.array([[step[0], across[0], x], [step[1], across[1], y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cut = cv2.warpAffine(picture, to_picture, (side_px, side_px), flags=flags)
        patch[:] = cut[:, ::-1] if mirrored else cut
    return patches
