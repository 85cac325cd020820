"""Durations counted in bins, as Prometheus wants them."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

LATENCY_BOUNDS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STAGE_BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STAGES: Final = (
    "decode",
    "queue",
    "detect",
    "cuts",
    "track",
    "align",
    "bound",
    "score",
    "assess",
    "select",
    "encode",
    "identify",
    "spool",
)
"""What becomes of a frame, in order: a packet in the decoder; waiting for the pipeline; the detector, with
waiting for a free one and scaling the picture; cuts, with comparing pictures; tracks; chips, with converting
their pixels; bounds of scores; scores, with waiting for others' faces to come along; components; selection.
Then of an event: its JPEGs; whose track it is; on disk."""


@dataclass(frozen=True, slots=True)
class Binned:
    """bounds_s: upper bounds of the bins, ascending. counts: in each of them, and one more for what took
    longer. sum_s: of all."""

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float


class Histogram:
    """For any number of threads. bounds_s: upper bounds of the bins, ascending; one more takes the rest."""

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = tuple(bounds_s)
        self._counts = [0] * (len(self._bounds_s) + 1)
        self._sum_s = 0.0
        self._lock = threading.Lock()

    def add(self, took_s: float) -> None:
        """Count one."""
        place = bisect.bisect_left(self._bounds_s, took_s)
        with self._lock:
            self._counts[place] += 1
            self._sum_s += took_s

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count how long the block takes, however it ends."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(time.perf_counter() - started)

    def read(self) -> Binned:
        """As it is now."""
        with self._lock:
            return Binned(self._bounds_s, tuple(self._counts), self._sum_s)


class StageTimes:
    """A histogram for each of STAGES, over all cameras."""

    def __init__(self) -> None:
        self._of = {stage: Histogram(STAGE_BOUNDS_S) for stage in STAGES}

    def __getitem__(self, stage: str) -> Histogram:
        """KeyError for what is no stage."""
        return self._of[stage]

    def add(self, stage: str, took_s: float) -> None:
        """Count one. What is none of STAGES is left out: a pipeline of live frames waits for the camera where
        one of a film waits for its decoder."""
        found = self._of.get(stage)
        if found is not None:
            found.add(took_s)

    def read(self) -> Mapping[str, Binned]:
        """As they are now, in the order of STAGES."""
        return {stage: histogram.read() for stage, histogram in self._of.items()}
