"""Diverse shots against a brute force that forgets nothing."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.stream.candidates import Candidate, Candidates, ticks
from facesieve.stream.diversity import Spread, View
from facesieve.stream.errors import ConfigError
from facesieve.stream.geometry import ARCFACE_POINTS
from facesieve.stream.policy import Diversity
from facesieve.stream.types import Crop, Quality

CHIP = np.zeros((112, 112, 3), np.uint8)
GAP_S = 0.5


def direction(degrees: float) -> np.ndarray:
    return np.float32([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


def candidate(spread: Spread, pts_s: float, quality: float, degrees: float = 0.0) -> Candidate:
    """Its embedding points degrees from the x axis."""
    made = Crop(
        *(1, 0, pts_s, None, CHIP, None, (0, 0), np.zeros(4, np.float32), ARCFACE_POINTS, 0.9, 40.0, 0.0)
    )
    scored = Quality(quality, "test", quality, embedding=direction(degrees))
    return Candidate(made, scored, ticks(pts_s), spread.view(made, scored))


def chosen(candidates: list[Candidate], k: int, spread: Spread) -> tuple[Candidate, ...]:
    held = Candidates(k, GAP_S, spread=spread)
    for one in candidates:
        held.add(one)
        assert len(held) <= 2 * (3 * k - 2) + 1
    return held.choose()


def unbounded(candidates: list[Candidate], k: int, spread: Spread) -> list[Candidate]:
    """The greedy set over the winners of all buckets."""
    winners: dict[int, Candidate] = {}
    for one in sorted(candidates, key=lambda c: c.order):
        winners.setdefault(one.ticks // ticks(GAP_S), one)
    rest, taken = sorted(winners.values(), key=lambda c: c.order), []
    while rest and len(taken) < k:
        taken.append(rest[spread.next([c.view for c in rest], [c.view for c in taken])])
        rest = [c for c in rest if abs(c.ticks - taken[-1].ticks) >= ticks(GAP_S)]
    return taken


def worth(shots: list[Candidate] | tuple[Candidate, ...], spread: Spread) -> float:
    """What greedy maximises: the sum of utilities, each less what its likeness to better ones costs."""
    views = [c.view for c in sorted(shots, key=lambda c: c.order)]
    near = [max((spread._likeness(v.place[None], w.place[None]).item() for w in views[:i]), default=0.0)
            for i, v in enumerate(views)]  # fmt: skip
    return sum(view.utility - spread.weight * like for view, like in zip(views, near, strict=True))


def test_a_different_view_is_taken_before_a_better_duplicate() -> None:
    spread = Spread("embedding", 0.2)
    faces = [candidate(spread, 0, 0.9), candidate(spread, 1, 0.88), candidate(spread, 2, 0.75, 90)]
    assert [c.quality.score for c in chosen(faces, 2, spread)] == [0.9, 0.75]
    faces[2] = candidate(spread, 2, 0.67, 90)  # 0.21 worse: unlikeness is worth 0.2
    assert [c.quality.score for c in chosen(faces, 2, spread)] == [0.9, 0.88]


TRACK = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 20), st.integers(0, 12)), min_size=1, max_size=80
).map(lambda faces: sorted({at: (at / 10, q / 20, turn * 15) for at, q, turn in faces}.values()))


@settings(max_examples=60)
@given(TRACK, st.integers(1, 4), st.sampled_from(["time", "embedding"]), st.randoms(use_true_random=False))
def test_bounds_gaps_and_order_within_a_bucket(track, k, kind: Diversity, random) -> None:
    spread = Spread(kind, 0.3)
    faces = [candidate(spread, *face) for face in track]
    shots = chosen(faces, k, spread)
    shuffled = sorted(faces, key=lambda c: (c.ticks // ticks(GAP_S), random.random()))
    assert [c.ticks for c in chosen(shuffled, k, spread)] == [c.ticks for c in shots]
    assert [c.order for c in shots] == sorted(c.order for c in shots)
    assert shots[0] is min(faces, key=lambda c: c.order)
    times = sorted(c.ticks for c in shots)
    assert all(b - a >= ticks(GAP_S) for a, b in pairwise(times))
    winners = len({c.ticks // ticks(GAP_S) for c in faces})
    assert len(shots) >= min(k, math.ceil(winners / 3))
    if winners <= 2 * (3 * k - 2) + 1:
        assert {c.ticks for c in shots} == {c.ticks for c in unbounded(faces, k, spread)}


@pytest.mark.parametrize("kind", ["time", "embedding"])
def test_a_minute_chosen_in_bounded_memory_is_worth_nearly_as_much(kind: Diversity) -> None:
    """Quality and view wander over 480 candidates, as a head does that turns and comes nearer."""
    spread, lost = Spread(kind, 0.2), []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        steps = np.cumsum(rng.normal(0, (0.06, 8), (480, 2)), axis=0)
        qualities = 0.5 + 0.45 * np.sin(steps[:, 0]) + rng.normal(0, 0.02, 480)
        faces = [
            candidate(spread, i / 8, float(np.clip(q, 0, 1)), float(turn))
            for i, (q, turn) in enumerate(zip(qualities, steps[:, 1], strict=True))
        ]
        lost.append(worth(unbounded(faces, 3, spread), spread) - worth(chosen(faces, 3, spread), spread))
    assert np.mean(lost) < 0.02
    assert max(lost) < 0.06


def test_without_a_weight_the_best_are_taken() -> None:
    rng = np.random.default_rng(0)
    spread = Spread("time", 0.0)
    faces = [candidate(spread, i, float(q)) for i, q in enumerate(rng.random(60))]
    best = sorted((c.quality.score for c in faces), reverse=True)[:4]
    assert [c.quality.score for c in chosen(faces, 4, spread)] == best


def test_likeness_of_each_kind() -> None:
    time, pose, embedding = Spread("time", 1), Spread("pose", 1), Spread("embedding", 1)

    def like(spread: Spread, *places: list[float]) -> float:
        a, b = (View(0.5, np.array(place)) for place in places)
        return float(spread._likeness(a.place[None], b.place[None]).item())

    assert like(time, [3.0], [3.0]) == 1
    assert like(time, [3.0], [5.0]) == pytest.approx(math.exp(-1))
    assert like(pose, [10, 0], [-5, 0]) == pytest.approx(0.5)
    assert like(pose, [0, 0], [24, 18]) == 0
    assert like(pose, [math.nan, math.nan], [60, 0]) == 1
    assert like(embedding, [1, 0], [0.6, 0.8]) == pytest.approx(0.6)
    assert like(embedding, [1, 0], [-1, 0]) == 0


def test_diversity_of_embeddings_needs_embeddings() -> None:
    made = candidate(Spread("time", 0.2), 0, 0.5).crop
    with pytest.raises(ConfigError, match="needs a scorer that gives embeddings, 'bare' gives none"):
        Spread("embedding", 0.2).view(made, Quality(0.5, "bare"))


def test_utility_is_the_calibrated_score_or_else_the_raw_one() -> None:
    made = candidate(Spread("time", 0.2), 0, 0.5).crop
    spread = Spread("time", 0.2)
    assert spread.view(made, Quality(7.0, "m", 0.4)).utility == 0.4
    assert spread.view(made, Quality(0.3, "m")).utility == 0.3
    assert spread.view(made, Quality(7.0, "m")).utility == 1
