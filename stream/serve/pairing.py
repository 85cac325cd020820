"""Pairs of frames of two streams of one camera: faces are found in the small one, cut from the large one."""

from __future__ import annotations

import bisect
from collections import deque
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from ..ports import Order, Picture
from ..types import U8
from .buffer import Arrived

ASPECT_TOLERANCE = 0.02
_RING_S = 1.0
_WAIT_S = 1.0
_PENDING = 64

PairTolerance = Annotated[float, Field(gt=0, le=1000)]
"""As a user states it, in ms."""
PairFrames = Annotated[int, Field(ge=2, le=256)]


@dataclass(frozen=True, slots=True)
class PairingSettings:
    """tolerance_s: farthest that the two frames of a pair are apart, once the streams' offset is corrected.
    frames: of the main stream that are held, at most; never more than a second of them. settle_s: from the
    first frames of both streams to the first pair; meanwhile the offset is measured."""

    tolerance_s: float = 0.08
    frames: int = 30
    settle_s: float = 2.5


class PairedPicture:
    """A moment as two streams of one camera show it: small for the detector, large for the crops.

    width, height and region are of the main stream's frame, so boxes are in its pixels; scaled and luma come
    from the sub-stream's.
    """

    __slots__ = ("_main", "_sub", "height", "width")

    def __init__(self, main: Picture, sub: Picture) -> None:
        self._main, self._sub = main, sub
        self.width, self.height = main.width, main.height

    def scaled(self, width: int, height: int, order: Order = "rgb") -> U8:
        """The whole picture as (height, width, 3) uint8, from the sub-stream."""
        return self._sub.scaled(width, height, order)

    def region(self, x0: int, y0: int, x1: int, y1: int) -> U8:
        """(y1−y0, x1−x0, 3) uint8 RGB of the main stream; what lies outside the picture is black."""
        return self._main.region(x0, y0, x1, y1)

    def luma(self, step: int) -> U8:
        """(ceil(height/step), ceil(width/step)) uint8 samples, from the sub-stream."""
        if step < 1:
            raise ValueError(f"expected a step of at least 1, got {step}")
        sub, main = (self._sub.height, self._sub.width), (self.height, self.width)
        coarse = max(1, min(step * s // m for s, m in zip(sub, main, strict=True)))
        samples = self._sub.luma(coarse)
        rows, columns = (
            np.minimum(np.arange(0, m, step) * s // m // coarse, n - 1)
            for s, m, n in zip(sub, main, samples.shape, strict=True)
        )
        return np.ascontiguousarray(samples[rows[:, None], columns])


def same_aspect(main: Picture, sub: Picture) -> bool:
    """Whether both show the same field of view, by the ratio of their sides."""
    ratio = (main.width * sub.height) / (main.height * sub.width)
    return abs(ratio - 1) <= ASPECT_TOLERANCE


class Pairs:
    """Finds for each frame of the sub-stream the main stream's frame of the same moment.

    A frame waits until the main stream has come as far, a second at most. Without a main frame within
    tolerance_s it is left out, and counted.
    """

    def __init__(self, settings: PairingSettings) -> None:
        self._settings = settings
        self._ring: deque[Arrived] = deque()
        self._pending: deque[Arrived] = deque()
        self.unmatched = 0

    def clear(self) -> None:
        """One of the streams began anew."""
        self._ring.clear()
        self.unmatched += len(self._pending)
        self._pending.clear()

    def main(self, arrived: Arrived) -> None:
        """The next frame of the main stream; its frame has a wall_s."""
        self._ring.append(arrived)
        newest_s = _wall_s(arrived)
        while len(self._ring) > self._settings.frames or _wall_s(self._ring[0]) < newest_s - _RING_S:
            self._ring.popleft()

    def sub(self, arrived: Arrived) -> None:
        """The next frame of the sub-stream; its frame has a wall_s."""
        self._pending.append(arrived)
        if len(self._pending) > _PENDING:
            self._pending.popleft()
            self.unmatched += 1

    def expire(self, now: float) -> None:
        """Leave out the frames that have waited for too long. now: monotonic seconds."""
        while self._pending and now - self._pending[0].monotonic_s >= _WAIT_S:
            self._pending.popleft()
            self.unmatched += 1

    def ready(self, offset_s: float, now: float) -> list[tuple[Arrived, Arrived]]:
        """(sub, main) of the pairs that can be told, in order. offset_s: by which the main stream's times are
        ahead of the sub-stream's. now: monotonic seconds."""
        made = []
        while self._pending:
            sub = self._pending[0]
            wanted_s = _wall_s(sub) + offset_s
            if not self._has_come_to(wanted_s) and now - sub.monotonic_s < _WAIT_S:
                break
            self._pending.popleft()
            main = self._nearest(wanted_s)
            if main is None or abs(_wall_s(main) - wanted_s) > self._settings.tolerance_s:
                self.unmatched += 1
            else:
                made.append((sub, main))
        return made

    def _has_come_to(self, wanted_s: float) -> bool:
        """Whether no later main frame can be nearer: one is less than half an interval short of it."""
        if not self._ring:
            return False
        newest_s = _wall_s(self._ring[-1])
        half_s = (newest_s - _wall_s(self._ring[-2])) / 2 if len(self._ring) > 1 else 0.0
        return newest_s >= wanted_s - min(half_s, self._settings.tolerance_s) * 0.9

    def _nearest(self, wanted_s: float) -> Arrived | None:
        at = bisect.bisect_left(self._ring, wanted_s, key=_wall_s)
        return min(
            (self._ring[i] for i in (at - 1, at) if 0 <= i < len(self._ring)),
            key=lambda main: abs(_wall_s(main) - wanted_s),
            default=None,
        )


def _wall_s(arrived: Arrived) -> float:
    if arrived.frame.wall_s is None:
        raise ValueError("expected a frame with a wall clock time")
    return arrived.frame.wall_s
