"""Face image quality networks of eDifFIQA's shape: a chip in, a quality and an embedding out."""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...stream.errors import ModelInvalid
from ...stream.ports import Closing, Engine
from ...stream.types import CHIP_PX, F32, Crop, Quality
from ..signature import PixelInput, Signature, describe
from ..zoo.fetch import digest

EYE_DISTANCE = "eye_distance_px"
_HASH_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Calibration:
    """Piecewise linear map from a model's raw score to [0, 1]; beyond its ends it nears 0 and 1.

    raw: rising. probability: not falling, in [0, 1]. Both of one length, two or more. The tails rise as those
    of the fit do, so two faces beyond the last knot still differ; ends of exactly 0 or 1 leave no room and
    stay flat.
    """

    raw: tuple[float, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        raw, probability = np.asarray(self.raw, np.float64), np.asarray(self.probability, np.float64)
        sound = raw.ndim == 1 and raw.shape == probability.shape and len(raw) >= 2
        sound = sound and bool(np.isfinite(raw).all() and np.isfinite(probability).all())
        if not sound or (np.diff(raw) <= 0).any() or (np.diff(probability) < 0).any():
            raise ModelInvalid(
                "expected a calibration of two or more knots, raw rising, probability not falling"
            )
        if probability[0] < 0 or probability[-1] > 1:
            raise ModelInvalid(f"expected probabilities in [0, 1], got {probability[0]} to {probability[-1]}")

    def __call__(self, raw: float) -> float:
        """Below the first knot p₀·exp(s − r₀), above the last likewise toward 1."""
        if raw < self.raw[0]:
            return self.probability[0] * math.exp(raw - self.raw[0])
        if raw > self.raw[-1]:
            return 1.0 - (1.0 - self.probability[-1]) * math.exp(self.raw[-1] - raw)
        return float(np.interp(raw, self.raw, self.probability))

    def least_raw(self, probability: float) -> float:
        """The least raw score that is mapped to so much or more; −inf where all are, inf where none is."""
        first, last = self.probability[0], self.probability[-1]
        if probability <= 0.0 or first >= 1.0:
            return -math.inf
        if probability < first:
            return self.raw[0] + math.log(probability / first)
        if probability > last:
            return math.inf if probability >= 1.0 else self.raw[-1] - math.log((1 - probability) / (1 - last))
        reached = bisect.bisect_left(self.probability, probability)
        if reached == 0:
            return self.raw[0]
        knots = slice(reached - 1, reached + 1)
        return float(np.interp(probability, self.probability[knots], self.raw[knots]))

    @staticmethod
    def beside(model: Path) -> Calibration | None:
        """From `<stem>.json` beside the model: {"calibration": {"raw": […], "probability": […]}}.

        None if there is no such file or no such key; ModelInvalid if what is there cannot be used.
        """
        path = model.with_suffix(".json")
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            record = json.loads(text)
            if isinstance(record, dict) and "calibration" not in record:
                return None
            knots = record["calibration"]
            return Calibration(
                tuple(float(x) for x in knots["raw"]), tuple(float(x) for x in knots["probability"])
            )
        except (ValueError, KeyError, TypeError, ModelInvalid) as damage:
            raise ModelInvalid(f"{path}: not a calibration: {damage}") from damage


def scorer_name(model: Path, name: str | None = None, *, sha256: str | None = None) -> str:
    """`name@1a2b3c4d`: the file's stem (or name) and the first digits of its SHA-256 (None: read it)."""
    return f"{name or model.stem}@{(sha256 or digest(model))[:_HASH_DIGITS]}"


class OnnxScorer(Closing):
    """A quality network as a QualityScorer.

    The engine takes uint8 chips, either because the graph does (input `chips` (n, 112, 112, 3), and perhaps
    `eye_distance_px` (n,) float32) or because it was built with OnnxScorer.PIXELS; or it takes the authors'
    (n, 3, 112, 112) float32 as it is, normalised here to (x/255 − .5)/.5. Of its one or two outputs the one
    with one value a chip is the quality, the wider one the embedding.

    name: goes into every Quality; make it with scorer_name, so that it holds the model's hash. max_batch:
    larger lists are split; a graph with a fixed batch is fed that many, the last filled up with zeros.
    """

    PIXELS: ClassVar[PixelInput] = PixelInput(
        (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), batch=None, height=CHIP_PX, width=CHIP_PX
    )

    def __init__(
        self, engine: Engine, *, name: str, max_batch: int = 32, calibration: Calibration | None = None
    ) -> None:
        self._engine, self.name, self.calibration = engine, name, calibration
        self._image = _image_input(engine.inputs, name)
        shape, dtype = engine.inputs[self._image]
        self._as_uint8 = dtype == np.uint8
        self._quality, self._embedding = _outputs(engine.outputs, name)
        # A graph exported for one batch size may reshape to it inside, though its input can be freed.
        self._fixed = shape[0] or next(iter(engine.outputs[self._quality][0]), None)
        self._batch = self._fixed or max_batch

    @property
    def embeds(self) -> bool:
        """Whether its Quality has an embedding."""
        return self._embedding is not None

    def score(self, crops: Sequence[Crop]) -> list[Quality]:
        """One Quality a crop, in order."""
        return [
            quality
            for start in range(0, len(crops), self._batch)
            for quality in self._score(crops[start : start + self._batch])
        ]

    def close(self) -> None:
        self._engine.close()

    def _score(self, crops: Sequence[Crop]) -> list[Quality]:
        outputs = self._engine.infer(self._feeds(crops))
        given = outputs[self._quality]
        chips = self._fixed or len(crops)
        if given.size != chips:  # a graph may leave the width of its only output open: a recogniser's, say
            raise ModelInvalid(f"{self.name}: expected one score a chip, got {given.shape} for {chips} chips")
        raw = given.reshape(-1)[: len(crops)].astype(np.float64)
        embeddings = None if self._embedding is None else unit_rows(outputs[self._embedding], len(crops))
        if not np.isfinite(raw).all() or (embeddings is not None and not np.isfinite(embeddings).all()):
            raise ModelInvalid(f"{self.name}: the network gave scores or embeddings that are not numbers")
        return [
            Quality(
                float(score),
                self.name,
                calibrated=None if self.calibration is None else self.calibration(float(score)),
                embedding=None if embeddings is None else embeddings[i],
            )
            for i, score in enumerate(raw)
        ]

    def _feeds(self, crops: Sequence[Crop]) -> Mapping[str, npt.NDArray[Any]]:
        n = self._fixed or len(crops)
        chips = np.zeros((n, CHIP_PX, CHIP_PX, 3), np.uint8)
        for i, crop in enumerate(crops):
            chips[i] = crop.chip
        feeds: dict[str, npt.NDArray[Any]] = {}
        feeds[self._image] = chips if self._as_uint8 else self.PIXELS.normalise(chips)
        if EYE_DISTANCE in self._engine.inputs:
            eyes = np.zeros(n, np.float32)
            eyes[: len(crops)] = [crop.eye_distance_px for crop in crops]
            feeds[EYE_DISTANCE] = eyes
        return feeds


def unit_rows(embeddings: npt.NDArray[Any], n: int) -> F32:
    """The first n embeddings at unit length, copied out of the engine's memory."""
    rows = embeddings.reshape(embeddings.shape[0], -1)[:n].astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, 1.0), np.float32)


def _image_input(inputs: Signature, name: str) -> str:
    images = [key for key in inputs if key != EYE_DISTANCE]
    if len(images) != 1:
        raise ModelInvalid(
            f"{name}: expected an image input and perhaps {EYE_DISTANCE!r}, got {list(inputs)}"
        )
    shape, dtype = inputs[images[0]]
    wanted = (CHIP_PX, CHIP_PX, 3) if dtype == np.uint8 else (3, CHIP_PX, CHIP_PX)
    fits = len(shape) == 4 and all(d in (None, w) for d, w in zip(shape[1:], wanted, strict=True))
    if not fits or dtype not in (np.uint8, np.float32):
        raise ModelInvalid(
            f"{name}: expected chips (n, 112, 112, 3) uint8 or (n, 3, 112, 112) float32, "
            f"got {images[0]!r} {describe(shape)} {dtype}"
        )
    return images[0]


def _outputs(outputs: Signature, name: str) -> tuple[str, str | None]:
    """Names of the quality (one value a chip) and of the embedding, if there is one."""
    quality = [key for key, (shape, _) in outputs.items() if all(d == 1 for d in shape[1:])]
    if len(outputs) == 1 and not quality:
        quality = [key for key, (shape, _) in outputs.items() if shape[1:] == (None,)]
    wide = [key for key in outputs if key not in quality]
    if len(quality) != 1 or len(wide) > 1:
        shapes = {key: describe(shape) for key, (shape, _) in outputs.items()}
        raise ModelInvalid(f"{name}: expected an output (n,) or (n, 1), and at most one (n, d), got {shapes}")
    return quality[0], wide[0] if wide else None
