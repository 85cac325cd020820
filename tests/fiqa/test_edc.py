"""Error-versus-discard curves on cases small enough to do by hand, and the reference figures on real
faces.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.fiqa.edc import Verification, discard_at, error_versus_discard, partial_auc, verification


def _pairs(similarities: list[float], first: list[int], second: list[int]) -> Verification:
    return Verification(np.array(first), np.array(second), np.array(similarities), 0.5, 1e-3)


def test_curve_by_hand() -> None:
    # qualities of the pairs: min = .1, .2, .3, .4; errors: yes, no, yes, no
    pairs = _pairs([0.1, 0.9, 0.2, 0.8], [0, 1, 2, 3], [4, 4, 4, 4])
    curve = error_versus_discard(pairs, np.array([0.1, 0.2, 0.3, 0.4, 1.0]))
    assert curve == pytest.approx([2 / 4, 1 / 3, 1 / 2, 0.0])
    # discards [0, .25] are the points after 0 and 1 pairs
    assert partial_auc(curve, 0.25) == pytest.approx((1 / 2 + 1 / 3) / 2 / (1 / 2))
    assert partial_auc(curve, 1.0) == pytest.approx(curve.mean() / 0.5)
    assert discard_at(curve, 0.5) == pytest.approx(0.5)


def test_ties_keep_the_order_of_the_pairs() -> None:
    pairs = _pairs([0.1, 0.9, 0.1, 0.9], [0, 1, 2, 3], [4, 4, 4, 4])
    assert error_versus_discard(pairs, np.ones(5)) == pytest.approx([1 / 2, 1 / 3, 1 / 2, 0.0])


def test_genuine_pairs_are_of_different_videos_in_row_order() -> None:
    identities = np.array(["a", "a", "b", "a"])
    videos = np.array(["v", "v", "w", "x"])
    embeddings = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [1.0, 1.0]])
    pairs = verification(embeddings, identities, videos, fmr=0.5)
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(0, 3), (1, 3)]
    assert pairs.similarities == pytest.approx([0.5**0.5, 0.5**0.5])
    assert pairs.threshold == pytest.approx(0.5**0.5)  # the median of 1, 0 and cos 45°


def test_what_has_no_score_is_refused() -> None:
    pairs = _pairs([0.1], [0], [1])
    with pytest.raises(ValueError, match="1 NaN"):
        error_versus_discard(pairs, np.array([np.nan, 1.0]))


def test_sets_without_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="genuine"):
        verification(np.eye(2), np.array(["a", "b"]), np.array(["v", "w"]))


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=40), st.integers(0, 2**31))
def test_perfect_quality_is_never_beaten(similarities: list[float], seed: int) -> None:
    count = len(similarities)
    pairs = _pairs(similarities, list(range(count)), [count] * count)
    perfect = np.append(np.array(similarities), 2.0)
    other = np.append(np.random.default_rng(seed).random(count), 2.0)
    if pairs.fnmr > 0:
        best, any_other = (error_versus_discard(pairs, quality) for quality in (perfect, other))
        assert (best <= any_other + 1e-12).all()
        assert partial_auc(best) <= partial_auc(any_other) + 1e-12
