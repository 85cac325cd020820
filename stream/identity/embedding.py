"""The embeddings of kept shots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ModelInvalid
from ..ports import Closing, Embedder, QualityScorer
from ..types import F32, BestShot, Crop


class ScorerEmbedder(Closing):
    """A quality network of whose outputs only the embedding is wanted, as an Embedder."""

    def __init__(self, scorer: QualityScorer) -> None:
        self._scorer = scorer
        self.name = scorer.name

    def embed(self, crops: Sequence[Crop]) -> F32:
        """See Embedder. Raises ModelInvalid where the network gives none."""
        rows = [row.embedding for row in self._scorer.score(crops) if row.embedding is not None]
        if len(rows) != len(crops):
            raise ModelInvalid(f"{self.name}: this network has no embedding to tell people apart by")
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def close(self) -> None:
        self._scorer.close()


def shot_embeddings(shots: Sequence[BestShot], embedder: Embedder | None) -> list[F32]:
    """(d,) of each shot: the embedder's, in one call, or that of the scorer where there is no other.

    Raises ModelInvalid for a shot without one."""
    if embedder is not None:
        return list(embedder.embed([shot.crop for shot in shots])) if shots else []
    vectors = [shot.quality.embedding for shot in shots if shot.quality.embedding is not None]
    if len(vectors) != len(shots):
        raise ModelInvalid(f"{shots[0].quality.model}: a shot came without an embedding to tell people apart")
    return vectors
