"""Suppression against the definition, one pair at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facesieve.engines.models.suppression import blend, strongest, suppress

CORNERS = hnp.arrays(np.float64, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 20))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return float(w * h / union)


@given(CORNERS, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_greedy_suppression(boxes: np.ndarray, limit: float) -> None:
    boxes = boxes.copy()
    boxes[:, 2:] += boxes[:, :2] + 1
    kept: list[int] = []
    for i in range(len(boxes)):
        if all(overlap(boxes[k], boxes[i]) <= limit for k in kept):
            kept.append(i)
    assert suppress(boxes, limit).tolist() == kept


def test_order_is_by_score_then_by_position() -> None:
    assert strongest(np.array([0.2, 0.9, 0.2, 0.9])).tolist() == [1, 3, 0, 2]
    assert len(strongest(np.arange(5000.0))) == 2000


def test_blending_weighs_by_score() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
    points = np.array([[[5, 5]], [[9, 5]], [[55, 55]]], np.float32)
    merged, at, scores = blend(boxes, points, np.array([0.9, 0.3, 0.5], np.float32), 0.3)
    np.testing.assert_allclose(merged, [[0.25, 0, 10.25, 10], [50, 50, 60, 60]], atol=1e-6)
    np.testing.assert_allclose(at, [[[6, 5]], [[55, 55]]], atol=1e-6)
    np.testing.assert_allclose(scores, [0.9, 0.5])
    empty = blend(boxes[:0], points[:0], np.zeros(0, np.float32), 0.3)
    assert [e.shape for e in empty] == [(0, 4), (0, 1, 2), (0,)]
