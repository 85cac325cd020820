"""The frame loop on scripted parts: who is asked what, which events come, and when things go wrong."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from facesieve.stream.errors import ModelInvalid
from facesieve.stream.gate import gate
from facesieve.stream.pipeline import Pipeline, Progress
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.selection import TopKSelector
from facesieve.stream.testing import ArrayPicture, ListSource, ScriptedDetector, ScriptedScorer
from facesieve.stream.types import (
    Crop,
    Detections,
    Frame,
    Quality,
    Rejection,
    TrackEnd,
    Tracking,
    TrackResult,
)
from facesieve.trackers.bytetrack import ByteTrack

SHAPE = (0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)


def face(x: float, y: float, side: float = 60, score: float = 0.9) -> Detections:
    box = np.array([[x, y, x + side, y + side]], np.float32)
    points = np.array([SHAPE], np.float32) * side + np.float32([x, y])
    return Detections(box, np.array([score], np.float32), points)


def together(*faces: Detections) -> Detections:
    return Detections(
        np.concatenate([f.boxes for f in faces]),
        np.concatenate([f.scores for f in faces]),
        np.concatenate([f.landmarks for f in faces]),
    )


def scene(seed: int) -> np.ndarray:
    return np.kron(np.random.default_rng(seed).integers(0, 255, (12, 16, 3)), np.ones((20, 20, 1))).astype(
        np.uint8
    )


def by_time(crop: Crop) -> Quality:
    return Quality(score=crop.pts_s, model="clock")


def pipeline(
    found: Sequence[Detections], selection: SelectionPolicy | None = None, **parts: object
) -> Pipeline:
    selection = selection or SelectionPolicy(min_gap_s=0.0)
    options = {
        "detector": ScriptedDetector(found),
        "new_tracker": ByteTrack,
        "scorer": ScriptedScorer(by_time),
        "new_selector": lambda source, stills: TopKSelector(selection, source=source, stills=stills),
        "gate": functools.partial(gate, policy=selection),
        "hz": 0.0,
    }
    return Pipeline(**{**options, **parts})  # type: ignore[arg-type]


def film(frames: int, *, cut_at: int | None = None, fps: float = 10, stills: bool = False) -> ListSource:
    pictures = [scene(0 if cut_at is None or n < cut_at else 1) for n in range(frames)]
    return ListSource(pictures, fps=fps, name="film", stills=stills)


def test_one_face_gives_one_terminal_event_with_the_best_frames() -> None:
    results = list(pipeline([face(50 + n, 60) for n in range(12)]).run(film(12)))
    (result,) = results
    assert [shot.crop.frame_index for shot in result.shots] == [11, 10, 9]
    assert result.summary.end is TrackEnd.END_OF_SOURCE
    assert result.summary.frames_seen == 12


def test_a_lost_track_ends_before_the_source_does() -> None:
    found = [face(50, 60)] * 10 + [Detections.empty()] * 30
    (result,) = pipeline(found).run(film(40))
    assert result.summary.end is TrackEnd.LOST


def test_a_cut_ends_all_tracks_and_new_ids_begin() -> None:
    both = together(face(20, 40), face(200, 40))
    results = list(pipeline([both] * 20).run(film(20, cut_at=10)))
    assert [r.summary.end for r in results] == [TrackEnd.SCENE_CUT] * 2 + [TrackEnd.END_OF_SOURCE] * 2
    assert len({r.summary.track for r in results}) == 4
    assert all(r.summary.frames_seen == 10 for r in results)


def test_cuts_can_be_left_alone() -> None:
    results = list(pipeline([face(20, 40)] * 20, scene_cuts=False).run(film(20, cut_at=10)))
    assert len(results) == 1


def test_stills_are_not_tracked_from_one_to_the_next() -> None:
    results = list(pipeline([face(20, 40)] * 3).run(film(3, stills=True)))
    assert [len(r.shots) for r in results] == [1, 1, 1]


def test_gates_come_before_chips_and_are_counted() -> None:
    selection = SelectionPolicy(min_face_px=50)
    scored: list[float] = []

    def noted(crop: Crop) -> Quality:
        scored.append(crop.eye_distance_px)
        return by_time(crop)

    small_then_large = [face(50, 60, side=40)] * 3 + [face(48, 58, side=55)] * 3
    (result,) = pipeline(small_then_large, selection, scorer=ScriptedScorer(noted)).run(film(6))
    assert len(scored) == 3
    assert result.summary.rejected[Rejection.SMALL] == 3
    assert result.summary.frames_seen == 6


def test_every_detection_is_accounted_for() -> None:
    results = list(pipeline([together(face(20, 40), face(200, 90))] * 15).run(film(15)))
    for result in results:
        summary = result.summary
        assert summary.kept + sum(summary.rejected.values()) == summary.frames_seen == 15


def test_faces_of_one_frame_are_scored_in_one_call() -> None:
    calls: list[int] = []

    class Counting:
        name = "counting"

        def score(self, crops: Sequence[Crop]) -> Sequence[Quality]:
            calls.append(len(crops))
            return [by_time(crop) for crop in crops]

        def close(self) -> None: ...

    list(pipeline([together(face(20, 40), face(200, 90))] * 4, scorer=Counting()).run(film(4)))
    assert calls == [2, 2, 2, 2]


class FailingDetector(ScriptedDetector):
    def detect(self, frame: Frame) -> Detections:
        if frame.index == 8:
            raise ModelInvalid("the network gave NaN")
        return super().detect(frame)


class FailingTracker(ByteTrack):
    def update(self, detections: Detections, pts_s: float) -> Tracking:
        if pts_s >= 0.8:
            raise ModelInvalid("the network gave NaN")
        return super().update(detections, pts_s)


def failing(crop: Crop) -> Quality:
    if crop.frame_index == 8:
        raise ModelInvalid("the network gave NaN")
    return by_time(crop)


@pytest.mark.parametrize(
    "part",
    [
        {"detector": FailingDetector([face(50, 60)] * 20)},
        {"new_tracker": FailingTracker},
        {"scorer": ScriptedScorer(failing)},
    ],
)
@pytest.mark.parametrize("ahead", [True, False])
def test_an_error_still_ends_the_tracks_first(part: dict[str, object], ahead: bool) -> None:
    got: list[TrackResult] = []
    broken = pipeline([face(50, 60)] * 20, ahead=ahead, **part)
    with pytest.raises(ModelInvalid):  # noqa: PT012  what came before the error counts
        for result in broken.run(film(20)):
            got.append(result)  # noqa: PERF402
    assert [r.summary.end for r in got] == [TrackEnd.SHUTDOWN]
    assert [shot.crop.frame_index for shot in got[0].shots] == [7, 6, 5]


def test_stopping_ends_every_track_once() -> None:
    progress = Progress()
    stopped = pipeline([face(50, 60)] * 20).run(
        film(20), progress=progress, stop=lambda: progress.detected >= 5
    )
    (result,) = stopped
    assert result.summary.end is TrackEnd.SHUTDOWN
    assert result.summary.frames_seen == 5


def test_progress_counts_what_happened() -> None:
    progress = Progress()
    list(pipeline([face(50, 60)] * 30, hz=2.0).run(film(30), progress=progress))
    assert (progress.frames, progress.detected, progress.faces) == (30, 7, 7)  # 0, .5 … 2.5 s and the last
    assert (progress.tracks, progress.shots) == (1, 3)
    assert (progress.began_s, progress.pts_s, progress.played_s) == (0.0, 2.9, 2.9)
    assert {"wait", "detect", "track", "align", "score", "select"} <= set(progress.stages_s)


def test_the_same_film_gives_the_same_events_with_and_without_threads() -> None:
    found = [together(face(20 + n, 40), face(200 - n, 90)) for n in range(20)]
    first, *others = (list(pipeline(found, ahead=ahead).run(film(20))) for ahead in (True, True, False))
    for other in others:
        assert [r.summary for r in first] == [r.summary for r in other]
        for a, b in zip(first, other, strict=True):
            assert [s.crop.chip.tobytes() for s in a.shots] == [s.crop.chip.tobytes() for s in b.shots]


def test_an_empty_source_gives_nothing() -> None:
    assert list(pipeline([]).run(film(0))) == []


def test_leaving_early_stops_the_decoder() -> None:
    decoded: list[int] = []

    class Endless(ListSource):
        def __iter__(self) -> Iterator[Frame]:
            for index in range(100_000):
                decoded.append(index)
                yield Frame("endless", index, index / 10, None, ArrayPicture(scene(index // 30)))

    events = pipeline([face(50, 60)] * 100_000).run(Endless([], fps=10, name="endless"))
    next(events)
    events.close()
    after = len(decoded)
    assert after < 100
    assert len(decoded) == after


class _Exact:
    """Bounds equal to by_time's scores; learnt: what it was told."""

    def __init__(self) -> None:
        self.learnt: list[float] = []

    def bounds(self, crops: Sequence[Crop]) -> list[float]:
        return [-crop.pts_s for crop in crops]

    def learn(self, crops: Sequence[Crop], qualities: Sequence[Quality]) -> None:
        assert len(crops) == len(qualities)
        self.learnt += [quality.score for quality in qualities]


def test_hopeless_crops_are_not_scored_and_a_source_has_its_own_bound() -> None:
    bounds: list[_Exact] = []

    def new_bound() -> _Exact:
        bounds.append(_Exact())
        return bounds[-1]

    worse = ScriptedScorer(lambda crop: Quality(score=-crop.pts_s, model="clock"))
    found = [face(50 + n, 60) for n in range(12)]
    (everything,) = pipeline(found, scorer=worse).run(film(12))
    progress = Progress()
    (frugal,) = pipeline(found, scorer=worse, new_bound=new_bound).run(film(12), progress=progress)
    assert [s.crop.pts_s for s in frugal.shots] == [s.crop.pts_s for s in everything.shots]
    assert progress.scored == frugal.summary.frames_scored == 3
    assert frugal.summary.rejected == {Rejection.OUTSCORED: 9}
    assert bounds[0].learnt == [0.0, -0.1, -0.2]
    list(pipeline(found, scorer=worse, new_bound=new_bound).run(film(12)))
    assert len(bounds) == 2
