"""Pixels that are not square (television, many camera recorders): pictures stretched as players show them."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from av.video.stream import VideoStream

from ..types import U8
from .orientation import Rect

_SQUARE: Final = 0.01
"""So near to 1 is square: encoders make such numbers when they round sizes."""
_MOST: Final = 4.0


def pixel_aspect(stream: VideoStream) -> float:
    """Width of a stored pixel by its height, from the container or else the codec; 1 where it is unsaid,
    square within 1 %, or beyond 1:4 and 4:1, which no camera means."""
    told = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    aspect = float(told) if told else 1.0
    return aspect if abs(aspect - 1) > _SQUARE and 1 / _MOST <= aspect <= _MOST else 1.0


def shown_size(width: int, height: int, aspect: float) -> tuple[int, int]:
    """Of a stored picture once its pixels are square: one way is enlarged, so that no pixel is lost."""
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def stored_rect(rect: Rect, shown: tuple[int, int], stored: tuple[int, int]) -> Rect:
    """The stored pixels that a rect inside the shown picture is made of, and a neighbour on each side."""
    x0, x1 = _span(rect[0], rect[2], shown[0], stored[0])
    y0, y1 = _span(rect[1], rect[3], shown[1], stored[1])
    return x0, y0, x1, y1


def stretched(
    pixels: U8, origin: tuple[int, int], rect: Rect, shown: tuple[int, int], stored: tuple[int, int]
) -> U8:
    """A rect of the shown picture, (h, w, 3), bilinear from stored pixels that begin at origin."""
    x0, y0, x1, y1 = rect
    across, down = stored[0] / shown[0], stored[1] / shown[1]
    # Pixel centres lie half a pixel from the edge in both pictures.
    to_stored = np.array(
        [
            [across, 0, (x0 + 0.5) * across - 0.5 - origin[0]],
            [0, down, (y0 + 0.5) * down - 0.5 - origin[1]],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = x1 - x0, y1 - y0
    made = cv2.warpAffine(pixels, to_stored, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(made, np.uint8)


def _span(start: int, stop: int, shown: int, stored: int) -> tuple[int, int]:
    low, high = start * stored // shown, -(-stop * stored // shown)
    return max(low - 1, 0), min(high + 1, stored)
