"""Passing over what can change nothing: the shots are those of a brute force that keeps everything."""

from collections import Counter
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.stream.candidates import Candidate, Candidates, ticks
from facesieve.stream.types import Crop, Quality, Rejection

CHIP = np.zeros((112, 112, 3), np.uint8)
Offer = tuple[int, int]


def candidate(at: int, score: float) -> Candidate:
    box, points = np.zeros(4, np.float32), np.zeros((5, 2), np.float32)
    made = Crop(1, 0, at / 1e6, None, CHIP, None, (0, 0), box, points, 0.9, 40.0, 0.0)
    return Candidate(made, Quality(score, "test"), at)


def brute_force(offers: list[Offer], k: int, gap: int) -> list[Offer]:
    """Every bucket's winner is kept to the end, then taken best first under the gap."""
    winners: dict[int, Offer] = {}
    for at, score in sorted(offers, key=lambda offer: (-offer[1], offer[0])):
        winners.setdefault(at // gap if gap else at, (at, score))
    chosen: list[Offer] = []
    for at, score in sorted(winners.values(), key=lambda offer: (-offer[1], offer[0])):
        if len(chosen) < k and all(abs(at - other) >= gap for other, _ in chosen):
            chosen.append((at, score))
    return chosen


# Times in tenths of a second and few scores: borders of buckets and ties are common.
OFFERS = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 12)), max_size=60).map(
    lambda offers: sorted({at: (at * 100_000, score) for at, score in offers}.values())
)
GAPS = st.sampled_from([0.0, 0.2, 0.3, 0.5, 1.0])


@settings(max_examples=400)
@given(OFFERS, st.integers(1, 4), GAPS, st.integers(0, 3), st.randoms(use_true_random=False))
def test_what_a_sound_bound_rules_out_changes_nothing(
    offers: list[Offer], k: int, gap_s: float, slack: int, random: Random
) -> None:
    gap = ticks(gap_s)
    arriving = sorted(offers, key=lambda offer: (offer[0] // (gap or 1), random.random()))
    bounded, complete = Candidates(k, gap_s), Candidates(k, gap_s)
    for at, score in arriving:
        complete.add(candidate(at, score))
        if bounded.wants(score + random.randint(0, slack), at):
            bounded.add(candidate(at, score))
        else:
            bounded.pass_over(at)
    chosen = bounded.choose()
    assert [(c.ticks, c.quality.score) for c in chosen] == brute_force(offers, k, gap)
    assert bounded.lost(chosen) == complete.lost(complete.choose())
    assert len(bounded) <= 3 * k - 2


def test_a_tight_bound_passes_over_most_of_a_long_track() -> None:
    scores = np.random.default_rng(0).random(2000)
    candidates = Candidates(3, 0.5)
    wanted = 0
    for i, score in enumerate(scores):
        if candidates.wants(score, i * 125_000):
            wanted += 1
            candidates.add(candidate(i * 125_000, float(score)))
        else:
            candidates.pass_over(i * 125_000)
    assert wanted < 100
    assert candidates.choose()[0].quality.score == scores.max()


def test_what_is_not_in_order_is_wanted() -> None:
    candidates = Candidates(1, 0.5)
    candidates.add(candidate(5_000_000, 9.0))
    assert not candidates.wants(8.0, 6_000_000)
    assert candidates.wants(8.0, 1_000_000)
    assert candidates.wants(float("nan"), 6_000_000)


def test_an_equal_score_is_wanted_only_if_it_is_earlier() -> None:
    candidates = Candidates(1, 0.5)
    candidates.add(candidate(200_000, 5.0))
    assert candidates.wants(5.0, 100_000)
    assert not candidates.wants(5.0, 300_000)
    assert not candidates.wants(5.0, 700_000)


def test_an_earlier_shot_keeps_its_distance() -> None:
    candidates = Candidates(2, 0.5, after=1_000_000)
    assert not candidates.wants(99.0, 1_499_999)
    candidates.add(candidate(1_400_000, 9.0))
    candidates.add(candidate(1_500_000, 1.0))
    chosen = candidates.choose()
    assert [c.ticks for c in chosen] == [1_500_000]
    assert candidates.lost(chosen) == Counter({Rejection.NEAR_DUPLICATE: 1})
