"""Pictures small enough to lie inside the report."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A JPEG as a data URI, width × height px."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """The longest side of the best shot and of the others, px, and their JPEG quality."""

    best_px: int
    other_px: int
    quality: int

    @staticmethod
    def for_shots(count: int) -> Sizes:
        """Smaller the more there are: about 10 MB for hundreds of shots, under 50 MB for ten thousand."""
        if count <= 400:
            return Sizes(320, 240, 82)
        if count <= 1500:
            return Sizes(256, 160, 78)
        if count <= 5000:
            return Sizes(192, 112, 74)
        return Sizes(128, 80, 70)


def thumbnail(root: Path, name: str, longest_px: int, quality: int) -> Thumbnail | None:
    """root/name scaled down to longest_px; never up.

    None if it is not there any more, is no image, or is a link that leads out of root.
    """
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        return None
    try:
        data = path.read_bytes()
    except OSError:
        return None  # the user has removed it: the report shows the gap
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        return None
    height, width = image.shape[:2]
    scale = longest_px / max(height, width)
    if scale < 1:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(bytes(encoded)).decode()}", width, height)
