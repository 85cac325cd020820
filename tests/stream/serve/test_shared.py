"""Networks shared by cameras: right answers, fair turns, common batches, errors to those concerned."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from patience import PATIENCE_S, until

from facesieve.stream.errors import EngineClosed, EngineError
from facesieve.stream.serve.shared import (
    BatchingScorer,
    SerialAssessor,
    SharedDetector,
    Turns,
    batch_sizes,
)
from facesieve.stream.testing import ArrayPicture, ScriptedDetector, ScriptedScorer
from facesieve.stream.types import Crop, Detections, Frame, Quality


def crop(value: int) -> Crop:
    chip = np.full((112, 112, 3), value % 256, np.uint8)
    return Crop.of_chip(chip, np.zeros((5, 2), np.float32), index=value)


def together(number: int, work) -> list[BaseException]:
    """Run work(i) in so many threads; the errors they raised."""
    errors: list[BaseException] = []

    def run(i: int) -> None:
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    return errors


class Slow:
    """A scorer that takes its time and remembers its batches."""

    name = "slow"

    def __init__(self, fails: bool = False) -> None:
        self.batches: list[int] = []
        self.fails, self.closed = fails, False

    def score(self, crops: Sequence[Crop]) -> Sequence[Quality]:
        self.batches.append(len(crops))
        time.sleep(0.005)
        if self.fails:
            raise EngineError("the device is gone")
        return [Quality(float(c.frame_index), "slow") for c in crops]

    def close(self) -> None:
        self.closed = True


def test_everybody_gets_the_scores_of_his_own_crops_in_common_batches() -> None:
    inner = Slow()
    scorer = BatchingScorer(inner, max_batch=16, max_wait_s=PATIENCE_S)
    scorer.cameras = 8

    def camera(i: int) -> None:
        for turn in range(15):
            mine = [crop(1000 * i + 10 * turn + j) for j in range(1 + i % 3)]
            assert [q.score for q in scorer.score(mine)] == [float(c.frame_index) for c in mine]

    assert together(8, camera) == []
    scorer.close()
    assert inner.closed
    assert scorer.crops == 15 * (3 * 1 + 3 * 2 + 2 * 3)
    assert max(inner.batches) <= 16
    assert len(inner.batches) == 15, "the calls of all eight were put together"


def test_networks_see_batches_of_few_sizes_only() -> None:
    """For each other number of rows OpenVINO compiles anew, and keeps it."""
    inner = Slow()
    scorer = BatchingScorer(inner, max_batch=16, max_wait_s=0.0)
    scorer.prepare()
    prepared = set(inner.batches)
    for number in (*range(1, 17), 17, 23, 40):
        mine = [crop(i) for i in range(number)]
        assert [q.score for q in scorer.score(mine)] == list(range(number))
    assert scorer.crops == sum(sorted(prepared)) + sum(range(1, 17)) + 17 + 23 + 40
    scorer.close()
    assert set(inner.batches) == prepared == {1, 2, 3, 4, 6, 8, 12, 16}


@pytest.mark.parametrize("most", [1, 2, 5, 16, 20, 1024])
def test_a_batch_is_filled_up_by_half_at_most(most: int) -> None:
    sizes = batch_sizes(most)
    assert sizes[0] == 1
    assert sizes[-1] == most
    assert list(sizes) == sorted(set(sizes))
    assert all(size < 1.5 * (before + 1) for before, size in pairwise(sizes))


def test_components_are_measured_a_few_crops_at_a_time() -> None:
    class Measure:
        def __init__(self) -> None:
            self.batches: set[int] = set()

        def assess(self, crops: Sequence[Crop]) -> list[dict[str, float]]:
            self.batches.add(len(crops))
            return [{"index": float(c.frame_index)} for c in crops]

        def close(self) -> None:
            pass

    inner = Measure()
    assessor = SerialAssessor(inner)
    assessor.prepare()
    prepared = set(inner.batches)
    for number in range(11):
        found = assessor.assess([crop(i) for i in range(number)])
        assert [components["index"] for components in found] == list(range(number))
    assert inner.batches == prepared
    assert max(prepared) == SerialAssessor.MOST


def test_one_camera_alone_waits_for_nobody() -> None:
    scorer = BatchingScorer(ScriptedScorer(lambda c: Quality(1.0, "x")), max_batch=16, max_wait_s=1e6)
    scorer.cameras = 1
    assert scorer.score([crop(1)])[0].score == 1.0
    scorer.close()


def test_an_error_reaches_those_of_its_batch_and_the_next_is_served() -> None:
    inner = Slow(fails=True)
    scorer = BatchingScorer(inner, max_batch=4, max_wait_s=PATIENCE_S)
    scorer.cameras = 3
    errors = together(3, lambda i: scorer.score([crop(i)]))
    assert inner.batches == [3]
    assert len(errors) == 3
    assert all(isinstance(error, EngineError) for error in errors)
    inner.fails, scorer.cameras = False, 1
    assert scorer.score([crop(5)])[0].score == 5.0
    scorer.close()
    with pytest.raises(EngineClosed):
        scorer.score([crop(1)])


def test_turns_are_given_in_the_order_of_asking() -> None:
    turns, order = Turns(["one"]), list[int]()

    def camera(i: int) -> None:
        for _ in range(3):  # at once again: behind those who have asked meanwhile
            with turns.turn():
                order.append(i)

    threads = [threading.Thread(target=camera, args=(i,)) for i in range(8)]
    with turns.turn():
        for i, thread in enumerate(threads):
            thread.start()
            until(lambda: turns.waiting == i + 1)  # noqa: B023
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order[:8] == list(range(8))
    assert Counter(order) == dict.fromkeys(range(8), 3)


def test_two_detectors_work_at_once_and_never_one_for_two() -> None:
    both = threading.Barrier(2)

    class Busy(ScriptedDetector):
        def __init__(self) -> None:
            super().__init__([])
            self.lock = threading.Lock()

        def detect(self, frame: Frame) -> Detections:
            assert self.lock.acquire(blocking=False), "one instance was lent twice"
            if not self.seen:
                both.wait(PATIENCE_S)  # until the other one works, too
            found = super().detect(frame)
            self.lock.release()
            return found

    inner = [Busy(), Busy()]
    shared = SharedDetector(inner)
    picture = ArrayPicture(np.zeros((8, 8, 3), np.uint8))
    errors = together(5, lambda i: [shared.detect(Frame("c", j, j, None, picture)) for j in range(12)])
    assert errors == []
    assert all(detector.seen for detector in inner)
    assert sum(len(detector.seen) for detector in inner) == 60
    shared.close()
    assert all(detector.closed for detector in inner)
