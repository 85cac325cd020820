"""How good a camera's pictures and faces were over the last day, so that one going out of focus is seen."""

from __future__ import annotations

import statistics
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from ...ports import Picture
from ..events import Message, TrackEnded

BIN_S: Final = 300.0
_BINS = 288  # a day
_NEEDED = 6
_SOFT = 0.5


@dataclass(slots=True)
class _Bin:
    start_s: float
    qualities: float = 0.0
    tracks: int = 0
    sharpness: float = 0.0
    looks: int = 0


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """Five minutes of one camera. start_s: Unix time. quality: mean of the tracks' best shots, None without
    any. sharpness: mean of the picture's, see `sharpness`; None without a picture."""

    start_s: float
    quality: float | None
    tracks: int
    sharpness: float | None


class Trends:
    """Filled by events and by looks at the picture, from any thread; times are Unix seconds."""

    def __init__(self) -> None:
        self._bins: dict[str, deque[_Bin]] = {}
        self._lock = threading.Lock()

    def message(self, message: Message, now_s: float) -> None:
        """Take a track's best shot into account."""
        event = message.event
        if isinstance(event, TrackEnded) and event.shots:
            best = event.shots[0]
            with self._lock:
                current = self._bin(event.origin.camera, now_s)
                current.qualities += best.score if best.calibrated is None else best.calibrated
                current.tracks += 1

    def look(self, camera: str, picture: Picture, now_s: float) -> None:
        """Take the sharpness of a picture into account."""
        value = sharpness(picture)
        with self._lock:
            current = self._bin(camera, now_s)
            current.sharpness += value
            current.looks += 1

    def points(self, camera: str) -> list[TrendPoint]:
        """Oldest first."""
        with self._lock:
            return [
                TrendPoint(
                    b.start_s,
                    round(b.qualities / b.tracks, 4) if b.tracks else None,
                    b.tracks,
                    round(b.sharpness / b.looks, 2) if b.looks else None,
                )
                for b in self._bins.get(camera, ())
            ]

    def is_soft(self, camera: str) -> bool:
        """Whether the picture of the last five minutes has less than half of the detail that is usual for the
        camera, the median of at least half an hour before."""
        values = [point.sharpness for point in self.points(camera) if point.sharpness is not None]
        return len(values) > _NEEDED and values[-1] < _SOFT * statistics.median(values[:-1])

    def forget(self, camera: str) -> None:
        """The camera was removed."""
        with self._lock:
            self._bins.pop(camera, None)

    def _bin(self, camera: str, now_s: float) -> _Bin:
        bins = self._bins.setdefault(camera, deque(maxlen=_BINS))
        start_s = now_s - now_s % BIN_S
        while bins and bins[-1].start_s > start_s:  # the clock was set back: these times are still to come
            bins.pop()
        if not bins or bins[-1].start_s < start_s:
            bins.append(_Bin(start_s))
        return bins[-1]


def sharpness(picture: Picture) -> float:
    """Detail of the whole picture, ≥ 0: standard deviation of its Laplacian, in levels of luma.

    Of one scene only: a wall has less than a tree. At full resolution, as defocus takes the finest detail
    first.
    """
    luma = np.ascontiguousarray(picture.luma(1))
    return float(cv2.Laplacian(luma, cv2.CV_16S).std())
