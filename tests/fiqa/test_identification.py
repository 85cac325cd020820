"""Identification figures against ones worked out by hand, and what must hold of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.fiqa.identification import (
    Searches,
    fnir,
    fpir,
    identification,
    interval,
    joined,
    match_characteristic,
    search,
    threshold_at,
)

GALLERY = np.array([10, 20, 30])
PROBES = np.array([10, 20, 30, 40, 50])
SIMILAR = np.array(
    [
        [0.9, 0.2, 0.1],  # its mate, clearly
        [0.6, 0.5, 0.1],  # a stranger first
        [0.3, 0.1, 0.3],  # a tie, which counts against the mate
        [0.7, 0.0, 0.2],  # not enrolled
        [0.1, 0.4, 0.2],  # not enrolled
    ]
)


@pytest.fixture
def found() -> Searches:
    return search(SIMILAR, PROBES, GALLERY, np.ones(5))


def test_ranks_and_mates_by_hand(found: Searches) -> None:
    assert found.mated.tolist() == [True, True, True, False, False]
    assert found.rank[:3].tolist() == [1, 2, 2]
    assert found.mate.tolist() == [0.9, 0.5, 0.3, -np.inf, -np.inf]
    assert found.best.tolist() == [0.9, 0.6, 0.3, 0.7, 0.4]
    assert match_characteristic(found, 3) == pytest.approx([1 / 3, 1, 1])


@pytest.mark.parametrize(
    ("threshold", "missed", "false"),
    [
        (0.0, 2 / 3, 1.0),  # rank alone
        (0.4, 2 / 3, 1.0),  # at or above counts
        (0.41, 2 / 3, 0.5),
        (0.71, 2 / 3, 0.0),
        (0.91, 1.0, 0.0),
    ],
)
def test_error_rates_by_hand(found: Searches, threshold: float, missed: float, false: float) -> None:
    assert fnir(found, threshold) == pytest.approx(missed)
    assert fpir(found, threshold) == pytest.approx(false)


def test_deeper_ranks_forgive_what_the_threshold_does_not(found: Searches) -> None:
    assert fnir(found, 0.4, rank=3) == pytest.approx(1 / 3)


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60),
    st.floats(0, 1),
    st.integers(0, 2**31),
)
def test_the_threshold_is_the_least_that_keeps_the_rate(best: list[float], rate: float, seed: int) -> None:
    values = np.array(best, np.float64)
    weight = np.random.default_rng(seed).uniform(0.1, 1, len(values))

    def share(threshold: float) -> float:
        return float(weight[values >= threshold].sum() / weight.sum())

    threshold = threshold_at(values, weight, rate)
    assert share(threshold) <= rate + 1e-9
    below = values[values < threshold]
    if len(below):
        assert share(float(below.max())) > rate


def test_a_search_in_parts_counts_as_one() -> None:
    whole = search(SIMILAR, PROBES, GALLERY, np.ones(5))
    rows = np.repeat(np.arange(5), 4)
    parts = search(SIMILAR[rows], PROBES[rows], GALLERY, np.full(20, 0.25))
    for threshold in (0.0, 0.35, 0.65, 0.95):
        assert fnir(parts, threshold) == pytest.approx(fnir(whole, threshold))
        assert fpir(parts, threshold) == pytest.approx(fpir(whole, threshold))


def test_intervals_hold_the_figure_and_draws_are_shared() -> None:
    rng = np.random.default_rng(3)
    probes = np.repeat(np.arange(40), 3)
    similar = rng.normal(0, 0.15, (120, 20))
    similar[np.arange(60), probes[:60]] += 0.5
    found = search(similar, probes, np.arange(20), np.ones(120))
    figures = identification(found, 0.05, resamples=200)
    assert figures.fnir == pytest.approx(fnir(found, figures.threshold))
    assert fpir(found, figures.threshold) <= 0.05
    assert figures.rank_one == pytest.approx(match_characteristic(found, 1)[0])
    shown = interval(figures.fnir, figures.fnirs)
    assert shown.low < shown.value < shown.high
    again = identification(found, 0.05, resamples=200)
    np.testing.assert_array_equal(figures.fnirs, again.fnirs)


def test_people_apart_are_never_missed() -> None:
    similar = np.where(np.arange(6)[:, None] == np.arange(3)[None], 0.9, 0.1)
    found = search(similar, np.arange(6), np.arange(3), np.ones(6))
    figures = identification(joined([found, found]), 0.01, resamples=50)
    assert (figures.rank_one, figures.fnir) == (1.0, 0.0)
    assert 0.1 < figures.threshold < 0.9


def test_what_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="once in the gallery"):
        search(SIMILAR, PROBES, np.array([10, 10, 20]), np.ones(5))
    with pytest.raises(ValueError, match="3 and 0"):
        identification(search(SIMILAR[:3], PROBES[:3], GALLERY, np.ones(3)))
