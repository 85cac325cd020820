"""Search by cosine: exact against brute force, and the graph nearly so."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.stream.errors import EngineUnavailable
from facesieve.stream.identity.index import ExactIndex, GraphIndex

CORNERS = [np.eye(4, dtype=np.float32)[i] * sign for i in range(4) for sign in (1, -1)]
steps = st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 7)), max_size=120)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_it_is_what_was_put_less_what_was_removed(drawn: list[tuple[bool, int, int]]) -> None:
    index, wanted = ExactIndex(4), {}
    for put, key, corner in drawn:
        if put:
            index.put(key, CORNERS[corner])
            wanted[key] = corner
        else:
            index.remove(key)
            wanted.pop(key, None)
    assert len(index) == len(wanted)
    for corner, vector in enumerate(CORNERS):
        same = sorted(key for key, other in wanted.items() if other == corner)
        assert [key for key, _ in index.nearest(vector, 0.5, limit=100)] == same


def test_nearest_first_then_oldest_and_no_more_than_asked() -> None:
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = ExactIndex(16)
    for key, vector in enumerate(vectors):
        index.put(key, vector)
    query = vectors[3]
    similarity = vectors @ query
    expected = [int(k) for k in np.lexsort((np.arange(500), -similarity)) if similarity[k] >= 0.1]
    assert [key for key, _ in index.nearest(query, 0.1, limit=500)] == expected
    assert [key for key, _ in index.nearest(query, 0.1, limit=7)] == expected[:7]
    assert index.nearest(query, 1.1) == []


def test_a_removed_vector_is_not_left_in_memory() -> None:
    index = ExactIndex(4)
    index.put(1, CORNERS[0])
    index.put(2, CORNERS[2])
    index.remove(1)
    assert not (index._matrix @ CORNERS[0]).any()


def test_the_graph_finds_what_exact_search_finds() -> None:
    pytest.importorskip("usearch")
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(800, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact, graph = ExactIndex(32), GraphIndex(32)
    assert graph.nearest(vectors[0], 0.0) == []
    for key, vector in enumerate(vectors):
        exact.put(key, vector)
        graph.put(key, vector)
    graph.put(5, vectors[5])
    graph.remove(7)
    graph.remove(7)
    exact.remove(7)
    assert len(graph) == len(exact) == 799
    same = [graph.nearest(v, 0.3, 1)[0][0] == exact.nearest(v, 0.3, 1)[0][0] for v in vectors[:200]]
    assert np.mean(same) > 0.98
    assert 7 not in [key for key, _ in graph.nearest(vectors[7], -1.0, 50)]


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("usearch"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EngineUnavailable, match=r"facesieve\[index\]"):
        GraphIndex(4)
