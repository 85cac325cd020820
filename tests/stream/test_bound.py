"""Bounds on scores: what they are made of, what they save, and that exact ones change no shot."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.bound import MEMORY, PRIOR_SCORES, REMEMBERED_TRACKS, TrackBound
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.ports import ScoreBound
from facesieve.stream.selection import TopKSelector
from facesieve.stream.types import Crop, Quality, Rejection, TrackEnd, TrackResult

CHIP = np.zeros((112, 112, 3), np.uint8)


def crop(pts_s: float, track: int = 1) -> Crop:
    box, points = np.zeros(4, np.float32), np.zeros((5, 2), np.float32)
    return Crop(track, 0, pts_s, None, CHIP, None, (0, 0), box, points, 0.9, 40.0, 0.0)


def by_time(crops: Sequence[Crop]) -> list[float]:
    return [c.pts_s for c in crops]


def score(value: float) -> Quality:
    return Quality(value, "test")


def test_it_fits_the_port() -> None:
    bound: ScoreBound = TrackBound(by_time, 0.0)
    assert bound.bounds([]) == []


def test_a_new_track_has_the_estimate_and_the_margin() -> None:
    assert TrackBound(by_time, 0.25).bounds([crop(1.0), crop(3.0, 2)]) == [1.25, 3.25]


def test_what_a_track_scored_moves_its_own_bound_only() -> None:
    bound = TrackBound(by_time, 0.0)
    bound.bounds([crop(1.0), crop(1.0, 2)])
    bound.learn([crop(1.0)], [score(2.0)])
    assert bound.bounds([crop(5.0), crop(5.0, 2)]) == [5 + 1 / (PRIOR_SCORES + 1), 5.0]


def test_only_the_crops_that_were_scored_teach() -> None:
    bound = TrackBound(by_time, 0.0)
    bound.bounds([crop(1.0), crop(1.0, 2)])
    bound.learn([crop(1.0, 2)], [score(0.0)])
    assert bound.bounds([crop(1.0), crop(1.0, 2)]) == [1.0, 1 - 1 / (PRIOR_SCORES + 1)]


def test_a_face_that_is_always_off_by_the_same_is_learnt_and_unlearnt() -> None:
    bound, most = TrackBound(by_time, 0.1), [0.0]
    for n in range(400):
        most = bound.bounds([crop(n / 8)])
        bound.learn([crop(n / 8)], [score(n / 8 + 0.7)])
    lasting = 1 / (1 - MEMORY)
    assert most[0] == pytest.approx(399 / 8 + 0.1 + 0.7 * lasting / (lasting + PRIOR_SCORES), abs=0.01)
    for n in range(400, 800):
        most = bound.bounds([crop(n / 8)])
        bound.learn([crop(n / 8)], [score(n / 8)])
    assert most[0] == pytest.approx(799 / 8 + 0.1, abs=0.01)


def test_memory_is_bounded() -> None:
    bound = TrackBound(by_time, 0.0)
    for track in range(3 * REMEMBERED_TRACKS):
        bound.bounds([crop(0.0, track)])
        bound.learn([crop(0.0, track)], [score(1.0)])
    assert len(bound._off) == REMEMBERED_TRACKS
    assert bound.bounds([crop(0.0, 3 * REMEMBERED_TRACKS - 1)]) == [1 / (PRIOR_SCORES + 1)]


Offers = Sequence[tuple[float, float]]
OFFERS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(-8, 8)),
    min_size=1,
    max_size=60,
    unique_by=lambda offer: offer[0],
).map(lambda pairs: sorted((tick / 8, level / 4) for tick, level in pairs))


def select(offers: Offers, policy: SelectionPolicy, slack: float | None) -> tuple[TrackResult, int]:
    """The result of one track, and how many were scored; slack: of the bound above the score."""
    selector, scored = TopKSelector(policy, source="clip"), 0
    for pts_s, value in offers:
        if slack is None or selector.wants(crop(pts_s), value + slack):
            scored += 1
            selector.offer(crop(pts_s), score(value))
    result = selector.end(1, TrackEnd.END_OF_SOURCE)
    assert result is not None
    return result, scored


def kept(result: TrackResult) -> list[tuple[float, float]]:
    return [(shot.crop.pts_s, shot.quality.score) for shot in result.shots]


@given(OFFERS, st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.25, 1.0]))
def test_bounds_that_hold_change_no_shot(offers: Offers, k: int, gap_s: float, slack: float) -> None:
    policy = SelectionPolicy(top_k=k, min_gap_s=gap_s, min_hits=1, min_score=-1.0)
    everything, _ = select(offers, policy, None)
    frugal, scored = select(offers, policy, slack)
    assert kept(frugal) == kept(everything)
    assert frugal.summary.frames_seen == everything.summary.frames_seen == len(offers)
    assert frugal.summary.kept + sum(frugal.summary.rejected.values()) == len(offers)
    assert frugal.summary.frames_scored == scored


def test_what_is_bounded_below_the_least_score_is_refused_unscored() -> None:
    policy = SelectionPolicy(min_hits=1, min_score=0.0)
    result, scored = select([(n / 8, -1.0) for n in range(8)], policy, 0.5)
    assert (scored, result.shots) == (0, ())
    assert result.summary.rejected == {Rejection.LOW_SCORE: 8}


def test_a_face_that_only_gets_worse_is_scored_k_times() -> None:
    policy = SelectionPolicy(top_k=3, min_gap_s=0.5, min_hits=1)
    result, scored = select([(n / 8, -n / 8) for n in range(80)], policy, 0.0)
    assert [shot.crop.pts_s for shot in result.shots] == [0.0, 0.5, 1.0]
    assert scored == 3
