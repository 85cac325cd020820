"""Pictures as files hold them."""

from __future__ import annotations

import cv2

from ..types import U8


def jpeg(rgb: U8, quality: int) -> bytes:
    """(h, w, 3) RGB as JPEG, quality 1–100.

    Colour is kept at full resolution: a face was cut at an odd place, and halving its colour once more would
    smear it.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _encoded(".jpg", rgb, options)


def png(rgb: U8) -> bytes:
    """(h, w, 3) RGB as PNG, lossless."""
    return _encoded(".png", rgb, [])


def _encoded(kind: str, rgb: U8, options: list[int]) -> bytes:
    done, data = cv2.imencode(kind, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"expected an image that encodes as {kind}, got {rgb.shape} {rgb.dtype}")
    return bytes(data)
