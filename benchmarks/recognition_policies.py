"""Which frames of a video a recogniser is given: the policies that benchmarks/recognition.py compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from facesieve.fiqa.selection import Tracks, oracle_quality
from facesieve.stream.matching import template
from facesieve.stream.types import F32, U8

DRAWS = 20
STUDENT_NAME = "facesieve-t"
REFERENCES = (
    "all frames, mean",
    *(
        f"{name}, {k}"
        for k in ("1 frame", "3 frames")
        for name in ("random", "largest", "sharpest", "LightQNet")
    ),
)
"""What every policy is held against."""


@dataclass(frozen=True)
class Videos:
    """Faces of videos.

    chips (n, 112, 112, 3), eyes_px (n,), heights (n,): of all faces. rows: per video its faces, in order.
    persons: (v,) numbers. shots: per video the faces that the product kept, best first; None: the best by
    score stand for them.
    """

    chips: U8
    eyes_px: F32
    heights: F32
    rows: tuple[np.ndarray, ...]
    persons: np.ndarray
    shots: tuple[np.ndarray, ...] | None = None


Pick = list[tuple[float, np.ndarray]]
"""The searches made of one video: what each counts for, and vectors (k, d) whose best similarity decides."""


@dataclass(frozen=True)
class Policy:
    """picks: per video. calls: embeddings it takes of a video, on average."""

    name: str
    picks: list[Pick]
    calls: float


def policies(videos: Videos, vectors: F32, scores: Mapping[str, F32], weights: F32) -> list[Policy]:
    """All policies under one judge.

    vectors: (n, d), unit. scores: policy → (n,), higher is picked first. weights: (n,) of the student's
    templates, in [0, 1]; all others weigh alike.
    """
    equal = np.ones(len(vectors), np.float32)
    every = float(np.mean([len(rows) for rows in videos.rows]))

    def mean(rows: np.ndarray, share: F32 = equal) -> np.ndarray:
        return template(vectors[rows], share[rows])[None]

    made = [
        Policy("all frames, mean", [[(1.0, mean(rows))] for rows in videos.rows], every),
        Policy("all frames, best match", [[(1.0, vectors[rows])] for rows in videos.rows], every),
    ]
    for k in (1, 3):
        frames = "1 frame" if k == 1 else f"{k} frames"
        calls = float(np.mean([min(k, len(rows)) for rows in videos.rows]))
        drawn = [[(1 / len(sets), mean(s)) for s in sets] for sets in (_draws(r, k) for r in videos.rows)]
        made.append(Policy(f"random, {frames}", drawn, calls))
        for name, score in scores.items():
            best = [rows[np.argsort(-score[rows], kind="stable")[:k]] for rows in videos.rows]
            share = equal
            if name == STUDENT_NAME:
                share = weights
                best = best if videos.shots is None else [shots[:k] for shots in videos.shots]
            calls = float(np.mean([len(rows) for rows in best]))
            made.append(Policy(f"{name}, {frames}", [[(1.0, mean(rows, share))] for rows in best], calls))
    oracle = oracle_quality(vectors, Tracks(videos.rows, videos.persons))
    best = [rows[[np.argmax(oracle[rows])]] for rows in videos.rows]
    return [*made, Policy("oracle, 1 frame", [[(1.0, vectors[rows])] for rows in best], 1.0)]


def _draws(rows: np.ndarray, k: int) -> list[np.ndarray]:
    """All sets of k faces, or DRAWS seeded ones where there are very many."""
    k = min(k, len(rows))
    if k == 1 or len(rows) <= 6:
        return [np.array(chosen) for chosen in combinations(rows.tolist(), k)]
    generator = np.random.default_rng(int(rows[0]))
    return [generator.choice(rows, k, replace=False) for _ in range(DRAWS)]
