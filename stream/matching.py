"""Comparing templates of people: means of embeddings, candidates by similarity, the decision.

A template is the mean of the embeddings of one person's shots, each weighted by its quality, at unit length;
templates are compared by cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .types import F32


@dataclass(frozen=True, slots=True)
class Candidate:
    """An enrolled person whom a probe resembles. similarity: cosine, in [−1, 1]."""

    person: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The people of a gallery. people: (g,) names. templates: (g, d) float32, rows of unit length."""

    people: tuple[str, ...]
    templates: F32

    def __post_init__(self) -> None:
        if self.templates.ndim != 2 or len(self.templates) != len(self.people):
            raise ValueError(f"expected {len(self.people)} templates, got {self.templates.shape}")

    def candidates(self, probe: F32, top: int) -> tuple[Candidate, ...]:
        """The `top` people most like probe (d,), best first; of equals, the one enrolled first."""
        similarities = self.templates.astype(np.float64) @ probe.astype(np.float64)
        order = np.argsort(-similarities, kind="stable")[:top]
        return tuple(Candidate(self.people[i], float(similarities[i])) for i in order)

    def alike(self, threshold: float) -> tuple[tuple[str, str, float], ...]:
        """Pairs of people as similar as one person is to herself: enrolled twice, or mislabelled."""
        found: list[tuple[str, str, float]] = []
        for row, person in enumerate(self.people):  # row by row: the whole square of thousands is large
            similarities = self.templates[row + 1 :] @ self.templates[row]
            near = np.flatnonzero(similarities >= threshold).tolist()
            found += [(person, self.people[row + 1 + at], float(similarities[at])) for at in near]
        return tuple(found)


def template(
    embeddings: npt.NDArray[np.floating], weights: npt.NDArray[np.floating] | Sequence[float]
) -> F32:
    """(d,) unit mean of embeddings (n, d), n ≥ 1, weighted by weights (n,) ≥ 0; all zero counts equally.

    Raises ValueError where the embeddings cancel out, which no set of faces of one person does.
    """
    share = np.asarray(weights, np.float64)
    if embeddings.ndim != 2 or share.shape != (len(embeddings),) or not len(share):
        raise ValueError(f"expected (n, d) and (n,), n ≥ 1, got {embeddings.shape} and {share.shape}")
    if not (np.isfinite(share).all() and (share >= 0).all()):
        raise ValueError("expected finite weights ≥ 0")
    if not share.any():
        share = np.ones_like(share)
    mean = (share[:, None] * embeddings.astype(np.float64)).sum(0)
    norm = float(np.linalg.norm(mean))
    if norm < 1e-9:
        raise ValueError("expected embeddings of one person, got such as cancel out")
    return np.asarray(mean / norm, np.float32)


def decide(candidates: Sequence[Candidate], threshold: float) -> str | None:
    """The best candidate's name where it reaches the threshold; None: nobody of the gallery."""
    best = candidates[0] if candidates else None
    return best.person if best is not None and best.similarity >= threshold else None
