"""Calibration of a recogniser of one's own: what it promises, counted by hand or against the truth."""

from __future__ import annotations

import numpy as np
import pytest

from facesieve.fiqa.edc import Verification
from facesieve.fiqa.evaluate.calibrate import (
    LEAST_PAIRS,
    calibrate,
    record,
    reliability,
    success_shares,
    summary,
)


def pairs_of(first: list[int], second: list[int], failing: list[bool]) -> Verification:
    return Verification(
        np.array(first), np.array(second), np.where(failing, 0.1, 0.9), threshold=0.5, fmr=1e-3
    )


def world(people: int = 60, faces: int = 8, seed: int = 0) -> tuple[np.ndarray, Verification, np.ndarray]:
    """A comparison succeeds with the probability σ(q_a)·σ(q_b): monotone in each quality."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(1.5, 1.5, people * faces)
    person = np.repeat(np.arange(people), faces)
    first, second = np.nonzero(np.triu(person[:, None] == person[None, :], 1))
    chance = 1 / (1 + np.exp(-2 * quality))
    failing = rng.random(len(first)) > chance[first] * chance[second]
    return quality, pairs_of(first.tolist(), second.tolist(), failing.tolist()), person.astype(np.str_)


def test_success_shares_by_hand() -> None:
    pairs = pairs_of([0, 0, 1], [1, 2, 2], [False, True, True])
    share, mated = success_shares(pairs, 4)
    assert share.tolist() == [0.5, 0.5, 0.0, 0.0]
    assert mated.tolist() == [True, True, True, False]


def test_reliability_bins() -> None:
    bins = reliability(np.linspace(0.05, 0.95, 20), np.repeat([0.0, 1.0], 10))
    assert len(bins) == 10
    assert bins[0] == (pytest.approx(0.0737, abs=1e-3), 0.0, 2)
    assert bins[-1][1] == 1.0


def test_the_map_rises_and_tells_the_truth_on_new_people() -> None:
    quality, pairs, person = world()
    done = calibrate(quality, pairs, person)
    grid = np.linspace(quality.min() - 2, quality.max() + 2, 500)
    assert (np.diff(done.calibration(grid)) > 0).all()
    assert done.error < 0.06
    assert sum(n for *_, n in done.bins) == len(quality)


def test_thresholds_reach_their_target() -> None:
    quality, pairs, person = world()
    done = calibrate(quality, pairs, person, (0.3, 0.1, 0.05, 1e-4))
    lower = np.minimum(quality[pairs.first], quality[pairs.second])
    found = [s.min_quality for s in done.suggestions]
    for target, threshold in zip((0.3, 0.1, 0.05), found, strict=False):
        assert threshold is not None
        passed = lower >= threshold.raw
        assert passed.sum() == threshold.pairs >= max(LEAST_PAIRS, 3 / target)
        assert pairs.errors[passed].mean() == pytest.approx(threshold.fnmr)
        assert threshold.fnmr <= target
        assert threshold.kept == pytest.approx((quality >= threshold.raw).mean())
        below = np.sort(lower[lower < threshold.raw])[-1]  # a step lower does not hold it
        assert pairs.errors[lower >= below].mean() > target
    raws = [threshold.raw for threshold in found[:3] if threshold is not None]
    assert raws == sorted(raws)
    assert found[3] is None  # 1,680 comparisons cannot tell one error in 10,000, were there none at all
    enrol = done.suggestions[0].enrol
    assert enrol is not None
    either = np.concatenate([quality[pairs.first], quality[pairs.second]])
    errors = np.tile(pairs.errors, 2)
    assert errors[either >= enrol.raw].mean() == pytest.approx(enrol.fnmr)
    assert enrol.fnmr <= 0.3


def test_too_little_is_refused() -> None:
    quality, pairs, person = world(people=4)
    with pytest.raises(ValueError, match="5 people or more"):
        calibrate(quality, pairs, person)
    quality, pairs, person = world()
    with pytest.raises(ValueError, match="scores that differ"):
        calibrate(np.zeros_like(quality), pairs, person)


def test_record_and_summary() -> None:
    done = calibrate(*world(), (0.1, 1e-4))
    content = record(done, "mine", "student", 1e-3)
    assert content["suggestions"][1]["min_quality"] is None
    assert content["reliability"]["held_out_error"] == done.error
    lines = list(summary(done))
    assert len(lines) == 5
    assert "not reached" in lines[3]
