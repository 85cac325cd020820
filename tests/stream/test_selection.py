"""Selection against a brute force that keeps everything, and its rules one by one."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from facesieve.stream.analytical import sharpness
from facesieve.stream.candidates import TIMELINE_POINTS
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.ports import Selector
from facesieve.stream.selection import TopKSelector
from facesieve.stream.types import Crop, Quality, Refusal, Rejection, TrackEnd, TrackResult

CHIP = np.zeros((112, 112, 3), np.uint8)
LOOSE = SelectionPolicy(top_k=3, min_gap_s=0.5, min_hits=1)


def crop(pts_s: float, track: int = 1, truncated: float = 0.0) -> Crop:
    box, points = np.zeros(4, np.float32), np.zeros((5, 2), np.float32)
    return Crop(track, 0, pts_s, None, CHIP, None, (0, 0), box, points, 0.9, 40.0, truncated)


def quality(score: float, **factors: float) -> Quality:
    return Quality(score, "test", None, factors)


Offers = Sequence[tuple[float, float]]


def select(offers: Offers, settings: SelectionPolicy, why: TrackEnd = TrackEnd.LOST) -> TrackResult:
    """(pts, score) pairs of one track in the order given."""
    selector = TopKSelector(settings, source="clip")
    for pts_s, score in offers:
        selector.offer(crop(pts_s), quality(score))
    result = selector.end(1, why)
    assert result is not None
    return result


def kept(result: TrackResult) -> list[tuple[float, float]]:
    return [(shot.crop.pts_s, shot.quality.score) for shot in result.shots]


def ticks(pts_s: float) -> int:
    return round(pts_s * 1_000_000)


def brute_force(offers: Offers, k: int, gap_s: float) -> list[tuple[float, float]]:
    """Every bucket's winner is kept to the end, then taken best first under the gap."""
    gap = ticks(gap_s)
    winners: dict[int, tuple[float, float]] = {}
    for pts_s, score in sorted(offers, key=lambda offer: (-offer[1], offer[0])):
        winners.setdefault(ticks(pts_s) // gap if gap else ticks(pts_s), (pts_s, score))
    chosen: list[tuple[float, float]] = []
    for pts_s, score in sorted(winners.values(), key=lambda offer: (-offer[1], offer[0])):
        if len(chosen) < k and all(abs(ticks(pts_s) - ticks(other)) >= gap for other, _ in chosen):
            chosen.append((pts_s, score))
    return chosen


# Few distinct scores, so that ties are common; times on and between the borders of buckets.
TIMES = st.one_of(st.integers(0, 60).map(lambda i: i / 20), st.floats(0, 40), st.floats(-3, 3))
TRACKS = st.lists(st.tuples(TIMES, st.integers(0, 9).map(float)), min_size=1, max_size=120).map(
    lambda offers: sorted({ticks(pts): (pts, score) for pts, score in offers}.values())
)
KS = st.integers(1, 5)
GAPS = st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 7.0])


def test_it_fits_the_port() -> None:
    fits: Selector = TopKSelector(LOOSE, source="clip")
    assert fits.end(1, TrackEnd.LOST) is None


@given(TRACKS, KS, GAPS)
def test_equal_to_brute_force(offers: Offers, k: int, gap_s: float) -> None:
    result = select(offers, replace(LOOSE, top_k=k, min_gap_s=gap_s))
    assert kept(result) == brute_force(offers, k, gap_s)


@given(TRACKS, KS, GAPS)
def test_never_more_than_k_never_nearer_than_the_gap_ranked(offers: Offers, k: int, gap_s: float) -> None:
    result = select(offers, replace(LOOSE, top_k=k, min_gap_s=gap_s))
    assert 1 <= len(result.shots) <= k
    assert [shot.rank for shot in result.shots] == list(range(1, len(result.shots) + 1))
    scores = [shot.quality.score for shot in result.shots]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == max(score for _, score in offers)
    times = sorted(ticks(shot.crop.pts_s) for shot in result.shots)
    assert all(b - a >= ticks(gap_s) for a, b in pairwise(times))


@given(TRACKS, KS, GAPS, st.randoms(use_true_random=False))
def test_order_within_a_bucket_does_not_matter(offers: Offers, k: int, gap_s: float, random: Random) -> None:
    settings = replace(LOOSE, top_k=k, min_gap_s=gap_s)
    gap = ticks(gap_s) or 1
    shuffled = sorted(offers, key=lambda offer: (ticks(offer[0]) // gap, random.random()))
    first, second = select(offers, settings), select(shuffled, settings)
    assert kept(first) == kept(second)
    assert first.summary.rejected == second.summary.rejected


@given(TRACKS, KS, GAPS, st.randoms(use_true_random=False))
def test_what_is_kept_depends_on_no_order(offers: Offers, k: int, gap_s: float, random: Random) -> None:
    settings = replace(LOOSE, top_k=k, min_gap_s=gap_s)
    shuffled = list(offers)
    random.shuffle(shuffled)
    assert kept(select(shuffled, settings)) == kept(select(offers, settings))


@given(TRACKS, KS, GAPS)
def test_memory_is_bounded_and_peek_is_what_end_gives(offers: Offers, k: int, gap_s: float) -> None:
    selector = TopKSelector(replace(LOOSE, top_k=k, min_gap_s=gap_s), source="clip")
    for i, (pts_s, score) in enumerate(offers):
        selector.offer(crop(pts_s), quality(score))
        assert 1 <= selector.held <= 3 * k - 2
        best = [(shot.crop.pts_s, shot.quality.score) for shot in selector.peek(1)]
        assert best == brute_force(offers[: i + 1], k, gap_s)
    last = selector.peek(1)
    result = selector.end(1, TrackEnd.LOST)
    assert result is not None
    assert last == result.shots
    assert selector.held == 0
    assert selector.peek(1) == ()


GATES = st.sampled_from([None, None, None, Rejection.SMALL, Rejection.POSE, Rejection.TRUNCATED])


@given(st.lists(st.tuples(st.integers(0, 9), GATES), max_size=150), KS, GAPS, st.integers(1, 20))
def test_every_detection_is_accounted_for(
    seen: list[tuple[int, Rejection | None]], k: int, gap_s: float, min_hits: int
) -> None:
    settings = SelectionPolicy(top_k=k, min_gap_s=gap_s, min_hits=min_hits, min_score=3.0)
    selector = TopKSelector(settings, source="clip")
    good: list[tuple[float, float]] = []
    for i, (score, refused) in enumerate(seen):
        if refused is not None:
            selector.reject(1, i / 8, Refusal(refused))
            continue
        selector.offer(crop(i / 8), quality(float(score)))
        if score >= 3:
            good.append((i / 8, float(score)))
    result = selector.end(1, TrackEnd.LOST)
    if not seen:
        assert result is None
        return
    assert result is not None
    summary = result.summary
    chosen = [] if len(seen) < min_hits else brute_force(good, k, gap_s)
    expected = Counter(refused for _, refused in seen if refused is not None)
    expected[Rejection.LOW_SCORE] = sum(refused is None and score < 3 for score, refused in seen)
    for pts_s, _ in [offer for offer in good if offer not in chosen]:
        near = any(abs(ticks(pts_s) - ticks(other)) < ticks(gap_s) for other, _ in chosen)
        late = Rejection.NEAR_DUPLICATE if near else Rejection.OUTSCORED
        expected[Rejection.SHORT_TRACK if len(seen) < min_hits else late] += 1
    assert summary.frames_seen == len(seen)
    assert summary.frames_scored == sum(refused is None for _, refused in seen)
    assert summary.kept == len(result.shots) == len(chosen)
    assert dict(summary.rejected) == {reason: n for reason, n in expected.items() if n}
    assert summary.kept + sum(summary.rejected.values()) == summary.frames_seen


@given(TRACKS, KS, GAPS)
def test_the_timeline_shows_each_scored_candidate(offers: Offers, k: int, gap_s: float) -> None:
    assume(len(offers) <= TIMELINE_POINTS)
    result = select(offers, replace(LOOSE, top_k=k, min_gap_s=gap_s))
    points = result.summary.timeline
    assert [(p.pts_s, p.score) for p in points] == offers
    assert sorted((p.pts_s, p.score) for p in points if p.rejected is None) == sorted(kept(result))
    counted = Counter(p.rejected for p in points if p.rejected is not None)
    assert counted == Counter(result.summary.rejected)


def test_a_long_track_is_thinned_but_shows_its_shots() -> None:
    rng = np.random.default_rng(0)
    offers = [(i / 25, float(score)) for i, score in enumerate(rng.random(20_011))]
    result = select(offers, LOOSE)
    points = result.summary.timeline
    assert TIMELINE_POINTS / 2 <= len(points) <= TIMELINE_POINTS + 3
    times = [p.pts_s for p in points]
    assert times == sorted(times)
    assert max(np.diff(times)) < 10
    assert sorted((p.pts_s, p.score) for p in points if p.rejected is None) == sorted(kept(result))
    assert points == select(offers, LOOSE).summary.timeline
    assert sum(result.summary.rejected.values()) + 3 == 20_011


def test_a_long_track_holds_few_times_of_losers() -> None:
    selector = TopKSelector(LOOSE, source="clip")
    rng = np.random.default_rng(1)
    most = 0
    for i in range(20_000):
        selector.offer(crop(i / 10), quality(float(rng.random())))
        most = max(most, sum(len(times) for times in selector._tracks[1].window.candidates._losers.values()))
    # 3·(3k−2) + 3 buckets of 5 detections, and one being filled.
    assert most <= (3 * 7 + 4) * 5


def test_each_track_ends_once_and_is_separate() -> None:
    selector = TopKSelector(LOOSE, source="clip")
    for track in (1, 2):
        selector.offer(crop(1.0, track), quality(float(track)))
    first = selector.end(2, TrackEnd.LOST)
    assert first is not None
    assert (first.summary.track, first.shots[0].quality.score) == (2, 2.0)
    assert selector.end(2, TrackEnd.LOST) is None
    with pytest.raises(ValueError, match="track 2 of 'clip' has ended"):
        selector.offer(crop(2.0, 2), quality(1.0))
    with pytest.raises(ValueError, match="has ended"):
        selector.reject(2, 2.0, Refusal(Rejection.SMALL))
    assert len(selector.peek(1)) == 1
    assert selector.end(1, TrackEnd.SHUTDOWN) is not None


def test_equal_scores_keep_the_earlier() -> None:
    assert kept(select([(1.1, 5.0), (1.0, 5.0), (1.2, 5.0)], replace(LOOSE, top_k=1))) == [(1.0, 5.0)]


def test_without_a_shot_the_track_still_has_its_result() -> None:
    selector = TopKSelector(LOOSE, source="clip")
    for i in range(4):
        selector.reject(1, i / 8, Refusal(Rejection.SMALL))
    result = selector.end(1, TrackEnd.LOST)
    assert result is not None
    assert result.shots == ()
    assert dict(result.summary.rejected) == {Rejection.SMALL: 4}
    assert (result.summary.first_pts_s, result.summary.last_pts_s) == (0.0, 0.375)
    assert result.summary.timeline == ()


@pytest.mark.parametrize(
    ("why", "shots"),
    [
        (TrackEnd.LOST, 0),
        (TrackEnd.END_OF_SOURCE, 1),  # the last face before the end of a file
        (TrackEnd.SCENE_CUT, 1),
        (TrackEnd.SHUTDOWN, 1),
    ],
)
def test_a_track_too_short_is_dropped_only_if_it_had_the_time(why: TrackEnd, shots: int) -> None:
    settings = replace(LOOSE, min_hits=3, min_track_s=1.0)
    result = select([(9.8, 0.5), (9.9, 0.6)], settings, why)
    assert len(result.shots) == shots
    reason = Rejection.NEAR_DUPLICATE if shots else Rejection.SHORT_TRACK
    assert dict(result.summary.rejected) == {reason: 2 - shots}


def test_a_track_may_have_hits_enough_and_still_be_too_brief() -> None:
    offers = [(0.0, 1.0), (0.1, 2.0), (0.2, 1.0)]
    assert kept(select(offers, replace(LOOSE, min_hits=3, min_track_s=0.3))) == []
    assert kept(select(offers, replace(LOOSE, min_hits=3, min_track_s=0.2))) == [(0.1, 2.0)]


def test_gate_reasons_outlive_a_short_track() -> None:
    selector = TopKSelector(replace(LOOSE, min_hits=5), source="clip")
    selector.reject(1, 0.0, Refusal(Rejection.POSE, ("yaw", "roll")))
    selector.offer(crop(0.1), quality(1.0))
    result = selector.end(1, TrackEnd.LOST)
    assert result is not None
    assert dict(result.summary.rejected) == {Rejection.POSE: 1, Rejection.SHORT_TRACK: 1}
    assert dict(result.summary.failed) == {"roll": 1, "yaw": 1}
    assert [p.rejected for p in result.summary.timeline] == [Rejection.SHORT_TRACK]


def test_stills_need_no_hits() -> None:
    selector = TopKSelector(SelectionPolicy(min_hits=3, min_track_s=2.0), source="folder", stills=True)
    selector.offer(crop(0.0), quality(0.1))
    result = selector.end(1, TrackEnd.LOST)
    assert result is not None
    assert len(result.shots) == 1


@pytest.mark.parametrize(
    ("share", "contrast", "why"),
    [
        (0.2, 100, None),
        (0.21, 100, Rejection.TRUNCATED),
        (0.2, 0, Rejection.BLURRED),
        (0.21, 0, Rejection.TRUNCATED),  # what costs nothing comes first
    ],
)
def test_tests_of_a_chip_need_no_score(share: float, contrast: int, why: Rejection | None) -> None:
    selector = TopKSelector(replace(LOOSE, max_truncated=0.2, min_sharpness=0.5), source="clip")
    squares = np.indices((112, 112)).sum(0) % 2
    chip = np.repeat(squares[..., None] * contrast, 3, axis=2).astype(np.uint8)
    made = replace(crop(0.0, truncated=share), chip=chip)
    assert selector.admit(made) == why
    assert (sharpness(chip) >= 0.5) == bool(contrast)
    result = selector.end(1, TrackEnd.LOST)
    if why is None:
        assert result is None  # nothing is counted before it is offered
    else:
        assert result is not None
        assert (result.summary.frames_seen, result.summary.frames_scored) == (1, 0)
        assert dict(result.summary.rejected) == {why: 1}


@pytest.mark.parametrize(
    ("settings", "offered", "why"),
    [
        (replace(LOOSE, min_score=-1.0), (crop(0.0), quality(-1.1)), Rejection.LOW_SCORE),
        (replace(LOOSE, min_score=-1.0), (crop(0.0), quality(-1.0)), None),
        (replace(LOOSE, min_quality=0.1), (crop(0.0), Quality(-9.0, "test", 0.09)), Rejection.LOW_SCORE),
        (replace(LOOSE, min_quality=0.1), (crop(0.0), Quality(-9.0, "test", 0.1)), None),
        (replace(LOOSE, min_quality=0.1), (crop(0.0), quality(-9.0)), None),  # no calibration: no test
        (LOOSE, (crop(0.0), quality(math.nan)), Rejection.LOW_SCORE),
        (LOOSE, (crop(0.0), quality(math.inf)), Rejection.LOW_SCORE),
    ],
)
def test_tests_after_scoring(
    settings: SelectionPolicy, offered: tuple[Crop, Quality], why: Rejection | None
) -> None:
    selector = TopKSelector(settings, source="clip")
    selector.offer(*offered)
    result = selector.end(1, TrackEnd.LOST)
    assert result is not None
    assert dict(result.summary.rejected) == ({why: 1} if why else {})


def test_a_shot_says_why_it_was_kept() -> None:
    result = select([(0.0, 1.0), (1.0, 2.0)], LOOSE)
    assert [shot.reason for shot in result.shots] == [
        "best of 2 scored",
        "next best at 0.5 s or more from better shots",
    ]
    assert {shot.source for shot in result.shots} == {"clip"}
