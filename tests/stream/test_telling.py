"""Early shots, windows and components on their way through a pipeline."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from facesieve.stream.errors import ModelInvalid
from facesieve.stream.gate import gate
from facesieve.stream.pipeline import Pipeline, Progress
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.selection import TopKSelector
from facesieve.stream.testing import ListSource, ScriptedDetector, ScriptedScorer
from facesieve.stream.types import Crop, Detections, Quality, Rejection, ShotRevision, TrackEnd, TrackResult
from facesieve.trackers.bytetrack import ByteTrack

SHAPE = (0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)
PICTURE = np.kron(np.random.default_rng(0).integers(0, 255, (12, 16, 3)), np.ones((20, 20, 1))).astype(
    np.uint8
)
UNCOVERED = "face_occlusion_prevention"


def faces(*corners: tuple[float, float]) -> Detections:
    corner = np.array(corners, np.float32).reshape(-1, 2)
    boxes = np.concatenate([corner, corner + 60], axis=1)
    points = np.array(SHAPE, np.float32) * 60 + corner[:, None]
    return Detections(boxes, np.full(len(corner), 0.9, np.float32), points)


class Clear:
    """Assesses by what a function says of a crop. batches: the times of every batch."""

    def __init__(self, share: float | type[Exception] = 1.0) -> None:
        self._share = share
        self.batches: list[list[float]] = []

    def assess(self, crops: Sequence[Crop]) -> Sequence[Mapping[str, float]]:
        self.batches.append([round(crop.pts_s, 3) for crop in crops])
        if not isinstance(self._share, float):
            raise self._share("the assessor failed")
        return [{UNCOVERED: 100 * self._share, "at": crop.pts_s} for crop in crops]

    def close(self) -> None: ...


def wave(crop: Crop) -> Quality:
    """Better and worse in turn, differently for each face."""
    value = 0.5 + 0.4 * math.sin(3 * crop.pts_s + crop.box[0] / 50)
    return Quality(value, "wave", value)


Told = tuple[list[TrackResult], list[ShotRevision]]


def run(found: Sequence[Detections], policy: SelectionPolicy, **parts: Any) -> Told:
    told: list[ShotRevision] = []
    made = Pipeline(
        detector=ScriptedDetector(found),
        new_tracker=ByteTrack,
        scorer=ScriptedScorer(wave),
        new_selector=lambda source, stills: TopKSelector(policy, source=source, stills=stills),
        gate=functools.partial(gate, policy=policy),
        hz=0.0,
        **parts,
    )
    source = ListSource([PICTURE] * len(found), fps=8, name="film")
    return list(made.run(source, on_revision=told.append)), told


TWO = [faces((20 + i, 40), (200 - i, 90)) for i in range(40)]


@pytest.mark.parametrize("emit", ["quality", "timeliness", "realtime"])
@pytest.mark.parametrize("diversity", ["none", "pose"])
def test_one_thread_tells_what_many_tell(emit: Any, diversity: Any) -> None:
    policy = SelectionPolicy(emit=emit, diversity=diversity, max_track_s=2.0, silent_s=0.25)
    many, one = run(TWO, policy), run(TWO, policy, ahead=False)
    assert [r.summary for r in many[0]] == [r.summary for r in one[0]]
    assert [(r.track, r.window, r.revision, r.pts_s, r.why) for r in many[1]] == [
        (r.track, r.window, r.revision, r.pts_s, r.why) for r in one[1]
    ]
    for a, b in zip(many[0], one[0], strict=True):
        assert [s.crop.frame_index for s in a.shots] == [s.crop.frame_index for s in b.shots]
    assert bool(many[1]) == (emit != "quality")
    assert {r.summary.window for r in many[0]} == {0, 1, 2}


def test_windows_count_as_one_track_and_come_as_they_are_over() -> None:
    progress = Progress()
    policy = SelectionPolicy(max_track_s=2.0)
    made = Pipeline(
        detector=ScriptedDetector([faces((20, 40))] * 40),
        new_tracker=ByteTrack,
        scorer=ScriptedScorer(wave),
        new_selector=lambda source, stills: TopKSelector(policy, source=source, stills=stills),
        hz=0.0,
        ahead=False,
    )
    results = made.run(ListSource([PICTURE] * 40, fps=8, name="film"), progress=progress)
    assert next(results).summary.end is TrackEnd.WINDOW
    assert progress.pts_s == 2.0
    rest = list(results)
    assert [r.summary.end for r in rest] == [TrackEnd.WINDOW, TrackEnd.END_OF_SOURCE]
    assert (progress.tracks, progress.shots) == (1, 3 + sum(len(r.shots) for r in rest))


def test_components_of_kept_shots_are_measured_once_in_a_batch() -> None:
    assessor = Clear()
    results, _ = run(TWO, SelectionPolicy(), assessor=assessor)
    assert [len(batch) for batch in assessor.batches] == [6]  # both tracks end with the film
    for result in results:
        for shot in result.shots:
            assert shot.quality.components["at"] == shot.crop.pts_s


def test_a_shot_is_marked_fit_to_enrol_only_if_its_components_allow_it() -> None:
    policy = SelectionPolicy(enrol_min_quality=0.0)

    def fails(components: Mapping[str, float]) -> tuple[str, ...]:
        return ("at",) if components["at"] > 1.0 else ()

    for judged in (policy, SelectionPolicy(enrol_min_quality=0.0, max_occlusion=0.5)):
        results, _ = run(TWO, judged, assessor=Clear(), enrols=fails)
        shots = [shot for result in results for shot in result.shots]
        assert {shot.enrol for shot in shots} == {True, False}
        assert all(shot.enrol == (shot.crop.pts_s <= 1.0) for shot in shots)
    unmeasured, _ = run(TWO, policy)
    assert all(shot.enrol for result in unmeasured for shot in result.shots)


def test_components_that_decide_are_measured_of_few_and_once() -> None:
    assessor = Clear()
    policy = SelectionPolicy(top_k=1, max_occlusion=0.5)
    results, _ = run(TWO, policy, assessor=assessor)
    measured = sum(map(len, assessor.batches))
    assert 2 <= measured < 40
    assert max(map(len, assessor.batches)) == 2  # faces of one frame in one call
    assert all(UNCOVERED in shot.quality.components for result in results for shot in result.shots)
    plain, _ = run(TWO, SelectionPolicy(top_k=1))
    assert [r.shots[0].crop.pts_s for r in results] == [r.shots[0].crop.pts_s for r in plain]


def test_covered_faces_are_no_shots() -> None:
    results, told = run(TWO, SelectionPolicy(max_occlusion=0.5, emit="realtime"), assessor=Clear(0.4))
    assert [r.shots for r in results] == [(), ()]
    assert [dict(r.summary.rejected) for r in results] == [{Rejection.OCCLUDED: 40}] * 2
    assert told == []


@pytest.mark.parametrize("ahead", [False, True])
def test_an_assessor_that_fails_costs_no_terminal_event(ahead: bool) -> None:
    got: list[TrackResult] = []
    policy = SelectionPolicy(max_track_s=2.0)
    made = Pipeline(
        detector=ScriptedDetector(TWO),
        new_tracker=ByteTrack,
        scorer=ScriptedScorer(wave),
        new_selector=lambda source, stills: TopKSelector(policy, source=source, stills=stills),
        hz=0.0,
        assessor=Clear(ModelInvalid),
        ahead=ahead,
    )
    with pytest.raises(ModelInvalid, match="the assessor failed"):
        got.extend(made.run(ListSource([PICTURE] * 40, fps=8, name="film")))
    assert all(result.shots for result in got[:2])
    ends = {track: [r.summary.end for r in got if r.summary.track == track] for track in (1, 2)}
    if not ahead:  # else how far the loop has come by then is up to the threads
        assert ends[1] == ends[2] == [TrackEnd.WINDOW, TrackEnd.SHUTDOWN]
    for told in ends.values():
        assert set(told[:-1]) == {TrackEnd.WINDOW}
        assert told[-1] in (TrackEnd.SHUTDOWN, TrackEnd.END_OF_SOURCE)


def test_a_listener_that_fails_costs_no_terminal_event() -> None:
    def fail(revision: ShotRevision) -> None:
        raise ModelInvalid(f"no room for {revision.track}")

    policy = SelectionPolicy(emit="realtime")
    made = Pipeline(
        detector=ScriptedDetector(TWO),
        new_tracker=ByteTrack,
        scorer=ScriptedScorer(wave),
        new_selector=lambda source, stills: TopKSelector(policy, source=source, stills=stills),
        hz=0.0,
    )
    got: list[TrackResult] = []
    with pytest.raises(ModelInvalid, match="no room"):
        got.extend(made.run(ListSource([PICTURE] * 40, fps=8, name="film"), on_revision=fail))
    assert sorted(r.summary.track for r in got) == [1, 2]
    assert {r.summary.end for r in got} <= {TrackEnd.SHUTDOWN, TrackEnd.END_OF_SOURCE}
