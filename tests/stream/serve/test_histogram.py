"""Histograms: nothing is lost among threads, and every stage of a pipeline has its own."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.pipeline import Pipeline
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.progress import Progress
from facesieve.stream.selection import TopKSelector
from facesieve.stream.serve.histogram import STAGES, Histogram, StageTimes
from facesieve.stream.testing import ArrayPicture, ListSource, ScriptedDetector, ScriptedScorer
from facesieve.stream.types import Detections, Frame, Quality
from facesieve.trackers.bytetrack import ByteTrack

NOT_LIVE = {"decode", "wait"}
"""Stages of a pipeline that wait for frames: of a live camera that tells nothing."""


@given(st.lists(st.floats(0, 10), max_size=50))
def test_each_is_counted_in_the_first_bin_that_it_fits(durations: list[float]) -> None:
    bounds = (0.1, 0.5, 2.0)
    histogram = Histogram(bounds)
    for took_s in durations:
        histogram.add(took_s)
    found = histogram.read()
    assert sum(found.counts) == len(durations)
    for i, bound in enumerate(bounds):
        assert sum(found.counts[: i + 1]) == sum(took_s <= bound for took_s in durations)
    assert found.sum_s == pytest.approx(sum(durations))


def test_threads_lose_nothing() -> None:
    histogram = Histogram((0.5,))

    def add() -> None:
        for _ in range(20_000):
            histogram.add(1.0)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert histogram.read().counts == (0, 80_000)
    assert histogram.read().sum_s == 80_000


def test_what_fails_is_counted_too() -> None:
    stages = StageTimes()
    with pytest.raises(ZeroDivisionError), stages["spool"].timed():
        raise ZeroDivisionError
    assert sum(stages.read()["spool"].counts) == 1
    stages.add("wait", 1.0)
    assert list(stages.read()) == list(STAGES)


class Everything:
    """A bound and an assessor that let all pass."""

    def bounds(self, crops: list) -> list[float]:
        return [1.0] * len(crops)

    def learn(self, crops: list, qualities: list) -> None: ...

    def assess(self, crops: list) -> list[dict[str, float]]:
        return [{"sharpness": 50.0} for _ in crops]

    def close(self) -> None: ...


def test_every_stage_of_a_pipeline_is_known() -> None:
    points = np.array([[[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]]], np.float32)
    face = Detections(np.array([[10, 10, 90, 100]], np.float32), np.array([0.9], np.float32), points)
    frames = [
        Frame("film", i, i / 8, None, ArrayPicture(np.full((120, 160, 3), 90, np.uint8))) for i in range(6)
    ]
    pipeline = Pipeline(
        detector=ScriptedDetector([face] * 6),
        new_tracker=ByteTrack,
        scorer=ScriptedScorer(lambda crop: Quality(0.5, "m")),
        new_selector=lambda source, stills: TopKSelector(SelectionPolicy(), source=source, stills=stills),
        hz=0.0,
        assessor=Everything(),
        new_bound=Everything,
        ahead=False,
    )
    seen: set[str] = set()
    progress = Progress(on_stage=lambda stage, took_s: seen.add(stage))
    list(pipeline.run(ListSource(frames), progress=progress))
    assert seen - NOT_LIVE <= set(STAGES)
    assert seen >= {"detect", "cuts", "track", "align", "bound", "score", "assess", "select"}
