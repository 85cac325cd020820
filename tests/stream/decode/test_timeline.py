from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.decode.timeline import Timeline


@pytest.mark.parametrize(
    ("given_s", "expected_s"),
    [
        ([0.0, 0.04, 0.08], [0.0, 0.04, 0.08]),  # as they are
        ([0.85, 0.9, 1.7], [0.85, 0.9, 1.7]),  # a start offset and a gap are kept
        ([-0.08, -0.04, 0.0], [0.0, 0.04, 0.08]),  # only a negative start moves the stream
        ([None, None, None], [0.0, 0.1, 0.2]),  # none at all: the nominal rate
        ([0.0, None, 0.3], [0.0, 0.1, 0.3]),  # one missing
        ([0.0, 0.1, 0.1, 0.3], [0.0, 0.1, 0.15, 0.3]),  # a duplicate recovers
        ([0.0, 0.2, 0.1, 0.3], [0.0, 0.2, 0.25, 0.3]),  # a little back recovers
        ([5.0, 5.1, 0.0, 0.1], [5.0, 5.1, 5.2, 5.3]),  # the clock was set anew
        ([0.0, 0.1, 1e9, 1e9 + 0.1], [0.0, 0.1, 0.2, 0.3]),  # a damaged timestamp
        ([math.nan, math.inf, 0.5], [0.0, 0.1, 0.5]),
        ([1e300, 1e300], [0.0, 0.05]),
    ],
)
def test_times(given_s: list[float | None], expected_s: list[float]) -> None:
    line = Timeline(10)
    assert [line.place(t) for t in given_s] == pytest.approx(expected_s, abs=1e-6)


@pytest.mark.parametrize("rate", [None, 0, 1e6, -1])
def test_an_absurd_rate_means_25(rate: float | None) -> None:
    assert Timeline(rate).interval_s == 0.04


@given(st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 10), max_size=60))
def test_finite_and_strictly_increasing_whatever_comes(times: list[float | None]) -> None:
    line = Timeline(25)
    placed = [line.place(t) for t in times]
    assert all(math.isfinite(t) and t >= 0 for t in placed)
    assert all(a < b for a, b in itertools.pairwise(placed))
