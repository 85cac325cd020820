"""How FFmpeg's pixel formats lie in memory: which of them can be cut without decoding them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from ..types import U8

_PROBE_PX = 64  # a size that every subsampling divides


@dataclass(frozen=True, slots=True)
class PlaneLayout:
    """step_bytes: from one sample of the plane to the next. shift_x, shift_y: log2 of its subsampling."""

    step_bytes: int
    shift_x: int
    shift_y: int

    def rows(self, plane: VideoPlane, width: int, height: int) -> U8:
        """The plane of a picture of width × height as a view of its bytes: (rows, bytes), top row first."""
        rows = -(-height >> self.shift_y)
        used = -(-width >> self.shift_x) * self.step_bytes
        stride = plane.line_size
        table: U8 = np.frombuffer(memoryview(plane), np.uint8)
        table = table[: rows * abs(stride)].reshape(rows, abs(stride))
        return (table if stride > 0 else table[::-1])[:, :used]


@dataclass(frozen=True, slots=True)
class Layout:
    """planes: those of a format whose pixels lie on whole bytes. luma_type: NumPy type of its first plane's
    samples where that plane holds luma alone, else None. luma_shift: right shift that brings them to 8 bits.
    """

    planes: tuple[PlaneLayout, ...]
    luma_type: str | None
    luma_shift: int


@lru_cache(maxsize=64)
def layout(format_name: str) -> Layout | None:
    """None for formats that cannot be cut bytewise: palettes, bit streams, Bayer, hardware surfaces.

    Nor those of floats: swscale makes no picture of most of them, which a window needs.
    """
    form = VideoFormat(format_name, _PROBE_PX, _PROBE_PX)
    parts = form.components
    if not parts or form.has_palette or form.is_bit_stream or form.is_bayer:
        return None
    if "f16" in format_name or "f32" in format_name:
        return None
    bits = max(c.bits for c in parts)
    depth = 1 if bits <= 8 else 2 if bits <= 16 else 4
    if max(c.plane for c in parts) == 0 and len(parts) > 1:
        if form.padded_bits_per_pixel % 8:
            return None
        packed = PlaneLayout(form.padded_bits_per_pixel // 8, 0, 0)
        return Layout((packed,), None, 0)
    planes = []
    for plane in range(1 + max(c.plane for c in parts)):
        held = [c for c in parts if c.plane == plane]
        shift_x, shift_y = (_shift(v) for v in (held[0].width, held[0].height))
        planes.append(PlaneLayout(depth * len(held), shift_x, shift_y))
    if form.is_rgb or depth == 4:
        return Layout(tuple(planes), None, 0)
    # P010 and its kin keep their samples in the high bits of 16, the planar formats in the low ones.
    shift = 8 if format_name.startswith("p") and depth == 2 else bits - 8
    return Layout(tuple(planes), {1: "u1", 2: ">u2" if form.is_big_endian else "<u2"}[depth], max(0, shift))


def _shift(samples: int) -> int:
    return (_PROBE_PX // samples).bit_length() - 1


def fits(frame: VideoFrame, shape: Layout) -> bool:
    """Whether the frame's planes are as long as the layout says (a decoder may have its own ideas)."""
    planes = frame.planes
    if len(planes) != len(shape.planes):
        return False
    for held, plane in zip(shape.planes, planes, strict=True):
        rows, used = -(-frame.height >> held.shift_y), -(-frame.width >> held.shift_x) * held.step_bytes
        if abs(plane.line_size) < used or plane.buffer_size < rows * abs(plane.line_size):
            return False
    return True
