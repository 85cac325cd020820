from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.trackers.assignment import assign, likeness


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_assignment_is_the_best_of_all(n: int, m: int, seed: int) -> None:
    """Against brute force over every permutation; no pair below the gate, no row or column twice."""
    similarity = np.random.default_rng(seed).random((n, m))
    rows, cols = assign(similarity, 0.4)
    assert len(set(rows)) == len(rows)
    assert len(set(cols)) == len(cols)
    assert (similarity[rows, cols] >= 0.4).all()
    k = max(n, m)
    worth = np.zeros((k, k))
    worth[:n, :m] = np.where(similarity >= 0.4, similarity, 0)
    best = max(sum(worth[i, p[i]] for i in range(k)) for p in itertools.permutations(range(k)))
    assert similarity[rows, cols].sum() == pytest.approx(best)


def test_gate_of_one_row_does_not_bind_another() -> None:
    rows, cols = assign(np.array([[0.2, 0.0], [0.0, 0.2]]), np.array([[0.1], [0.3]]))
    assert rows.tolist() == [0]
    assert cols.tolist() == [0]


def test_bonus_decides_between_admissible_pairs_only() -> None:
    similarity = np.array([[0.5, 0.45], [0.5, 0.05]])
    assert dict(zip(*assign(similarity, 0.1), strict=True)) == {0: 1, 1: 0}
    rows, cols = assign(np.array([[0.5, 0.05]]), 0.1, np.array([[0.0, 9.0]]))
    assert (rows.tolist(), cols.tolist()) == ([0], [0])


def test_likeness_reaches_as_far_as_the_boxes_grow() -> None:
    face = np.array([[0.0, 0, 10, 10]])
    near, far = np.array([[15.0, 0, 25, 10]]), np.array([[20.5, 0, 30.5, 10]])
    assert likeness(face, near, 0.0, 2.0)[0, 0] == 0
    assert likeness(face, near, 0.5, 2.0)[0, 0] == pytest.approx(5 * 20 / (2 * 400 - 100))
    assert likeness(face, far, 0.5, 2.0)[0, 0] == 0


def test_likeness_counts_height_and_refuses_other_sizes() -> None:
    face = np.array([[0.0, 0, 10, 10]])
    assert likeness(face, np.array([[0.0, 0, 10, 8]]), 0.0, 2.0)[0, 0] == pytest.approx(0.8 * 0.8)
    assert likeness(face, np.array([[0.0, 0, 10, 4.9]]), 0.0, 2.0)[0, 0] == 0
