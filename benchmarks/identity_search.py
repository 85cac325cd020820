"""How long it takes to find a person among many, and to open a store that holds them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.index import ExactIndex, GraphIndex, VectorIndex
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.types import F32

DIMENSION = 128
Record = dict[str, Any]


def search_times(sizes: Sequence[int]) -> list[Record]:
    """CPU milliseconds of one search among so many people, and seconds to open a store that holds them."""
    rows = []
    generator = np.random.default_rng(0)
    for size in sizes:
        vectors = generator.normal(size=(size, DIMENSION)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        queries = vectors[:: max(1, size // 50)][:50] + generator.normal(size=(1, DIMENSION)) * 0.03
        queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
        exact = ExactIndex(DIMENSION)
        row: Record = {"people": size, "exact_ms": _search(exact, vectors, queries)[0]}
        row["matrix_mb"] = round(size * DIMENSION * 4 / 1e6, 1)
        row["store_open_s"] = _store_open(vectors)
        if size >= 100_000:
            graph = GraphIndex(DIMENSION)
            row["usearch_ms"], built_s = _search(graph, vectors, queries)
            row["usearch_build_s"] = built_s
            found = [graph.nearest(q, 0.0, 1)[:1] for q in queries]
            wanted = [exact.nearest(q, 0.0, 1)[:1] for q in queries]
            row["usearch_recall_at_1"] = float(
                np.mean([f[:1] and w[:1] and f[0][0] == w[0][0] for f, w in zip(found, wanted, strict=True)])
            )
        rows.append(row)
    return rows


def _search(index: VectorIndex, vectors: F32, queries: F32) -> tuple[float, float]:
    begun = time.process_time()
    for key, vector in enumerate(vectors, 1):
        index.put(key, vector)
    built_s = time.process_time() - begun
    spent = []
    for query in queries:
        begun = time.process_time()
        index.nearest(query, 0.6)
        spent.append(time.process_time() - begun)
    return round(1000 * float(np.median(spent)), 3), round(built_s, 2)


def _store_open(vectors: F32) -> float:
    """CPU seconds to read everyone out of a SQLite file into an index."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.sqlite"
        with closing(SqlStore(SqliteDatabase(path))) as store, store.transaction():
            for _ in range(len(vectors)):
                identity = store.new_identity()
                store.put_identity(identity, linkable=True, total=vectors[identity - 1].astype(np.float64))
        begun = time.process_time()
        with closing(SqlStore(SqliteDatabase(path))) as store:
            index = ExactIndex(DIMENSION)
            for row in store.changes(0).changed:
                index.put(row.identity, row.centre)
        return round(time.process_time() - begun, 2)
