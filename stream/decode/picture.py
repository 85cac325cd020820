"""Pictures that stay in the decoder's planes until pixels are asked for.

Conversions are libswscale's, so the many pixel formats, bit depths, ranges and matrices are its business. Its
results were checked not to depend on its threads; one is used, so that callers own the parallelism.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from ..ports import Order
from ..types import U8
from .aspect import shown_size, stored_rect, stretched
from .layout import Layout, PlaneLayout, fits, layout
from .orientation import UPRIGHT, Orientation, Rect, Scalar

# On 1080p to 640×352: AREA 1.1 ms at 45 dB PSNR against an area average of the full picture, BILINEAR 1.5 ms
# at 41 dB, FAST_BILINEAR 0.8 ms at 26 dB: it takes two taps however far it shrinks.
_SHRINK = Interpolation.AREA
_EXACT = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT  # chroma interpolated, not repeated: edges of lips and eyes stay clean
    | Interpolation.BITEXACT
)
_MARGIN_PX = 8  # chroma interpolation looks one chroma sample further: 2 px, 4 with 4:1:0
_CHROMA_PX = (
    4  # the coarsest subsampling. swscale stretches the chroma of odd sizes; whole samples it does not
)
_ALIGN_PX = 16  # windows start on multiples: whole chroma samples of any format
_BUCKET_PX = 32  # windows have few sizes, so that swscale's tables are seldom made anew (0.1 ms)
_KEPT_SCALERS = 8
_KEPT_WINDOWS = 64
_HD_WIDTH, _HD_HEIGHT = 1280, 720  # as players do: untagged video this wide or high is BT.709, else BT.601
_UNTAGGED = (2, 3)  # AVCOL_SPC_UNSPECIFIED, AVCOL_SPC_RESERVED

_ScalerKey = tuple[str, int, int, int, int, Order]
_WindowKey = tuple[str, int, int]
_Window = tuple[VideoFrame, tuple[U8, ...], VideoReformatter]


class Converter:
    """libswscale's contexts of one source, shared by its pictures; safe to use from several threads.

    windows: sizes of windows that are kept ready. Each holds 0.2 MB (300 px a side) to 1 MB; one that is made
    anew costs 0.1 ms.
    """

    def __init__(self, *, windows: int = _KEPT_WINDOWS) -> None:
        self._lock, self._kept_windows = Lock(), windows
        self._scalers: OrderedDict[_ScalerKey, VideoReformatter] = OrderedDict()
        self._windows: OrderedDict[_WindowKey, _Window] = OrderedDict()

    def scale(self, frame: VideoFrame, width: int, height: int, order: Order, colorspace: int | None) -> U8:
        """The whole frame as stored, (height, width, 3) uint8; at the frame's own size nothing is blurred."""
        same = (width, height) == (frame.width, frame.height)
        # swscale's quick path makes BGR only (1.1 ms; RGB 1.5 ms and off by up to two levels from it).
        made_as: Order = order if same else "bgr"
        key = (frame.format.name, frame.width, frame.height, width, height, made_as)
        with self._lock:
            if key not in self._scalers:
                self._scalers[key] = VideoReformatter()
            self._scalers.move_to_end(key)
            scaler = self._scalers[key]
            if len(self._scalers) > _KEPT_SCALERS:
                self._scalers.popitem(last=False)
            flags = _EXACT if same else _SHRINK
            made = _convert(scaler, frame, width, height, made_as, flags, colorspace)
        return made if order == made_as else cv2.cvtColor(made, cv2.COLOR_BGR2RGB)

    def window(self, frame: VideoFrame, held: Layout, rect: Rect, colorspace: int | None) -> U8:
        """RGB of a window of the frame as stored: its planes are cut, and only those samples converted.

        The window begins on whole chroma samples and may end beyond the frame's edge by less than one.
        """
        x0, y0, x1, y1 = rect
        width, height = x1 - x0, y1 - y0
        if (width, height) == (frame.width, frame.height):
            return self.scale(frame, width, height, "rgb", colorspace)
        key = (frame.format.name, width, height)
        with self._lock:
            if key not in self._windows:
                self._windows[key] = _staging(frame, width, height, held)
            self._windows.move_to_end(key)
            staged, sinks, scaler = self._windows[key]
            if len(self._windows) > self._kept_windows:
                self._windows.popitem(last=False)
            for shape, plane, sink in zip(held.planes, frame.planes, sinks, strict=True):
                rows = shape.rows(plane, frame.width, frame.height)
                top, left = y0 >> shape.shift_y, (x0 >> shape.shift_x) * shape.step_bytes
                _fill(sink, rows[top : top + sink.shape[0], left : left + sink.shape[1]], shape.step_bytes)
            staged.colorspace, staged.color_range = frame.colorspace, frame.color_range
            return _convert(scaler, staged, width, height, "rgb", _EXACT, colorspace)


def _staging(frame: VideoFrame, width: int, height: int, held: Layout) -> _Window:
    # Scaling the frame makes one of that size with all its properties: VideoFrame(…) would lack where the
    # chroma samples sit, which shifts colours by a quarter of a pixel.
    staged = VideoReformatter().reformat(
        frame, width, height, frame.format.name, interpolation=Interpolation.POINT, threads=1
    )
    sinks = (s.rows(p, width, height) for s, p in zip(held.planes, staged.planes, strict=True))
    return staged, tuple(sinks), VideoReformatter()


def _fill(sink: U8, block: U8, step_bytes: int) -> None:
    """Copy a block of a plane; where it ends before the sink does, its last samples are repeated."""
    height, width = block.shape
    sink[:height, :width] = block
    for at in range(width, sink.shape[1], step_bytes):
        sink[:height, at : at + step_bytes] = sink[:height, width - step_bytes : width]
    sink[height:] = sink[height - 1]


def _convert(
    scaler: VideoReformatter,
    frame: VideoFrame,
    width: int,
    height: int,
    order: Order,
    flags: Interpolation,
    colorspace: int | None,
) -> U8:
    made = scaler.reformat(
        frame,
        width,
        height,
        "rgb24" if order == "rgb" else "bgr24",
        src_colorspace=colorspace,
        dst_color_range=ColorRange.JPEG,
        interpolation=flags,
        threads=1,
    )
    return PlaneLayout(3, 0, 0).rows(made.planes[0], width, height).reshape(height, width, 3)


class FramePicture:
    """A decoded frame as a Picture, upright and of square pixels. Holds the frame, and converts what is asked
    for, when it is asked for. aspect: see pixel_aspect."""

    __slots__ = ("_converter", "_frame", "_layout", "_orientation", "_shown", "_whole", "height", "width")

    def __init__(
        self,
        frame: VideoFrame,
        converter: Converter,
        orientation: Orientation = UPRIGHT,
        aspect: float = 1.0,
    ) -> None:
        self._frame = frame
        self._converter = converter
        self._orientation = orientation
        self._layout: Layout | bool | None = False  # not looked at yet
        self._whole: U8 | None = None
        self._shown = shown_size(frame.width, frame.height, aspect)
        self.width, self.height = orientation.size(*self._shown)

    def scaled(self, width: int, height: int, order: Order = "rgb") -> U8:
        """The whole picture as (height, width, 3) uint8, area-averaged straight from the decoder's planes."""
        if width < 1 or height < 1:
            raise ValueError(f"expected a size of at least 1×1, got {width}×{height}")
        size = self._orientation.size(width, height)
        stored = self._converter.scale(self._frame, *size, order, self._colorspace())
        return np.ascontiguousarray(self._orientation.upright(stored))

    def region(self, x0: int, y0: int, x1: int, y1: int) -> U8:
        """(y1−y0, x1−x0, 3) uint8 RGB at full resolution; what lies outside the picture is black."""
        if x1 < x0 or y1 < y0:
            raise ValueError(f"expected x0 ≤ x1 and y0 ≤ y1, got {(x0, y0, x1, y1)}")
        left, top = max(x0, 0), max(y0, 0)
        right, bottom = min(x1, self.width), min(y1, self.height)
        if left >= right or top >= bottom:
            return np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        inside = self._inside((left, top, right, bottom))
        if (left, top, right, bottom) == (x0, y0, x1, y1):
            return np.ascontiguousarray(inside)
        framed = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        framed[top - y0 : bottom - y0, left - x0 : right - x0] = inside
        return framed

    def luma(self, step: int) -> U8:
        """Every step-th luma sample each way, (ceil(h/step), ceil(w/step)) uint8, of the video's range."""
        if step < 1:
            raise ValueError(f"expected a step of at least 1, got {step}")
        held, frame = self._held(), self._frame
        if held is None or held.luma_type is None:
            green = self._all()[:, :, 1]  # green is the main part of luma, and enough to see a change
            return np.ascontiguousarray(self._thinned(green, step))
        plane = held.planes[0]
        rows = plane.rows(frame.planes[0], frame.width, frame.height)
        samples = rows[:, :: plane.step_bytes] if held.luma_type == "u1" else rows.view(held.luma_type)
        return np.ascontiguousarray(self._thinned(samples, step) >> held.luma_shift, np.uint8)

    def _thinned(self, stored: npt.NDArray[Scalar], step: int) -> npt.NDArray[Scalar]:
        """Every step-th of the shown picture's samples each way."""
        upright = self._orientation.upright(stored)
        height, width = upright.shape
        if (width, height) == (self.width, self.height):
            return upright[::step, ::step]
        rows, columns = np.arange(0, self.height, step), np.arange(0, self.width, step)
        return upright[np.ix_(rows * height // self.height, columns * width // self.width)]

    def _inside(self, rect: Rect) -> U8:
        """A view of RGB pixels of a rect that lies inside the upright picture."""
        rect = self._orientation.stored_rect(rect, self.width, self.height)
        stored = self._frame.width, self._frame.height
        if self._shown == stored:
            return self._orientation.upright(self._stored(rect))
        behind = stored_rect(rect, self._shown, stored)
        return self._orientation.upright(
            stretched(self._stored(behind), behind[:2], rect, self._shown, stored)
        )

    def _stored(self, rect: Rect) -> U8:
        """A view of RGB pixels of a rect inside the frame as stored."""
        x0, y0, x1, y1 = rect
        held = self._held()
        if held is None:
            return self._all()[y0:y1, x0:x1]
        left, right = _span(x0, x1, self._frame.width)
        top, bottom = _span(y0, y1, self._frame.height)
        window = (left, top, right, bottom)
        pixels = self._converter.window(self._frame, held, window, self._colorspace())
        return pixels[y0 - top : y1 - top, x0 - left : x1 - left]

    def _all(self) -> U8:
        """Formats that cannot be cut are converted once, whole."""
        if self._whole is None:
            frame = self._frame
            self._whole = self._converter.scale(frame, frame.width, frame.height, "rgb", self._colorspace())
        return self._whole

    def _held(self) -> Layout | None:
        if isinstance(self._layout, bool):
            held = layout(self._frame.format.name)
            self._layout = held if held is not None and fits(self._frame, held) else None
        return self._layout

    def _colorspace(self) -> int | None:
        """swscale's matrix for frames that do not name theirs; None leaves it to the frame."""
        frame = self._frame
        if frame.colorspace not in _UNTAGGED or frame.format.is_rgb:
            return None
        high = frame.width >= _HD_WIDTH or frame.height >= _HD_HEIGHT
        return Colorspace.ITU709 if high else Colorspace.ITU601


def _span(start: int, stop: int, size: int) -> tuple[int, int]:
    """The samples to convert, of `size` there are, to have start … stop right: with a margin, from a chroma
    sample's start to one's end (which may lie beyond an odd size), and of one of few lengths."""
    size = -(-size // _CHROMA_PX) * _CHROMA_PX
    low = max(0, start - _MARGIN_PX) // _ALIGN_PX * _ALIGN_PX
    high = min(size, stop + _MARGIN_PX)
    length = -(-(high - low) // _BUCKET_PX) * _BUCKET_PX
    if low + length > size:
        low = max(0, size - length) // _ALIGN_PX * _ALIGN_PX
        length = min(size - low, length + _ALIGN_PX)
    return low, low + length
