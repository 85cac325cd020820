"""How alike two templates must be to be one person: read off the model's own impostor scores."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ModelInvalid

STAY_FACTOR = 10.0
"""Hysteresis: a track stays with its person down to the threshold at ten times the FMR at which it joined."""


@dataclass(frozen=True, slots=True)
class LinkThresholds:
    """Cosine similarities. join: at or above it a track joins a person and two people become one. stay:
    a track below it (to the rest of its person) leaves. min_quality: of a template that may be joined to
    others at all, in [0, 1]. within: shots of one track that are less alike are of two faces; −1 trusts the
    tracker."""

    join: float
    stay: float
    min_quality: float = 0.0
    within: float = -1.0

    def __post_init__(self) -> None:
        if not -1 <= self.stay <= self.join <= 1:
            raise ConfigError(
                f"identity: expected -1 <= stay <= join <= 1, got stay {self.stay} and join {self.join}"
            )


@dataclass(frozen=True, slots=True)
class VerificationTable:
    """Impostor quantiles of one network. fmr: falling. threshold: rising, the cosine similarity that this
    share of impostor comparisons reaches. min_quality: of the templates that it was measured on."""

    fmr: tuple[float, ...]
    threshold: tuple[float, ...]
    min_quality: float

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.fmr, self.fmr[1:], strict=False))
        rising = all(a <= b for a, b in zip(self.threshold, self.threshold[1:], strict=False))
        sound = len(self.fmr) == len(self.threshold) >= 2 and falling and rising
        if not sound or not all(0 < f < 1 for f in self.fmr) or not all(-1 <= t <= 1 for t in self.threshold):
            raise ModelInvalid(
                "expected two or more false match rates, falling, in (0, 1), with rising thresholds "
                "in [-1, 1]"
            )

    def at(self, fmr: float) -> float:
        """The threshold at a false match rate, linear in its logarithm between the measured ones.

        ConfigError for a rate that was not measured: what lies beyond the ends would be a guess.
        """
        if not self.fmr[-1] <= fmr <= self.fmr[0]:
            raise ConfigError(
                f"identity.fmr: this network's thresholds are measured from {self.fmr[-1]:g} to "
                f"{self.fmr[0]:g}, got {fmr:g}"
            )
        for k in range(len(self.fmr) - 1):
            high, low = self.fmr[k], self.fmr[k + 1]
            if low <= fmr <= high:
                share = (math.log(high) - math.log(fmr)) / (math.log(high) - math.log(low))
                return self.threshold[k] + share * (self.threshold[k + 1] - self.threshold[k])
        raise AssertionError("the measured rates leave no gap")

    def thresholds(self, fmr: float) -> LinkThresholds:
        """join at the rate, stay at STAY_FACTOR times the rate (or the highest that was measured), within at
        the highest: that a tracker follows one face is likely beforehand, so it takes much to doubt it."""
        stay = self.at(min(STAY_FACTOR * fmr, self.fmr[0]))
        return LinkThresholds(self.at(fmr), stay, min_quality=self.min_quality, within=self.threshold[0])

    @staticmethod
    def beside(model: Path, sha256: str) -> VerificationTable | None:
        """From `<stem>.json` beside the model, key `verification`; None if there is no such file or key.

        sha256: of the model. ModelInvalid if the table is damaged or was measured with other weights.
        """
        path = model.with_suffix(".json")
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            table: Any = json.loads(text).get("verification")
            if table is None:
                return None
            measured = str(table["model_sha256"])
            found = VerificationTable(
                tuple(float(x) for x in table["fmr"]),
                tuple(float(x) for x in table["threshold"]),
                float(table["min_quality"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, ModelInvalid) as damage:
            raise ModelInvalid(f"{path}: not a verification table: {damage}") from damage
        if measured != sha256:
            raise ModelInvalid(
                f"{path}: its thresholds were measured with other weights (SHA-256 {measured[:8]}…, the "
                f"model has {sha256[:8]}…): measure them again, docs/identities.md says how"
            )
        return found
