"""What a camera sees, with what the detector and the tracker made of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import cv2
import numpy as np

from ...types import U8, UNCONFIRMED
from ..report import Look

BOUNDARY: Final = "frame"
PREVIEW_FPS: Final = 5.0
_WIDTH_PX = 640
_CONFIRMED = (90, 200, 80)
_UNCONFIRMED = (160, 160, 160)


def drawn(look: Look, width_px: int = _WIDTH_PX, *, labels: bool = True) -> bytes:
    """JPEG of the frame, at most width_px wide, with boxes and, as labels, track numbers and detection
    scores."""
    picture = look.frame.picture
    scale = min(1.0, width_px / picture.width)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    # the scaler may give an array that others hold too
    bgr: U8 = np.array(picture.scaled(*size, "bgr"), copy=True)
    for box, score, track in zip(
        look.found.boxes.tolist(), look.found.scores.tolist(), look.tracking.ids.tolist(), strict=True
    ):
        x0, y0, x1, y1 = (round(v * scale) for v in box)
        colour = _UNCONFIRMED if track == UNCONFIRMED else _CONFIRMED
        cv2.rectangle(bgr, (x0, y0), (x1, y1), colour, max(1, round(size[0] / 320)))
        if labels:
            _label(bgr, f"{score:.2f}" if track == UNCONFIRMED else f"{track}  {score:.2f}", (x0, y0), colour)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 75])
    if not done:
        raise ValueError(f"expected a picture that encodes as JPEG, got {bgr.shape}")
    return bytes(data)


def _label(bgr: U8, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Black on the box's colour, above its upper left corner and inside the picture."""
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    x = max(0, min(corner[0], bgr.shape[1] - width))
    y = max(height + below, corner[1])
    cv2.rectangle(bgr, (x, y - height - below), (x + width, y), colour, cv2.FILLED)
    cv2.putText(bgr, text, (x, y - below), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)


async def mjpeg(newest: Callable[[], Look | None], is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Parts of a multipart/x-mixed-replace answer: each new frame, at most PREVIEW_FPS of them a second.

    newest: may raise KeyError, which ends it, as is_over does.
    """
    shown: Look | None = None
    while not is_over():
        try:
            look = newest()
        except KeyError:
            return
        if look is not None and look is not shown:
            shown = look
            data = await asyncio.to_thread(drawn, look)
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            yield head.encode() + data + b"\r\n"
        await asyncio.sleep(1 / PREVIEW_FPS)
