"""Which frames a detector sees, and a decoder that runs ahead of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from .types import Frame

Item = TypeVar("Item")
_LATE = 2 / 3
"""By how much of an interval a look may come late for a better frame: at 8 looks a second, any two of 25
frames that follow each other."""
_LATEST_S = 0.25


@dataclass(frozen=True, slots=True)
class Counted:
    """A frame, and how many frames of its source came up to and with it."""

    frame: Frame
    frames: int


class Cadence:
    """Picks frames at a rate in the source's own time.

    hz: frames a second of video; 0 takes every frame. The first and the last frame are always taken, so that
    a face of the last moment is not missed. Only pts decides, so the choice is the same at every run; of a
    source that chooses itself (Frame.chosen) its choice is taken, at the rate that it was given.
    """

    def __init__(self, *, hz: float) -> None:
        if not 0 <= hz < float("inf"):
            raise ValueError(f"expected 0 ≤ hz < inf, got {hz = }")
        self._interval_s = 1 / hz if hz else 0.0
        self._slack_s = 0.02 * self._interval_s  # so that rounded times of a steady film do not drift past
        self._late_s = min(_LATE * self._interval_s, _LATEST_S)
        self._next_s: float | None = None
        self._astray = False  # what the source chose was lost in damage, until one comes again that it chose
        self.frames = 0

    def takes(self, pts_s: float) -> bool:
        """Whether the frame at pts_s is one that is due; times must increase.

        Frames that are not due leave no trace: without them, the others are chosen alike.
        """
        due = self.is_due(pts_s)
        if due:
            self.take(pts_s)
        return due

    def is_due(self, pts_s: float) -> bool:
        """The same, of a frame that another may yet be taken for."""
        return self._next_s is None or pts_s - self._next_s + self._slack_s >= 0

    def latest_s(self, pts_s: float) -> float:
        """Until when another frame may be taken for the one at pts_s, which is due."""
        return self._moment(pts_s) + self._late_s

    def take(self, pts_s: float) -> None:
        """The frame at pts_s is looked at."""
        self._next_s = self._moment(pts_s) + self._interval_s

    def _moment(self, pts_s: float) -> float:
        """What a look at pts_s counts for: the grid's next moment while the film is steady; after a gap, as
        at the start, the first of a new grid."""
        next_s = self._next_s
        return next_s if next_s is not None and pts_s - next_s < self._interval_s else pts_s

    def due(self, frames: Iterable[Frame]) -> Iterator[Counted]:
        """The chosen frames, in order. Their index tells of frames that the source left out."""
        passed: Frame | None = None
        for frame in frames:
            self.frames = max(self.frames, frame.index) + 1
            passed = None if self._accepts(frame) else frame
            if passed is None:
                yield Counted(frame, self.frames)
        if passed is not None:
            yield Counted(passed, self.frames)

    def _accepts(self, frame: Frame) -> bool:
        if frame.chosen is None or (self._astray and not frame.chosen):
            return self.takes(frame.pts_s)
        late = self._next_s is None or frame.pts_s - self._next_s > self._late_s
        if frame.chosen or late:
            self._astray = not frame.chosen
            self.take(frame.pts_s)
            return True
        return False


class Prefetch(Generic[Item]):
    """Runs an iterator in a thread of its own, at most depth items ahead; order and errors are kept.

    Iterating ends early once stop() is true and nothing is ready (a pipe that fell silent). A context
    manager: leaving it ends the thread, which closes a generator that it did not read to its end.
    """

    def __init__(self, items: Iterator[Item], stop: Callable[[], bool], depth: int = 3) -> None:
        self._items = items
        self._stop = stop
        # Not queue.Queue: its locks in Python cost a film of small frames 3 % of its time.
        self._ready: queue.SimpleQueue[Item | BaseException | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(depth):
            self._room.put(None)
        self._left = threading.Event()
        self._reader = threading.Thread(target=self._read, name="facesieve-ahead", daemon=True)

    def __enter__(self) -> Iterator[Item]:
        self._reader.start()
        return self._given()

    def __exit__(self, *error: object) -> None:
        self._left.set()
        self._room.put(None)  # wakes a reader that waits for room
        self._reader.join(timeout=2)  # longer only where the system will not let go of a read

    def _read(self) -> None:
        try:
            for item in self._items:
                self._room.get()
                if self._left.is_set():
                    return
                self._ready.put(item)
            self._ready.put(None)
        except BaseException as error:  # noqa: BLE001  handed to the consumer, which raises it
            self._ready.put(error)
        finally:
            if isinstance(self._items, Generator):
                self._items.close()

    def _given(self) -> Iterator[Item]:
        while not self._left.is_set():
            try:
                item = self._ready.get(timeout=0.25)
            except queue.Empty:
                if self._stop():
                    return
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._room.put(None)
            yield item
