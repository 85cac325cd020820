"""One set of networks for many cameras: turns are fair, and faces of several cameras are scored together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import numpy as np

from ..errors import EngineClosed
from ..geometry import ARCFACE_POINTS
from ..ports import Assessor, Closing, Detector, QualityScorer
from ..types import CHIP_PX, Crop, Detections, Frame, Quality

Thing = TypeVar("Thing")
_BLANK = Crop.of_chip(np.zeros((CHIP_PX, CHIP_PX, 3), np.uint8), ARCFACE_POINTS)


def batch_sizes(most: int) -> tuple[int, ...]:
    """1, 2, 3, 4, 6, 8, 12, 16 … and most.

    OpenVINO compiles a network of free batch anew for each number of rows and keeps what it made: for the
    student 25 ms and 5 MB a number, so that memory rises for hours, at each first crowd of so many faces.
    Filling a batch up to one of these sizes costs at most half as much again, and changes no score.
    """
    steps = sorted({1 << i for i in range(most.bit_length())} | {3 << i for i in range(most.bit_length())})
    return (*(size for size in steps if size < most), most)


class Turns(Generic[Thing]):
    """Lends a few things, each to one borrower at a time, in the order of asking.

    A camera asks once for each frame and waits, so one with a crowd before it gets as many turns as a quiet
    one, however long its own take.
    """

    def __init__(self, things: Sequence[Thing]) -> None:
        if not things:
            raise ValueError("expected at least one thing to lend")
        self._free = deque(things)
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """Borrowers in the queue."""
        return len(self._waiting)

    @contextmanager
    def turn(self) -> Iterator[Thing]:
        """One of the things, for as long as the block lasts."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._free and self._waiting[0] is ticket)
            self._waiting.popleft()
            thing = self._free.popleft()
            self._changed.notify_all()
        try:
            yield thing
        finally:
            with self._changed:
                self._free.append(thing)
                self._changed.notify_all()


class SharedDetector(Closing):
    """Several instances of a detector behind one port, for any number of threads. Closes them all."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = tuple(detectors)
        self._turns = Turns(self._detectors)

    @property
    def name(self) -> str:
        """Of the detector."""
        return self._detectors[0].name

    @property
    def waiting(self) -> int:
        """Frames in the queue."""
        return self._turns.waiting

    def detect(self, frame: Frame) -> Detections:
        """Faces of the frame, when it is its turn."""
        with self._turns.turn() as detector:
            return detector.detect(frame)

    def close(self) -> None:
        """Close every instance."""
        for detector in self._detectors:
            detector.close()


class SerialAssessor(Closing):
    """An assessor for any number of threads, one at a time; it is given at most MOST crops at once, see
    batch_sizes."""

    MOST: ClassVar[int] = 4

    def __init__(self, assessor: Assessor) -> None:
        self._assessor, self._lock = assessor, threading.Lock()

    def prepare(self) -> None:
        """Have networks compiled for all sizes now, not while faces wait. Raises what the assessor raises."""
        for size in range(1, self.MOST + 1):
            self.assess([_BLANK] * size)

    def assess(self, crops: Sequence[Crop]) -> Sequence[Mapping[str, float]]:
        """As the assessor does."""
        with self._lock:
            parts = [crops[start : start + self.MOST] for start in range(0, len(crops), self.MOST)]
            return [components for part in parts for components in self._assessor.assess(part)]

    def close(self) -> None:
        """Close the assessor."""
        with self._lock:
            self._assessor.close()


@dataclass(slots=True)
class _Request:
    crops: Sequence[Crop]
    at: float
    done: threading.Event = field(default_factory=threading.Event)
    qualities: Sequence[Quality] = ()
    error: BaseException | None = None


class BatchingScorer(Closing):
    """Scores the crops of many threads in common batches.

    A request waits until max_batch crops have come together, or max_wait_s, whichever is first; requests are
    served in the order in which they came and never split, so a batch may exceed max_batch by less than one
    request. With one camera nothing is waited for. An error of the scorer reaches every request of its batch.

    The scorer sees batches of few sizes, see batch_sizes: others are filled up with their last crop.
    """

    def __init__(self, scorer: QualityScorer, *, max_batch: int = 16, max_wait_s: float = 0.01) -> None:
        if max_batch < 1 or max_wait_s < 0:
            raise ValueError(f"expected max_batch >= 1 and max_wait_s >= 0, got {max_batch} and {max_wait_s}")
        self._scorer, self._max_batch, self._max_wait_s = scorer, max_batch, max_wait_s
        self._requests: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._sizes = batch_sizes(max_batch)
        self._closed = False
        self._cameras = 0
        self.batches: int = 0
        self.crops: int = 0
        self._thread = threading.Thread(target=self._work, name="facesieve-scorer", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """Of the scorer."""
        return self._scorer.name

    @property
    def cameras(self) -> int:
        """How many may ask at the same time; with one, nothing is gained by waiting."""
        return self._cameras

    @cameras.setter
    def cameras(self, number: int) -> None:
        self._cameras = number

    def prepare(self) -> None:
        """Have networks compiled for all sizes now, not while faces wait. Raises what the scorer raises."""
        for size in self._sizes:
            self.score([_BLANK] * size)

    def score(self, crops: Sequence[Crop]) -> Sequence[Quality]:
        """One Quality a crop, in order. Raises what the scorer raises, and EngineClosed after close."""
        if not crops:
            return []
        request = _Request(crops, time.monotonic())
        with self._changed:
            if self._closed:
                raise EngineClosed("the shared scorer was closed")
            self._requests.append(request)
            self._changed.notify_all()
        request.done.wait()
        if request.error is not None:
            raise request.error
        return request.qualities

    def close(self) -> None:
        """Answer what waits, then close the scorer."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._scorer.close()

    def _work(self) -> None:
        while batch := self._batch():
            crops = [crop for request in batch for crop in request.crops]
            try:
                qualities = self._scored(crops)
            except Exception as error:  # noqa: BLE001  each camera's thread raises it in its turn
                for request in batch:
                    request.error = error
            else:
                at = 0
                for request in batch:
                    request.qualities = qualities[at : at + len(request.crops)]
                    at += len(request.crops)
            self.batches += 1
            self.crops += len(crops)
            for request in batch:
                request.done.set()

    def _scored(self, crops: Sequence[Crop]) -> Sequence[Quality]:
        """The qualities of any number of crops, scored in batches of the sizes there are."""
        qualities: list[Quality] = []
        for start in range(0, len(crops), self._sizes[-1]):
            part = crops[start : start + self._sizes[-1]]
            size = next(size for size in self._sizes if size >= len(part))
            qualities += self._scorer.score([*part, *[part[-1]] * (size - len(part))])[: len(part)]
        return qualities

    def _batch(self) -> list[_Request]:
        """The next requests to serve together; none once closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._requests or self._closed)
            if not self._requests:
                return []
            latest = self._requests[0].at + self._max_wait_s
            while not self._is_full() and (left := latest - time.monotonic()) > 0:
                self._changed.wait(left)
            batch, crops = [], 0
            while self._requests and crops < self._max_batch:
                batch.append(self._requests.popleft())
                crops += len(batch[-1].crops)
            return batch

    def _is_full(self) -> bool:
        waiting = sum(len(request.crops) for request in self._requests)
        return self._closed or waiting >= self._max_batch or len(self._requests) >= self._cameras
