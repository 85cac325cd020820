"""Which frames a detector sees, and a decoder that runs ahead of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .types import Frame


@dataclass(frozen=True, slots=True)
class Counted:
    """A frame, and how many frames of its source came up to and with it."""

    frame: Frame
    frames: int


class Cadence:
    """Picks frames at a rate in the source's own time.

    hz: frames a second of video; 0 takes every frame. The first and the last frame are always taken, so that
    a face of the last moment is not missed. Only pts decides, so the choice is the same at every run.
    """

    def __init__(self, *, hz: float) -> None:
        if not 0 <= hz < float("inf"):
            raise ValueError(f"expected 0 ≤ hz < inf, got {hz = }")
        self._interval_s = 1 / hz if hz else 0.0
        self.frames = 0

    def due(self, frames: Iterable[Frame]) -> Iterator[Counted]:
        """The chosen frames, in order."""
        slack_s = 0.02 * self._interval_s  # so that rounded time stamps of a steady film do not drift past
        next_s: float | None = None
        passed: Frame | None = None
        for frame in frames:
            self.frames += 1
            late_s = 0.0 if next_s is None else frame.pts_s - next_s
            if next_s is None or late_s + slack_s >= 0:
                # stay on the grid while the film is steady, start a new one at the start and after a gap
                on_grid = next_s is not None and late_s < self._interval_s
                next_s = (next_s if on_grid and next_s is not None else frame.pts_s) + self._interval_s
                passed = None
                yield Counted(frame, self.frames)
            else:
                passed = frame
        if passed is not None:
            yield Counted(passed, self.frames)


@contextmanager
def prefetch(
    frames: Iterator[Counted], stop: Callable[[], bool], depth: int = 4
) -> Iterator[Iterator[Counted]]:
    """Runs the iterator in a thread of its own, at most depth frames ahead; order and errors are kept.

    The iterator given out ends early once stop() is true and nothing is ready (a pipe that fell silent).
    """
    ready: queue.Queue[Counted | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Counted | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for counted in frames:
                put(counted)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001  handed to the consumer, which raises it
            put(error)

    def consume() -> Iterator[Counted]:
        while True:
            try:
                item = ready.get(timeout=0.25)
            except queue.Empty:
                if stop():
                    return
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    reader = threading.Thread(target=read, name="facesieve-decode", daemon=True)
    reader.start()
    try:
        yield consume()
    finally:
        stopped.set()
        reader.join(timeout=2)  # longer only where the system will not let go of a read
