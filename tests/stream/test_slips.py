"""Tracks that go on with somebody else's face: when that is noticed, and what becomes of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.errors import ModelInvalid
from facesieve.stream.pipeline import Pipeline
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.selection import TopKSelector
from facesieve.stream.slips import SlipLimits, Watched
from facesieve.stream.testing import ListSource, ScriptedDetector, ScriptedScorer
from facesieve.stream.types import (
    UNCONFIRMED,
    Crop,
    Detections,
    Frame,
    Quality,
    TrackEnd,
    Tracking,
    TrackResult,
)

HZ = 8
LIMITS = SlipLimits(least=0.5, score=0.2)
ANN, BEA = np.float32([1, 0]), np.float32([0.2, np.sqrt(0.96)])
SHAPE = np.float32([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])


def faces(*xs: float) -> Detections:
    boxes = np.float32([[x, 60, x + 60, 120] for x in xs]).reshape(-1, 4)
    points = boxes[:, None, :2] + 60 * SHAPE
    return Detections(boxes, np.full(len(xs), 0.9, np.float32), points)


class Given:
    """A tracker that says what it is told to: ids of each update, and who ends then."""

    def __init__(self, *updates: Sequence[int], ends: dict[int, tuple[int, ...]] | None = None) -> None:
        self._updates, self._ends, self._at = updates, ends or {}, -1

    def update(self, detections: Detections, pts_s: float) -> Tracking:
        self._at += 1
        return Tracking(np.array(self._updates[self._at], np.int64), self._ends.get(self._at, ()))

    def finish(self) -> tuple[int, ...]:
        return tuple(sorted({i for ids in self._updates[: self._at + 1] for i in ids if i >= 0}))


def tracked(*ids: int, ended: tuple[int, ...] = ()) -> Tracking:
    return Tracking(np.array(ids, np.int64), ended)


def crop(track: int, look: int) -> Crop:
    chip = np.zeros((112, 112, 3), np.uint8)
    box, points = np.zeros(4, np.float32), np.zeros((5, 2), np.float32)
    return Crop(track, look, look / HZ, None, chip, None, (0, 0), box, points, 0.9, 40.0, 0.0)


def shown(face: np.ndarray, score: float = 0.9) -> Quality:
    return Quality(score, "test", embedding=face)


def watch(
    looks: Sequence[tuple[float, Quality | None] | None], limits: SlipLimits | None = LIMITS
) -> list[int]:
    """One track of the tracker, look by look: where its face is and what a scorer says of it (None: not
    scored), or None where it is out of sight → the id after each look that saw it."""
    watched = Watched(limits)
    ids = []
    for at, look in enumerate(looks):
        tracking = watched.see(tracked(1), faces(look[0])) if look else watched.see(tracked(), faces())
        if look is None:
            continue
        track = int(tracking.ids[0])
        if look[1] is not None:
            track = dict(watched.follow([crop(track, at)], [look[1]])).get(track, track)
        ids.append(track)
    return ids


HERE = 50.0
A, B, UNSCORED = (HERE, shown(ANN)), (HERE, shown(BEA)), (HERE, None)


@pytest.mark.parametrize(
    ("looks", "ids"),
    [
        ([A, A, A], [1, 1, 1]),
        ([A, A, B, B], [1, 1, 2, 2]),  # a chip was compared a moment before: nobody changes so quickly
        ([A, B, A], [1, 2, 3]),
        ([A, None, B], [1, 2]),  # out of sight, and back as another
        ([A, UNSCORED, UNSCORED, UNSCORED, B], [1, 1, 1, 1, 1]),  # may have turned, unseen
        ([A, None, UNSCORED, UNSCORED, UNSCORED, B], [1, 1, 1, 1, 2]),  # the doubt stays until it is settled
        ([A, (HERE + 50, None), UNSCORED, UNSCORED, B], [1, 1, 1, 1, 2]),  # jumped
        ([A, None, (HERE, shown(BEA, 0.1)), A], [1, 1, 1]),  # too poor to look like anybody
        ([(HERE, shown(ANN, 0.1)), B, B], [1, 1, 1]),
        ([A, None, (HERE, Quality(0.9, "analytical"))], [1, 1]),
        ([A, None, (HERE, shown(BEA, float("nan")))], [1, 1]),
    ],
)
def test_when_a_track_is_taken_for_two(
    looks: Sequence[tuple[float, Quality | None] | None], ids: list[int]
) -> None:
    assert watch(looks) == ids
    assert set(watch(looks, None)) == {1}


def test_a_face_that_turns_step_by_step_stays_the_same() -> None:
    turns = [np.float32([np.cos(a), np.sin(a)]) for a in np.linspace(0, np.pi, 12)]
    assert watch([(HERE, shown(turn)) for turn in turns]) == [1] * 12


def test_a_doubted_face_is_to_be_scored_unless_it_is_hopeless() -> None:
    watched = Watched(LIMITS)
    watched.see(tracked(1), faces(HERE))
    watched.follow([crop(1, 0)], [shown(ANN)])
    assert not watched.doubts(1, 1.0)
    watched.see(tracked(), faces())
    watched.see(tracked(1), faces(HERE))
    assert watched.doubts(1, 0.2)
    assert not watched.doubts(1, 0.19)
    watched.follow([crop(1, 2)], [shown(ANN)])
    assert not watched.doubts(1, 1.0)


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(1, 9), st.sampled_from([None, ANN, BEA])),
            max_size=4,
            unique_by=lambda f: f[0],
        ),
        max_size=12,
    )
)
def test_ids_ascend_and_each_ends_once(looks: list[list[tuple[int, np.ndarray | None]]]) -> None:
    watched = Watched(LIMITS)
    given_out: list[int] = []
    over: list[int] = []
    for at, look in enumerate(looks):
        known_as = [track for track, _ in look]
        ids = watched.see(tracked(*known_as), faces(*[HERE] * len(look))).ids.tolist()
        scored = [(track, face) for track, (_, face) in zip(ids, look, strict=True) if face is not None]
        slipped = watched.follow([crop(t, at) for t, _ in scored], [shown(f) for _, f in scored])
        assert watched.left == tuple(slipped)
        assert [watched.name(track) for track in known_as] == [slipped.get(track, track) for track in ids]
        over += slipped
        for track in sorted({*ids, *slipped.values()} - set(given_out)):
            assert track > max(given_out, default=-1)
            given_out.append(track)
    over += watched.finish()
    assert sorted(over) == given_out
    assert watched.finish() == ()


def test_the_trackers_own_numbers_stand_until_the_first_slip() -> None:
    watched = Watched(LIMITS)
    for ids in ([3, UNCONFIRMED, 1], [3, 5, 1], [3, 6, 7]):
        tracking = watched.see(tracked(*ids, ended=(1, 5) if 7 in ids else ()), faces(HERE, HERE, HERE))
        assert tracking.ids.tolist() == ids
    assert tracking.ended == (1, 5)
    assert watched.end([6, 2]) == (6,)
    assert watched.finish() == (3, 7)


class Boxes:
    def __init__(self) -> None:
        self.ids: list[list[int]] = []

    def offer(self, frame: Frame, found: Detections, tracking: Tracking) -> None:
        self.ids.append(tracking.ids.tolist())


def run(scorer: ScriptedScorer, boxes: Boxes, looks: int = 8, **parts: object) -> list[TrackResult]:
    """A face in the same place in all looks, which the tracker takes for one."""
    policy = SelectionPolicy(min_hits=1, min_gap_s=0.0)
    options = {
        "detector": ScriptedDetector([faces(HERE)] * looks),
        "new_tracker": lambda: Given(*[[1]] * looks),
        "scorer": scorer,
        "new_selector": lambda source, stills: TopKSelector(policy, source=source, stills=stills),
        "hz": 0.0,
        "slips": LIMITS,
    }
    pipeline = Pipeline(**{**options, **parts})  # type: ignore[arg-type]
    source = ListSource([np.full((200, 200, 3), 90, np.uint8)] * looks, fps=HZ)
    results: list[TrackResult] = []
    try:
        for result in pipeline.run(source, boxes=boxes):
            results.append(result)  # noqa: PERF402
    except ModelInvalid:
        pass
    return results


def test_a_film_in_which_a_track_slips() -> None:
    boxes = Boxes()
    first, second = run(
        ScriptedScorer(lambda crop: shown(ANN if crop.frame_index < 5 else BEA, 0.5 + crop.pts_s / 10)), boxes
    )
    assert (first.summary.track, first.summary.end, first.summary.frames_seen) == (1, TrackEnd.SLIPPED, 5)
    assert [shot.crop.frame_index for shot in first.shots] == [4, 3, 2]
    assert (second.summary.track, second.summary.end) == (2, TrackEnd.END_OF_SOURCE)
    assert [shot.crop.frame_index for shot in second.shots] == [7, 6, 5]
    assert {shot.crop.track for shot in second.shots} == {2}
    assert boxes.ids == [[1]] * 5 + [[2]] * 3


def test_both_tracks_end_when_something_fails_at_the_slip() -> None:
    class Failing:
        def assess(self, crops: Sequence[Crop]) -> list[dict[str, float]]:
            raise ModelInvalid("NaN")

        def close(self) -> None: ...

    policy = SelectionPolicy(min_hits=1, min_gap_s=0.0, fit=lambda components: ())
    measured = {"sharpness": 90.0}

    def score(crop: Crop) -> Quality:
        slipped = crop.frame_index >= 5
        plain = shown(BEA if slipped else ANN)
        return plain if slipped else dataclasses.replace(plain, components=measured)

    boxes = Boxes()
    results = run(
        ScriptedScorer(score),
        boxes,
        assessor=Failing(),
        new_selector=lambda source, stills: TopKSelector(policy, source=source, stills=stills),
    )
    assert [(r.summary.track, r.summary.end) for r in results] == [(1, TrackEnd.SHUTDOWN)]
    assert len(results[0].shots) == 3
    assert boxes.ids == [[1]] * 5 + [[2]]
