"""A small network that guesses what a quality network will say, and how far it may be off."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...stream.errors import ModelInvalid
from ...stream.ports import Closing, Engine
from ...stream.types import CHIP_PX, Crop
from ..zoo.fetch import digest

_BATCH = 8  # larger ones are no faster, and the network keeps the memory that its largest took


@dataclass(frozen=True, slots=True)
class BoundFacts:
    """What lies beside a quality network X.onnx as X-bound.onnx and X-bound.json.

    weights, sha256: the estimator. scorer_sha256: of the one network it was fitted to. margin: what is added
    to the estimate to make it a bound, in raw score; a share `quantile` of unseen images' scores is below.
    """

    weights: Path
    sha256: str
    scorer_sha256: str
    margin: float
    quantile: float

    @staticmethod
    def beside(model: Path, sha256: str) -> BoundFacts | None:
        """Of the model with this hash; None where there is none, or it is another's. ModelInvalid if what is
        there cannot be used."""
        weights = model.with_name(f"{model.stem}-bound.onnx")
        path = weights.with_suffix(".json")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            facts = BoundFacts(
                weights,
                str(record["sha256"]),
                str(record["scorer_sha256"]),
                float(record["margin"]),
                float(record["quantile"]),
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as damage:
            raise ModelInvalid(f"{path}: not a bound: {damage!r}") from damage
        if not (math.isfinite(facts.margin) and facts.margin >= 0):
            raise ModelInvalid(f"{path}: expected a margin of 0 or more, got {facts.margin}")
        if facts.scorer_sha256 != sha256:
            return None
        if not weights.is_file() or digest(weights) != facts.sha256:
            raise ModelInvalid(f"{weights}: missing, or not the network that {path.name} was written for")
        return facts


class ScoreEstimator(Closing):
    """Runs the small network. Its engine: uint8 chips (n, 112, 112, 3) in, one value a chip out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        ((self._input, (shape, dtype)),) = engine.inputs.items()
        (self._output,) = engine.outputs
        if dtype != np.uint8 or len(shape) != 4 or shape[1:] != (CHIP_PX, CHIP_PX, 3):
            raise ModelInvalid(f"expected an estimator of chips (n, 112, 112, 3) uint8, got {shape} {dtype}")

    def __call__(self, crops: Sequence[Crop]) -> list[float]:
        """About what the scorer will say of each crop; [] for []."""
        parts = (crops[start : start + _BATCH] for start in range(0, len(crops), _BATCH))
        return [estimate for part in parts for estimate in self._estimates(part)]

    def _estimates(self, crops: Sequence[Crop]) -> list[float]:
        chips = np.stack([crop.chip for crop in crops])
        estimates = self._engine.infer({self._input: chips})[self._output].reshape(-1).astype(np.float64)
        if len(estimates) != len(crops) or not np.isfinite(estimates).all():
            raise ModelInvalid(f"an estimator said {estimates} of {len(crops)} chips")
        return [float(estimate) for estimate in estimates]

    def close(self) -> None:
        self._engine.close()
