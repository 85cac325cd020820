"""Upright pictures: the eight ways a stored picture may have to be turned or mirrored, as numpy views."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

Scalar = TypeVar("Scalar", bound=np.generic)
Rect = tuple[int, int, int, int]
_SMALL_PX = 16


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pixels become upright: first the axes are exchanged, then the result is mirrored."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) across the transposition; the same both ways."""
        return (height, width) if self.transpose else (width, height)

    def upright(self, stored: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """A view of stored pixels (h, w, …), upright."""
        view = stored.swapaxes(0, 1) if self.transpose else stored
        if self.mirror_y:
            view = view[::-1]
        return view[:, ::-1] if self.mirror_x else view

    def stored_rect(self, rect: Rect, width: int, height: int) -> Rect:
        """The stored pixels behind a half-open rect x0 y0 x1 y1 of the upright picture of width × height."""
        x0, y0, x1, y1 = rect
        if self.mirror_x:
            x0, x1 = width - x1, width - x0
        if self.mirror_y:
            y0, y1 = height - y1, height - y0
        return (y0, x0, y1, x1) if self.transpose else (x0, y0, x1, y1)


UPRIGHT = Orientation()

# EXIF 2.32, tag 0x0112: where the stored row 0 and column 0 belong.
_EXIF = {
    2: Orientation(mirror_x=True),
    3: Orientation(mirror_x=True, mirror_y=True),
    4: Orientation(mirror_y=True),
    5: Orientation(transpose=True),
    6: Orientation(transpose=True, mirror_x=True),
    7: Orientation(transpose=True, mirror_x=True, mirror_y=True),
    8: Orientation(transpose=True, mirror_y=True),
}


def from_matrix(matrix: bytes | memoryview) -> Orientation:
    """FFmpeg's display matrix, nine int32: (x', y') = (a·x + c·y, b·x + d·y), a b at 0 1 and c d at 3 4.

    Turned to the nearest quarter; a matrix that is not invertible leaves the picture as it is.
    """
    a, b, _, c, d, *_ = (int(v) for v in struct.unpack_from("=9i", matrix))
    if a * d - b * c == 0:
        return UPRIGHT
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirror_x=a < 0, mirror_y=d < 0)
    return Orientation(transpose=True, mirror_x=c < 0, mirror_y=b < 0)


def from_degrees(rotation: int) -> Orientation:
    """PyAV's frame.rotation, degrees counter-clockwise, to the nearest quarter."""
    return (
        UPRIGHT,
        Orientation(transpose=True, mirror_y=True),
        Orientation(mirror_x=True, mirror_y=True),
        Orientation(transpose=True, mirror_x=True),
    )[round(rotation / 90) % 4]


def of_frame(frame: VideoFrame) -> Orientation:
    """The orientation that a decoded frame carries in its display matrix."""
    # PyAV ties a frame whose side data is asked for into a reference cycle: its pixels, and the decoder's
    # pool behind them, would wait for a full garbage collection (0.7 MB for each connection to a 640×360
    # camera). A small copy has the same side data.
    small = VideoReformatter().reformat(frame, _SMALL_PX, _SMALL_PX, "rgb24", threads=1)
    try:
        matrix: Any = small.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows no name for some side data and then shows none; it has the angle apart
        return from_degrees(frame.rotation)
    return UPRIGHT if matrix is None else from_matrix(memoryview(matrix))


def of_image(data: bytes) -> Orientation:
    """The EXIF orientation of a JPEG, PNG, WebP or TIFF file; upright without a sound one."""
    for at in _tiff_headers(data):
        order = "<" if data[at : at + 2] == b"II" else ">"
        try:
            (directory,) = struct.unpack_from(order + "I", data, at + 4)
            (entries,) = struct.unpack_from(order + "H", data, at + directory)
            for i in range(entries):
                tag, kind, _, value = struct.unpack_from(order + "HHIH", data, at + directory + 2 + 12 * i)
                if (tag, kind) == (0x0112, 3):
                    return _EXIF.get(value, UPRIGHT)
        except struct.error:
            continue
    return UPRIGHT


def _tiff_headers(data: bytes) -> list[int]:
    """Where EXIF's TIFF header may begin."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return [0]
    found = []
    for mark, skip in (
        (b"Exif\0\0", 6),
        (b"eXIf", 4),
        (b"EXIF", 8),
    ):  # JPEG, PNG, WebP (and size)
        at = data.find(mark)
        if at >= 0 and data[at + skip : at + skip + 4] in (b"II*\0", b"MM\0*"):
            found.append(at + skip)
    return found
