"""Which frames are looked at, and the thread that reads ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S

from facesieve.stream.cadence import Cadence, Counted, Prefetch
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import Frame

PICTURE = ArrayPicture(np.zeros((2, 2, 3), np.uint8))


def frames(times: list[float]) -> Iterator[Frame]:
    for index, pts_s in enumerate(times):
        yield Frame("test", index, pts_s, None, PICTURE)


def chosen(times: list[float], hz: float) -> list[float]:
    return [counted.frame.pts_s for counted in Cadence(hz=hz).due(frames(times))]


def test_zero_takes_every_frame() -> None:
    times = [0.0, 0.01, 0.5, 0.51]
    assert chosen(times, 0) == times


def test_a_steady_film_is_met_at_the_rate() -> None:
    seen = chosen([n / 25 for n in range(250)], 8)
    assert len(seen) == 81  # 8 a second for 10 s, and the last frame
    assert max(np.diff(seen)) <= 1 / 8 + 1 / 25 + 1e-9


def test_time_stamps_rounded_to_milliseconds_do_not_drift() -> None:
    assert len(chosen([round(n / 8, 3) for n in range(80)], 8)) == 80


def test_a_gap_starts_a_new_grid() -> None:
    assert chosen([0.0, 10.0, 10.05, 10.1, 10.2], 10) == [0.0, 10.0, 10.1, 10.2]


def test_frames_that_a_source_left_out_are_counted_and_change_nothing() -> None:
    times = [n / 25 for n in range(100)]
    every = [(c.frame.index, c.frames) for c in Cadence(hz=8).due(frames(times))]
    taken = {index for index, _ in every}
    cadence = Cadence(hz=8)
    some = (frame for frame in frames(times) if frame.index in taken or frame.index % 3 == 0)
    assert [(c.frame.index, c.frames) for c in cadence.due(some)] == every
    assert cadence.frames == 100


def test_what_the_source_chose_is_taken_and_what_it_lost_made_up_for() -> None:
    chosen_at = {0, 4, 6, 10, 12, 16, 18}

    def source(lost: set[int]) -> Iterator[Frame]:
        for index in sorted(set(range(0, 21, 2)) - lost):
            yield Frame("test", index, index / 25, None, PICTURE, index in chosen_at)

    def seen(lost: set[int]) -> list[int]:
        return [counted.frame.index for counted in Cadence(hz=8).due(source(lost))]

    assert seen(set()) == [0, 4, 6, 10, 12, 16, 18, 20]
    assert seen({6}) == [0, 4, 10, 12, 16, 18, 20]
    assert seen({4}) == [0, 6, 10, 12, 16, 18, 20]
    assert seen({4, 6}) == [0, 8, 10, 12, 16, 18, 20]
    assert seen({16}) == [0, 4, 6, 10, 12, 18, 20]
    # Where none of them comes, as if nothing had been chosen.
    assert seen(chosen_at) == [2, 8, 14, 20]


def test_a_frame_may_stand_for_one_due_before_it() -> None:
    cadence = Cadence(hz=8)
    cadence.take(0.0)
    assert not cadence.is_due(0.12)
    assert cadence.is_due(0.16)
    assert cadence.latest_s(0.16) == pytest.approx(0.125 + 2 / 3 / 8)
    cadence.take(0.2)  # keeps the grid
    assert cadence.is_due(0.25)
    assert not cadence.is_due(0.24)
    assert Cadence(hz=0.1).latest_s(5.0) == 5.25


def test_first_and_last_are_always_taken() -> None:
    assert chosen([0.0, 0.01, 0.02], 1) == [0.0, 0.02]


@given(
    st.lists(st.floats(0.001, 3.0), min_size=1, max_size=60),
    st.floats(0.5, 30.0),
)
def test_every_moment_is_near_a_look(steps: list[float], hz: float) -> None:
    times = np.cumsum(steps).tolist()
    seen = chosen(times, hz)
    assert seen == sorted(set(seen))
    assert (seen[0], seen[-1]) == (times[0], times[-1])
    for time in times:  # nothing waits longer than an interval and the slack for the next look
        later = [look for look in seen if look >= time]
        first_possible = min(t for t in times if t >= time)
        assert later[0] - first_possible <= 1.05 / hz + max(np.diff(times), default=0)


def test_frames_are_counted_past_those_not_taken() -> None:
    cadence = Cadence(hz=1)
    counts = [counted.frames for counted in cadence.due(frames([n / 10 for n in range(15)]))]
    assert counts == [1, 11, 15]
    assert cadence.frames == 15


def counted(times: list[float]) -> Iterator[Counted]:
    return Cadence(hz=0).due(frames(times))


def test_prefetch_keeps_the_order_and_bounds_what_is_read_ahead() -> None:
    read: list[int] = []

    def noted() -> Iterator[Counted]:
        for item in counted([float(n) for n in range(50)]):
            read.append(item.frame.index)
            yield item

    with Prefetch(noted(), lambda: False, depth=3) as ahead:
        for expected, item in enumerate(ahead):
            assert item.frame.index == expected
            assert len(read) <= expected + 1 + 3 + 1  # taken, queued, and one in hand
    assert len(read) == 50


def test_prefetch_raises_what_the_reader_met_after_what_was_read() -> None:
    def broken() -> Iterator[Counted]:
        yield from counted([0.0, 1.0])
        raise OSError("the disk went away")

    seen = []
    with pytest.raises(OSError, match="went away"), Prefetch(broken(), lambda: False) as ahead:
        seen.extend(ahead)
    assert len(seen) == 2


def test_leaving_early_ends_the_thread() -> None:
    before = set(threading.enumerate())
    with Prefetch(counted([float(n) for n in range(1000)]), lambda: False) as ahead:
        next(ahead)
    assert set(threading.enumerate()) <= before


def test_a_silent_source_is_left_when_asked_to_stop() -> None:
    silent, stop = threading.Event(), threading.Event()

    def pipe() -> Iterator[Counted]:
        yield from counted([0.0])
        silent.wait(PATIENCE_S)

    with Prefetch(pipe(), stop.is_set) as ahead:
        next(ahead)
        stop.set()
        assert next(ahead, None) is None
        silent.set()


def test_leaving_a_chain_ends_its_threads() -> None:
    def endless() -> Iterator[Counted]:
        yield from counted([float(n) for n in range(10**6)])

    before = set(threading.enumerate())
    with Prefetch(endless(), lambda: False) as first, Prefetch(first, lambda: False, depth=1) as second:
        assert [next(second).frames for _ in range(3)] == [1, 2, 3]
    assert set(threading.enumerate()) <= before
