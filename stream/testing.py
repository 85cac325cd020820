"""Test doubles for the ports that touch the outside world: pictures, scripted models, a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np

from .ports import Closing, Order
from .types import U8, Crop, Detections, Frame, Quality, TrackResult


class ArrayPicture:
    """A picture that is an array in memory.

    rgb: (h, w, 3) uint8 RGB, h and w ≥ 1; kept, not copied. regions: every region asked for, in order.
    """

    def __init__(self, rgb: U8) -> None:
        if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape or rgb.dtype != np.uint8:
            raise ValueError(f"expected (h, w, 3) uint8, got {rgb.shape} {rgb.dtype}")
        self._rgb = rgb
        self.regions: list[tuple[int, int, int, int]] = []

    @property
    def width(self) -> int:
        return int(self._rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self._rgb.shape[0])

    def scaled(self, width: int, height: int, order: Order = "rgb") -> U8:
        shrinks = width < self.width or height < self.height
        scaled = cv2.resize(
            self._rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        return np.ascontiguousarray(scaled[..., ::-1] if order == "bgr" else scaled, np.uint8)

    def region(self, x0: int, y0: int, x1: int, y1: int) -> U8:
        if x1 <= x0 or y1 <= y0:
            raise ValueError(f"expected x0 < x1 and y0 < y1, got {(x0, y0, x1, y1)}")
        self.regions.append((x0, y0, x1, y1))
        out = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        left, right = max(x0, 0), min(x1, self.width)
        top, bottom = max(y0, 0), min(y1, self.height)
        if left < right and top < bottom:
            out[top - y0 : bottom - y0, left - x0 : right - x0] = self._rgb[top:bottom, left:right]
        return out

    def luma(self, step: int) -> U8:
        return np.asarray(
            cv2.cvtColor(np.ascontiguousarray(self._rgb[::step, ::step]), cv2.COLOR_RGB2GRAY), np.uint8
        )


class ListSource(Closing):
    """A source made of a list.

    frames: Frames as they are, or (h, w, 3) uint8 RGB arrays, which become frame i at i / fps seconds. Like
    any source it can be iterated once. closed: whether close was called.
    """

    def __init__(
        self,
        frames: Sequence[Frame | U8],
        *,
        fps: float = 25.0,
        name: str = "list",
        stills: bool = False,
        damage: str | None = None,
    ) -> None:
        self._frames = [
            item if isinstance(item, Frame) else Frame(name, i, i / fps, None, ArrayPicture(item))
            for i, item in enumerate(frames)
        ]
        self._fps, self._name, self._stills, self._damage = fps, name, stills, damage
        self._begun = False
        self.closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def stills(self) -> bool:
        return self._stills

    @property
    def duration_s(self) -> float | None:
        return len(self._frames) / self._fps

    @property
    def damage(self) -> str | None:
        return self._damage

    def __iter__(self) -> Iterator[Frame]:
        if self._begun:
            raise RuntimeError(f"source {self._name!r} was iterated before: a source yields its frames once")
        self._begun = True
        return iter(self._frames)

    def close(self) -> None:
        self.closed = True


class ListSink(Closing):
    """Keeps the results it is given, in order. closed: whether close was called."""

    def __init__(self) -> None:
        self.results: list[TrackResult] = []
        self.closed = False

    def write(self, result: TrackResult) -> None:
        if self.closed:
            raise RuntimeError("written to after close")
        self.results.append(result)

    def close(self) -> None:
        self.closed = True


class ManualClock:
    """A clock that stands still until it is advanced. now_s: Unix seconds at the start."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move on by seconds ≥ 0."""
        if not seconds >= 0:
            raise ValueError(f"expected seconds ≥ 0, got {seconds}")
        self._now_s += seconds


class ScriptedDetector(Closing):
    """Finds in the frame of index i what the script holds for i, and nothing where it holds nothing.

    script: a sequence by frame index, or a mapping from frame index. seen: the indices detected on, in order.
    """

    def __init__(self, script: Sequence[Detections] | Mapping[int, Detections]) -> None:
        self._script = dict(script) if isinstance(script, Mapping) else dict(enumerate(script))
        self.seen: list[int] = []
        self.closed = False

    @property
    def name(self) -> str:
        return "scripted"

    def detect(self, frame: Frame) -> Detections:
        self.seen.append(frame.index)
        return self._script.get(frame.index, Detections.empty())

    def close(self) -> None:
        self.closed = True


class ScriptedScorer(Closing):
    """Scores each crop with a function. batches: the size of every batch, in order."""

    def __init__(self, quality: Callable[[Crop], Quality], *, name: str = "scripted") -> None:
        self._quality = quality
        self._name = name
        self.batches: list[int] = []
        self.closed = False

    @property
    def name(self) -> str:
        return self._name

    def score(self, crops: Sequence[Crop]) -> Sequence[Quality]:
        self.batches.append(len(crops))
        return [self._quality(crop) for crop in crops]

    def close(self) -> None:
        self.closed = True
