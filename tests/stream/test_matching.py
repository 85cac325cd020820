"""Templates and candidates: order, ties, the decision at the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.matching import Candidate, Enrolled, decide, template


def unit(*rows: list[float]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_better_faces_weigh_more() -> None:
    vectors = unit([1, 0], [0, 1])
    np.testing.assert_allclose(template(vectors, [3, 1]), np.array([3, 1]) / np.sqrt(10), rtol=1e-6)
    np.testing.assert_allclose(template(vectors, [1, 0]), [1, 0])
    np.testing.assert_allclose(template(vectors, [0, 0]), np.sqrt([0.5, 0.5]), rtol=1e-6)


@given(st.integers(1, 8), st.integers(0, 2**31))
def test_a_template_is_a_direction_whatever_the_order(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(*(rng.normal(size=(count, 5)) + 2).tolist())
    weights, order = rng.uniform(0, 1, count), rng.permutation(count)
    made = template(vectors, weights)
    assert np.linalg.norm(made) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(made, template(vectors[order], weights[order]), atol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "weights"),
    [
        (unit([1, 0], [-1, 0]), [1, 1]),  # no direction
        (unit([1, 0]), [1, 1]),  # a weight too many
        (np.zeros((0, 2), np.float32), []),  # nobody
        (unit([1, 0]), [-1]),
        (unit([1, 0]), [float("nan")]),
    ],
)
def test_what_makes_no_template(vectors: np.ndarray, weights: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        template(vectors, weights)


def test_candidates_come_by_similarity_then_enrolment() -> None:
    people = Enrolled(("ann", "bob", "cem"), unit([0, 1], [1, 0], [0, 1]))
    found = people.candidates(unit([0.2, 1])[0], 5)
    assert [candidate.person for candidate in found] == ["ann", "cem", "bob"]
    assert found[0].similarity == found[1].similarity
    assert people.candidates(unit([0.2, 1])[0], 1) == found[:1]


def test_a_similarity_at_the_threshold_is_enough() -> None:
    found = (Candidate("ann", 0.5), Candidate("bob", 0.4))
    assert decide(found, 0.5) == "ann"
    assert decide(found, np.nextafter(0.5, 1)) is None
    assert decide((), -1.0) is None


def test_people_enrolled_twice_are_told_of() -> None:
    people = Enrolled(("ann", "bob", "anna"), unit([1, 0], [0, 1], [1, 0.1]))
    assert [pair[:2] for pair in people.alike(0.9)] == [("ann", "anna")]
    assert people.alike(1.1) == ()
