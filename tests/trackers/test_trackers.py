"""What both trackers must hold to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.stream.types import UNCONFIRMED, Detections
from facesieve.trackers.bytetrack import ByteTrack
from facesieve.trackers.kalman import Noise
from facesieve.trackers.ocsort import OCSort

Make = Callable[..., ByteTrack | OCSort]
both = pytest.mark.parametrize("make", [ByteTrack, OCSort])


def found(boxes: npt.ArrayLike, scores: npt.ArrayLike | None = None) -> Detections:
    table = np.asarray(boxes, np.float32).reshape(-1, 4)
    given_scores = np.full(len(table), 0.9) if scores is None else scores
    return Detections(table, np.asarray(given_scores, np.float32), np.zeros((len(table), 5, 2), np.float32))


def face(x: float, y: float = 100.0, size: float = 40.0) -> list[float]:
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2]


boxes = st.lists(
    st.tuples(st.floats(0, 400), st.floats(0, 300), st.floats(5, 80), st.floats(0, 1)), max_size=6
)
frames = st.lists(st.tuples(st.floats(0.01, 1.0), boxes), min_size=1, max_size=15)


def play(tracker: ByteTrack | OCSort, frames: Any) -> list[tuple[float, Detections, Any]]:
    now, out = 0.0, []
    for dt, rows in frames:
        now += dt
        detections = found([face(x, y, s) for x, y, s, _ in rows], [score for *_, score in rows])
        out.append((now, detections, tracker.update(detections, now)))
    return out


@both
@settings(max_examples=60, deadline=None)
@given(frames=frames, min_hits=st.integers(1, 3))
def test_each_id_lives_once_and_ends_once(make: Make, frames: Any, min_hits: int) -> None:
    tracker = make(min_hits=min_hits)
    given_out: set[int] = set()
    over: list[int] = []
    for _, detections, tracking in play(tracker, frames):
        ids = [int(i) for i in tracking.ids if i != UNCONFIRMED]
        assert len(tracking.ids) == len(detections)
        assert len(set(ids)) == len(ids)
        assert not set(ids) & (set(over) | set(tracking.ended))
        assert list(tracking.ended) == sorted(tracking.ended)
        over += tracking.ended
        given_out |= set(ids)
    last = tracker.finish()
    assert list(last) == sorted(last)
    assert sorted([*over, *last]) == sorted(given_out)
    assert tracker.finish() == ()


@both
@settings(max_examples=60, deadline=None)
@given(frames=frames, seed=st.integers(0, 2**32 - 1))
def test_order_of_detections_decides_nothing(make: Make, frames: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # The same detection twice is the one case where two orders can't be told apart.
    frames = [(dt, list(dict.fromkeys(rows))) for dt, rows in frames]
    orders = [rng.permutation(len(rows)) for _, rows in frames]
    shuffled = [(dt, [rows[k] for k in order]) for (dt, rows), order in zip(frames, orders, strict=True)]
    for (_, _, a), (_, _, b), order in zip(play(make(), frames), play(make(), shuffled), orders, strict=True):
        assert a.ids[order].tolist() == b.ids.tolist()
        assert a.ended == b.ended


@both
@settings(max_examples=60, deadline=None)
@given(frames=frames)
def test_predictions_are_finite_and_change_nothing(make: Make, frames: Any) -> None:
    asked, unasked = make(), make()
    now = 0.0
    for dt, rows in frames:
        now += dt
        detections = found([face(x, y, s) for x, y, s, _ in rows], [score for *_, score in rows])
        assert asked.update(detections, now).ids.tolist() == unasked.update(detections, now).ids.tolist()
        ids, predicted = asked.predict(now + dt / 2)
        assert list(ids) == sorted(ids)
        assert predicted.shape == (len(ids), 4)
        assert np.isfinite(predicted).all()
        assert (predicted[:, 2:] > predicted[:, :2]).all()


@both
@settings(max_examples=40, deadline=None)
@given(frames=frames, slow=st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_time_has_no_favourite_unit(make: Make, frames: Any, slow: float) -> None:
    """The same film played `slow` times as long, with every rate scaled alike, gives the same ids."""
    noise = Noise()
    scaled = Noise(noise.observation, noise.acceleration * slow**-1.5, noise.speed / slow)
    options = {"momentum_s": 0.25 * slow} if make is OCSort else {}
    one = play(make(), frames)
    other = play(make(lost_s=1.5 * slow, noise=scaled, **options), [(dt * slow, rows) for dt, rows in frames])
    assert [(t.ids.tolist(), t.ended) for *_, t in one] == [(t.ids.tolist(), t.ended) for *_, t in other]


@both
@pytest.mark.parametrize("rate", [8, 25, 60])
def test_crossing_faces_keep_their_ids(make: Make, rate: int) -> None:
    """Two faces pass each other at different heights, one hiding behind the other for a moment."""
    tracker, seen = make(), []
    for k in range(3 * rate):
        t = k / rate
        seen.append(tracker.update(found([face(100 + 80 * t, 100), face(340 - 80 * t, 118)]), t).ids.tolist())
    assert seen[0] == seen[-1]
    assert {i for ids in seen for i in ids} == {1, 2}


@both
@pytest.mark.parametrize("rate", [8, 30])
@pytest.mark.parametrize(("hidden_s", "same"), [(1.0, True), (1.7, False)])
def test_hidden_for_less_than_lost_s_is_the_same_face(
    make: Make, rate: int, hidden_s: float, same: bool
) -> None:
    tracker, ids, ended = make(lost_s=1.5), set(), []
    for k in range(4 * rate):
        t = k / rate
        visible = not 1.0 < t < 1.0 + hidden_s
        tracking = tracker.update(found([face(100 + 20 * t)] if visible else []), t)
        ids |= {int(i) for i in tracking.ids}
        ended += tracking.ended
    assert ids == ({1} if same else {1, 2})
    assert ended == ([] if same else [1])


@both
def test_lost_is_counted_in_seconds_not_updates(make: Make) -> None:
    tracker = make(lost_s=1.5)
    tracker.update(found([face(100)]), 0.0)
    assert tracker.update(found([]), 1.5).ended == ()
    assert tracker.update(found([]), 1.51).ended == (1,)
    many = make(lost_s=1.5)
    many.update(found([face(100)]), 0.0)
    assert all(many.update(found([]), k / 1000).ended == () for k in range(1, 1400))


@both
def test_a_face_that_jumps_more_than_its_width_is_followed(make: Make) -> None:
    tracker = make()
    ids = [tracker.update(found([face(100 + 55 * k)]), k / 8).ids.tolist() for k in range(6)]
    assert ids == [[1]] * 6
    narrow = make(expand=0.0)
    assert narrow.update(found([face(100)]), 0).ids != narrow.update(found([face(155)]), 0.125).ids


@both
def test_id_waits_for_min_hits(make: Make) -> None:
    tracker = make(min_hits=3)
    ids = [int(tracker.update(found([face(100 + k)]), k / 8).ids[0]) for k in range(4)]
    assert ids == [UNCONFIRMED, UNCONFIRMED, 1, 1]
    blinking = make(min_hits=2)
    for k in range(6):
        assert (blinking.update(found([face(100)] if k % 2 else []), k / 8).ids == UNCONFIRMED).all()
    assert blinking.finish() == ()


@both
def test_doubtful_detections_start_nothing(make: Make) -> None:
    tracker = make(high_score=0.5, new_score=0.6)
    assert tracker.update(found([face(100), face(200), face(300)], [0.4, 0.55, 0.6]), 0.0).ids.tolist() == [
        UNCONFIRMED,
        UNCONFIRMED,
        1,
    ]


def test_low_scores_continue_a_bytetrack_only_while_it_is_fresh() -> None:
    tracker = ByteTrack(high_score=0.5, low_score=0.3)
    tracker.update(found([face(100)]), 0.0)
    assert tracker.update(found([face(101)], [0.35]), 0.1).ids.tolist() == [1]
    assert tracker.update(found([face(101)], [0.2]), 0.2).ids.tolist() == [UNCONFIRMED]
    assert tracker.update(found([face(101)], [0.35]), 0.3).ids.tolist() == [UNCONFIRMED]
    assert tracker.update(found([face(101)], [0.9]), 0.4).ids.tolist() == [1]


def test_a_hardly_seen_face_does_not_reach_out_for_a_clear_one_beside_it() -> None:
    """Someone hides behind another's head: what is left of him is doubtful when the other one turns up."""
    for last, ids in ((0.9, [1]), (0.35, [2])):
        tracker = ByteTrack(high_score=0.5, low_score=0.3)
        tracker.update(found([face(100)]), 0.0)
        assert tracker.update(found([face(101)], [last]), 0.125).ids.tolist() == [1]
        assert tracker.update(found([face(151)]), 0.25).ids.tolist() == ids


@both
def test_what_is_no_box_gets_no_id(make: Make) -> None:
    tracker = make()
    odd = [[np.nan, 0, 10, 10], [0, 0, np.inf, 10], [10, 10, 10, 20], [20, 20, 10, 10]]
    tracking = tracker.update(found([*odd, face(100)]), 0.0)
    assert tracking.ids.tolist() == [UNCONFIRMED] * 4 + [1]


@both
@pytest.mark.parametrize("pts_s", [1.0, 0.5, np.nan, np.inf])
def test_time_must_go_on(make: Make, pts_s: float) -> None:
    tracker = make()
    tracker.update(found([face(100)]), 1.0)
    with pytest.raises(ValueError, match=r"expected pts_s finite and after 1\.0"):
        tracker.update(found([face(100)]), pts_s)


@both
def test_ids_go_on_after_a_cut(make: Make) -> None:
    tracker = make()
    tracker.update(found([face(100)]), 0.0)
    assert tracker.finish() == (1,)
    assert tracker.update(found([face(100)]), 0.1).ids.tolist() == [2]


@both
def test_memory_is_that_of_the_last_seconds(make: Make) -> None:
    tracker = make(lost_s=0.5)
    for k in range(400):
        tracker.update(found([face(50 + 100 * (k % 40)), face(90, 400 + 100 * (k % 17))]), k * 0.1)
        assert len(tracker.predict(k * 0.1)[0]) <= 2 * 6


def test_predict_can_leave_out_the_unseen() -> None:
    tracker = ByteTrack()
    tracker.update(found([face(100), face(300)]), 0.0)
    tracker.update(found([face(100)]), 0.1)
    assert tracker.predict(0.15)[0].tolist() == [1, 2]
    assert tracker.predict(0.15, unseen_s=0.0)[0].tolist() == [1]


def test_prediction_follows_the_motion() -> None:
    tracker = OCSort()
    for k in range(10):
        tracker.update(found([face(100 + 10 * k)]), k / 10)
    middle = tracker.predict(0.95)[1][0, [0, 2]].mean()
    assert middle == pytest.approx(195, abs=1)


@both
def test_impossible_settings_are_refused(make: Make) -> None:
    for wrong in (
        {"lost_s": 0.0},
        {"min_hits": 0},
        {"match_iou": 0.0},
        {"expand": -1.0},
        {"max_growth": 0.5},
    ):
        with pytest.raises(ValueError, match="expected"):
            make(**wrong)
