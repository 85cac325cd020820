"""Nearest people by cosine similarity."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..errors import EngineUnavailable
from ..types import F32, I64


class VectorIndex(Protocol):
    """Unit vectors by id."""

    def __len__(self) -> int: ...
    def put(self, key: int, vector: F32) -> None:
        """Add or replace; vector (d,) of unit length."""

    def remove(self, key: int) -> None:
        """Forget one; no error for one that is not there."""

    def nearest(self, vector: F32, least: float, limit: int = 16) -> list[tuple[int, float]]:
        """(id, similarity) of at most limit entries with a similarity ≥ least, nearest first, then oldest."""


class ExactIndex:
    """Every vector compared at each search: exact, and quick up to about 10⁵ (docs/identities.md has times).

    Rows are in one matrix that doubles when it is full; a removed row is overwritten by the last.
    """

    def __init__(self, dimension: int) -> None:
        self._matrix: F32 = np.zeros((64, dimension), np.float32)
        self._keys: I64 = np.zeros(64, np.int64)
        self._rows: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, key: int, vector: F32) -> None:
        """See VectorIndex."""
        row = self._rows.setdefault(key, len(self._rows))
        if row == len(self._matrix):
            self._matrix = np.concatenate([self._matrix, np.zeros_like(self._matrix)])
            self._keys = np.concatenate([self._keys, np.zeros_like(self._keys)])
        self._matrix[row], self._keys[row] = vector, key

    def remove(self, key: int) -> None:
        """See VectorIndex. Its vector is overwritten, not only forgotten."""
        row = self._rows.pop(key, None)
        if row is None:
            return
        last = len(self._rows)
        if row != last:
            self._matrix[row], self._keys[row] = self._matrix[last], self._keys[last]
            self._rows[int(self._keys[row])] = row
        self._matrix[last] = 0.0

    def nearest(self, vector: F32, least: float, limit: int = 16) -> list[tuple[int, float]]:
        """See VectorIndex."""
        n = len(self._rows)
        # As quick as BLAS here, but always on one thread, and with the same sums whatever n is.
        similarity = np.einsum("ij,j->i", self._matrix[:n], vector)
        found = np.flatnonzero(similarity >= least)
        if len(found) > limit:
            found = found[np.argpartition(-similarity[found], limit - 1)[:limit]]
        ranked = sorted((-float(similarity[row]), int(self._keys[row])) for row in found)
        return [(key, -negative) for negative, key in ranked]


class GraphIndex:
    """usearch's HNSW graph, for millions (`pip install 'facesieve[index]'`): approximate, so an entry near
    the threshold may be missed (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor
    search using Hierarchical Navigable Small World graphs", 2018)."""

    def __init__(self, dimension: int) -> None:
        try:
            from usearch.index import Index
        except ImportError as missing:
            raise EngineUnavailable(
                "identity.index = 'usearch' needs `pip install 'facesieve[index]'`"
            ) from missing
        self._graph = Index(ndim=dimension, metric="ip", dtype="f32")

    def __len__(self) -> int:
        return len(self._graph)

    def put(self, key: int, vector: F32) -> None:
        """See VectorIndex."""
        self.remove(key)
        self._graph.add(key, vector, threads=1)

    def remove(self, key: int) -> None:
        """See VectorIndex."""
        if key in self._graph:
            self._graph.remove(key, compact=False, threads=1)

    def nearest(self, vector: F32, least: float, limit: int = 16) -> list[tuple[int, float]]:
        """See VectorIndex."""
        if not len(self._graph):
            return []
        matches = self._graph.search(vector, limit, threads=1)
        ranked = sorted(
            (float(distance), int(key)) for key, distance in zip(matches.keys, matches.distances, strict=True)
        )
        return [(key, 1.0 - distance) for distance, key in ranked if 1.0 - distance >= least]
