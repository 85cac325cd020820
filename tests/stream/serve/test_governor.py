"""Overload lowers a camera's cadence first, and room raises it again."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from types import SimpleNamespace

from facesieve.stream.serve.governor import Governor


@dataclass(eq=False)
class Reader:
    """As far as the governor looks."""

    name: str = "gate"
    given: int = 0
    hz: float = 8.0
    buffer: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(dropped=0))

    def goes_on(self, given: int, dropped: int = 0) -> None:
        self.given, self.buffer.dropped = self.given + given, self.buffer.dropped + dropped


def looks(
    governor: Governor, reader: Reader, number: int, *, dropped: int, wanted_hz: float = 8.0
) -> list[float]:
    """The cadence after each of a number of looks, between which 20 frames came."""
    seen = []
    for _ in range(number):
        reader.goes_on(20, dropped)
        changed = governor.hz(reader, wanted_hz)  # type: ignore[arg-type]
        reader.hz = reader.hz if changed is None else changed
        seen.append(reader.hz)
    return seen


def test_frames_that_are_dropped_twice_in_a_row_halve_it_down_to_one_a_second() -> None:
    governor, reader = Governor(), Reader()
    assert looks(governor, reader, 8, dropped=10) == [8, 4, 4, 2, 2, 1, 1, 1]


def test_a_few_that_are_dropped_change_nothing() -> None:
    assert looks(Governor(), Reader(), 12, dropped=2) == [8] * 12


def test_five_looks_without_a_drop_raise_it_by_a_half_up_to_what_was_asked_for() -> None:
    governor, reader = Governor(), Reader(hz=4)
    assert looks(governor, reader, 10, dropped=0) == [4, 4, 4, 4, 6, 6, 6, 6, 6, 8]
    assert looks(governor, reader, 10, dropped=0) == [8] * 10


def test_every_frame_is_a_cadence_too() -> None:
    governor, reader = Governor(), Reader(hz=0)
    assert looks(governor, reader, 2, dropped=20, wanted_hz=0)[-1] == 12.5
    assert looks(governor, reader, 10, dropped=0, wanted_hz=0)[-1] == 0


def test_a_camera_that_is_paused_and_comes_back_is_counted_anew_and_one_that_left_is_forgotten() -> None:
    governor, before = Governor(), Reader()
    looks(governor, before, 3, dropped=10)
    again = Reader()
    assert looks(governor, again, 2, dropped=10) == [8, 4], "its counts begin at nought"
    del before, again
    gc.collect()
    assert len(governor._records) == 0
