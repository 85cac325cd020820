"""Track selection on a set small enough to do by hand."""

from __future__ import annotations

import numpy as np
import pytest

from facesieve.fiqa.edc import verification
from facesieve.fiqa.selection import (
    oracle_quality,
    partial_auc_interval,
    pick_best,
    picked_fnmr,
    template,
    track_selection,
    tracks_of,
)

# two people, two tracks each, two frames a track: the first frame of each track matches, the second does not
IDENTITIES = np.array(["a"] * 4 + ["b"] * 4)
VIDEOS = np.array(["a1", "a1", "a2", "a2", "b1", "b1", "b2", "b2"])
EMBEDDINGS = np.zeros((8, 6))
EMBEDDINGS[[0, 2], 0] = 1.0
EMBEDDINGS[[4, 6], 1] = 1.0
EMBEDDINGS[[1, 3, 5, 7], [2, 3, 4, 5]] = 1.0
GOOD = np.array([1.0, 0.0] * 4)


def test_picks_and_their_errors() -> None:
    tracks = tracks_of(IDENTITIES, VIDEOS)
    assert pick_best(tracks, GOOD).tolist() == [0, 2, 4, 6]
    assert pick_best(tracks, np.zeros(8)).tolist() == [0, 2, 4, 6]  # ties: the earlier frame
    assert picked_fnmr(EMBEDDINGS, tracks, pick_best(tracks, GOOD), 0.5) == 0.0
    assert picked_fnmr(EMBEDDINGS, tracks, pick_best(tracks, -GOOD), 0.5) == 1.0


def test_oracle_is_the_mean_similarity_to_the_other_tracks() -> None:
    quality = oracle_quality(EMBEDDINGS, tracks_of(IDENTITIES, VIDEOS))
    assert quality == pytest.approx([0.5, 0.0] * 4)


def test_gap_closed_between_chance_and_oracle() -> None:
    tracks = tracks_of(IDENTITIES, VIDEOS)
    best = track_selection(EMBEDDINGS, tracks, GOOD, 0.5, resamples=20)
    assert (best.random_fnmr, best.oracle_fnmr, best.fnmr.value) == (0.75, 0.0, 0.0)
    assert best.gap_closed.value == 1.0
    half = track_selection(EMBEDDINGS, tracks, np.array([1, 0, 1, 0, 0, 1, 0, 1.0]), 0.5, resamples=20)
    assert half.gap_closed.value == pytest.approx((0.75 - 0.5) / 0.75)
    assert half.gap_closed.low <= half.gap_closed.value <= half.gap_closed.high


def test_weighted_curve_agrees_with_the_plain_one() -> None:
    generator = np.random.default_rng(0)
    identities = np.repeat([f"p{i}" for i in range(30)], 4)
    videos = np.array([f"{p}{i % 2}" for i, p in enumerate(identities)])
    embeddings = np.repeat(generator.normal(size=(30, 8)), 4, 0) + generator.normal(size=(120, 8))
    pairs = verification(embeddings, identities, videos, 0.01)
    interval = partial_auc_interval(pairs, identities, generator.random(120), resamples=200)
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.low < 0.5


def test_template_is_the_weighted_mean_of_the_best() -> None:
    mean = template(EMBEDDINGS, GOOD, best=4, weights=np.array([3.0, 0, 3, 0, 4, 0, 4, 0]))
    assert mean == pytest.approx([0.6, 0.8, 0, 0, 0, 0])
