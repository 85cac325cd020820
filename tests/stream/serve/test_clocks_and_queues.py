"""What stands between a camera and the pipeline: clocks, waits and bounded queues."""

from __future__ import annotations

import random
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S, until

from facesieve.stream.decode.picture import Converter
from facesieve.stream.serve.backoff import Backoff
from facesieve.stream.serve.buffer import Arrived, FrameBuffer, SessionEnded
from facesieve.stream.serve.reading import Reading
from facesieve.stream.serve.wall import WallClock
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import Frame


def arrived(index: int, session: int = 1) -> Arrived:
    return Arrived(session, Frame("gate", index, index / 10, None, PICTURE), index / 10)


PICTURE = ArrayPicture(np.zeros((2, 2, 3), np.uint8))


class TestWallClock:
    def test_jitter_is_not_taken_for_the_camera_being_late(self) -> None:
        rng, clock = random.Random(3), WallClock()
        shown = [clock.place(i / 25, 1000 + i / 25 + 0.08 + rng.expovariate(20)) for i in range(2500)]
        late = [at - (1000 + i / 25) for i, at in enumerate(shown)][250:]
        assert max(late) - min(late) < 0.02
        assert 0.08 <= min(late) < 0.11

    @pytest.mark.parametrize("drift", [2e-4, -2e-4])
    def test_a_crystal_that_runs_fast_or_slow_is_followed(self, drift: float) -> None:
        rng, clock = random.Random(4), WallClock()
        error = 0.0
        for i in range(25 * 600):
            true_s = i / 25
            at = clock.place(true_s * (1 + drift), 1000 + true_s + rng.expovariate(50))
            error = at - (1000 + true_s)
        assert abs(error) < 0.03

    @given(st.lists(st.tuples(st.floats(0.001, 2), st.floats(0, 3)), min_size=2, max_size=60))
    def test_it_never_goes_back(self, steps: list[tuple[float, float]]) -> None:
        clock, pts_s, last = WallClock(), 0.0, float("-inf")
        for step_s, late_s in steps:
            pts_s += step_s
            at = clock.place(pts_s, 500 + pts_s + late_s)
            assert at >= last
            assert at <= 500 + pts_s + 3 + 1e-6 or last == at
            last = at


class TestReading:
    @pytest.mark.parametrize("set_s", [-3600.0, 86_400.0])
    def test_our_clock_is_set_and_times_follow_it_at_once(self, set_s: float) -> None:
        reading = Reading("gate", Fraction(10), Converter(windows=1))
        shown = []
        for i in range(200):
            now = 50.0 + i / 10
            wall_s = 1e9 + now + (set_s if i >= 100 else 0.0)
            frame = reading.due(VideoFrame(32, 32, "yuv420p"), 7.0 + i / 10, now, wall_s, 0.0)
            assert frame is not None
            assert frame.wall_s is not None
            shown.append(frame.wall_s - wall_s)
        assert shown == pytest.approx([0.0] * 200, abs=1e-3)

    def test_a_frame_that_comes_late_is_not_taken_for_a_clock_that_was_set(self) -> None:
        reading = Reading("gate", Fraction(10), Converter(windows=1))
        for i in range(200):
            now = 50.0 + i / 10 + (5.0 if i == 100 else 0.0)
            frame = reading.due(VideoFrame(32, 32, "yuv420p"), 7.0 + i / 10, now, 1e9 + now, 0.0)
            assert frame is not None
            assert frame.wall_s == pytest.approx(1e9 + 50.0 + i / 10, abs=1e-3)


class TestBackoff:
    def test_waits_double_with_jitter_up_to_the_most_and_begin_anew(self) -> None:
        backoff = Backoff(1, 8, random.Random(0))
        waits = [backoff.next_s() for _ in range(8)]
        for wait, full in zip(waits, [1, 2, 4, 8, 8, 8, 8, 8], strict=True):
            assert full / 2 <= wait <= full
        assert len(set(waits)) == len(waits)
        backoff.reset()
        assert backoff.next_s() <= 1

    def test_it_goes_on_for_ever(self) -> None:
        backoff = Backoff(1, 60, random.Random(0))
        assert all(backoff.next_s() <= 60 for _ in range(5000))


class TestFrameBuffer:
    def test_latest_holds_one_and_counts_the_others(self) -> None:
        buffer = FrameBuffer("latest", 5)
        for i in range(4):
            buffer.put(arrived(i))
        assert (len(buffer), buffer.dropped) == (1, 3)
        assert buffer.take() == arrived(3)
        assert buffer.take() is None

    def test_drop_oldest_keeps_the_newest_in_order(self) -> None:
        buffer = FrameBuffer("drop_oldest", 3)
        for i in range(5):
            buffer.put(arrived(i))
        assert [buffer.take() for _ in range(3)] == [arrived(i) for i in (2, 3, 4)]
        assert buffer.dropped == 2

    def test_block_makes_the_reader_wait_and_loses_nothing(self) -> None:
        buffer = FrameBuffer("block", 2)
        writer = threading.Thread(target=lambda: [buffer.put(arrived(i)) for i in range(20)])
        writer.start()
        until(lambda: len(buffer) == 2)
        time.sleep(0.05)
        assert len(buffer) == 2
        got = [buffer.take(PATIENCE_S) for _ in range(20)]
        writer.join(PATIENCE_S)
        assert got == [arrived(i) for i in range(20)]
        assert buffer.dropped == 0

    def test_the_end_of_a_session_outlives_its_frames(self) -> None:
        buffer = FrameBuffer("latest")
        buffer.put(arrived(0))
        buffer.end(SessionEnded(1, "gone"))
        for i in range(3):
            buffer.put(arrived(i, session=2))
        assert buffer.take() == SessionEnded(1, "gone")
        assert buffer.take() == arrived(2, session=2)

    @given(st.lists(st.sampled_from("fe"), max_size=60), st.integers(1, 4))
    def test_it_stays_bounded_and_every_frame_is_given_or_counted(self, steps: list[str], size: int) -> None:
        buffer, frames, session = FrameBuffer("drop_oldest", size), 0, 1
        for step in steps:
            if step == "f":
                buffer.put(arrived(frames, session))
                frames += 1
            else:
                buffer.end(SessionEnded(session, ""))
                session += 1
        items = []
        while (item := buffer.take()) is not None:
            items.append(item)
        assert len(items) <= 2 * size + 2
        assert sum(isinstance(item, Arrived) for item in items) + buffer.dropped == frames

    def test_a_camera_that_comes_and_goes_unseen_for_ever_takes_no_memory(self) -> None:
        buffer = FrameBuffer("latest")
        for session in range(1, 1000):
            buffer.put(arrived(0, session))
            buffer.end(SessionEnded(session, ""))
        items = []
        while (item := buffer.take()) is not None:
            items.append(item)
        assert len(items) <= 3
        assert items[-1] == SessionEnded(999, "")

    def test_closing_lets_everybody_go(self) -> None:
        buffer = FrameBuffer("block", 1)
        buffer.put(arrived(0))
        done: list[bool] = []
        writer = threading.Thread(target=lambda: done.append(buffer.put(arrived(1))))
        writer.start()
        buffer.close()
        writer.join(PATIENCE_S)
        assert done == [False]
