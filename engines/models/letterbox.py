"""From a frame to a detector's input and back.

Two conventions meet here. Networks and boxes measure from the edge of the picture: a picture w pixels wide
reaches from 0 to w, and scaling multiplies. Landmarks name pixel centres (that of the first pixel is 0), so
they are half a pixel less than the same place measured from the edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ...stream.ports import Order, Picture
from ...stream.types import F32, U8

STRIDE = 32
_SQUEEZE_LIMIT = 0.05


@dataclass(frozen=True, slots=True)
class FaceSized:
    """A network input just large enough for the smallest face that is wanted.

    face_px: shorter side of that face in the frame, > 0. It is given FINDABLE_PX of the input, and the long
    side is held within SIDES_PX: the work of a detector grows with the square of it.
    """

    face_px: float

    FINDABLE_PX: ClassVar[float] = 16.0
    SIDES_PX: ClassVar[tuple[int, int]] = (320, 640)

    def long_side(self, frame_width: int, frame_height: int) -> int:
        """Of the input for such a frame, px."""
        wanted = max(frame_width, frame_height) * self.FINDABLE_PX / max(self.face_px, self.FINDABLE_PX)
        return round(min(max(wanted, self.SIDES_PX[0]), self.SIDES_PX[1]))


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a frame lies in a network's input. All in pixels.

    frame_width, frame_height: of the decoded frame. content_width, content_height: of the scaled frame.
    left, top: of the content in the input. width, height: of the input; black around the content.
    """

    frame_width: int
    frame_height: int
    content_width: int
    content_height: int
    left: int
    top: int
    width: int
    height: int

    @staticmethod
    def fit(frame_width: int, frame_height: int, long_side: int) -> Letterbox:
        """A frame in an input whose sides are multiples of 32 and whose long side is long_side at most.

        The frame is never enlarged. Padding goes right and below; but where the nearest multiple of 32 would
        squeeze a side by 5 % at most, the frame fills the input and nothing is padded (1920×1080 → 640×352).
        """
        shrink = min(1.0, long_side / max(frame_width, frame_height))
        content, padded = zip(
            *(_side(size, size * shrink) for size in (frame_width, frame_height)), strict=True
        )
        return Letterbox(frame_width, frame_height, content[0], content[1], 0, 0, padded[0], padded[1])

    @staticmethod
    def centred(frame_width: int, frame_height: int, side: int) -> Letterbox:
        """A frame in the middle of a square input, enlarged if it is smaller, its aspect kept."""
        scale = side / max(frame_width, frame_height)
        width, height = (max(1, round(size * scale)) for size in (frame_width, frame_height))
        return Letterbox(
            frame_width, frame_height, width, height, (side - width) // 2, (side - height) // 2, side, side
        )

    def pixels(self, picture: Picture, order: Order) -> U8:
        """(1, height, width, 3) uint8: the network's input. The full frame is never converted."""
        content = picture.scaled(self.content_width, self.content_height, order)
        if content.shape[:2] == (self.height, self.width):
            return content[None]
        padded = np.zeros((1, self.height, self.width, 3), np.uint8)
        rows = slice(self.top, self.top + self.content_height)
        padded[0, rows, self.left : self.left + self.content_width] = content
        return padded

    def boxes(self, boxes: npt.NDArray[np.floating]) -> F32:
        """(n, 4) edges in the input → (n, 4) edges in the frame."""
        return (((boxes.reshape(-1, 2, 2)) - self._origin) * self._scale).reshape(-1, 4).astype(np.float32)

    def points(self, points: npt.NDArray[np.floating]) -> F32:
        """(n, k, 2) measured from the input's edge → (n, k, 2) pixel centres of the frame."""
        return ((points - self._origin) * self._scale - 0.5).astype(np.float32)

    @property
    def _origin(self) -> npt.NDArray[np.float64]:
        return np.array([self.left, self.top], np.float64)

    @property
    def _scale(self) -> npt.NDArray[np.float64]:
        return np.array(
            [self.frame_width / self.content_width, self.frame_height / self.content_height], np.float64
        )


def _side(frame: int, wanted: float) -> tuple[int, int]:
    """Content and padded size of one side."""
    nearest = max(STRIDE, round(wanted / STRIDE) * STRIDE)
    if nearest <= frame and abs(nearest / wanted - 1) <= _SQUEEZE_LIMIT:
        return nearest, nearest
    content = max(1, round(wanted))
    return content, _padded(content)


def _padded(size: int) -> int:
    """The next multiple of 32 for small sizes, coarser for large ones: few shapes, so few compilations."""
    step = STRIDE
    while size > 8 * step:
        step *= 2
    return -(-size // step) * step
