"""What the fully convolutional detectors (CenterFace, YuNet, SCRFD) have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...stream.errors import ConfigError, ModelInvalid
from ...stream.ports import Engine, Order
from ...stream.types import F32, Detections, Frame
from ..signature import sole_input
from .letterbox import STRIDE, FaceSized, Letterbox
from .suppression import strongest, suppress

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Faces as a network gives them, before suppression, in pixels of its input from its edge.

    boxes: (n, 4) x0 y0 x1 y1. scores: (n,) in [0, 1]. points: (n, 5, 2), in the order of Detections.
    """

    boxes: F32
    scores: F32
    points: F32

    @staticmethod
    def joined(parts: list[Candidates]) -> Candidates:
        """All of several levels, in their order."""
        return Candidates(
            np.concatenate([p.boxes for p in parts]),
            np.concatenate([p.scores for p in parts]),
            np.concatenate([p.points for p in parts]),
        )

    def detections(self, letterbox: Letterbox, nms_iou: float) -> Detections:
        """Suppressed, best first, in pixels of the frame."""
        order = strongest(self.scores)
        order = order[suppress(self.boxes[order], nms_iou)]
        return Detections(
            letterbox.boxes(self.boxes[order]),
            np.clip(self.scores[order], 0, 1),
            letterbox.points(self.points[order]),
        )


class SingleStage:
    """Runs a fully convolutional network on whole frames.

    decode: outputs of the network, width of its input and a minimum score → Candidates. long_side_px: the
    longer side of the network's input, or a rule for it; smaller frames are not enlarged. min_score: in
    [0, 1]. nms_iou: overlap above which the weaker of two boxes falls.
    """

    def __init__(
        self,
        engine: Engine,
        label: str,
        order: Order,
        decode: Callable[[Arrays, int, float], Candidates],
        long_side_px: int | FaceSized,
        min_score: float,
        nms_iou: float,
    ) -> None:
        if isinstance(long_side_px, int) and long_side_px < STRIDE:
            raise ConfigError(f"{label}: expected long_side_px of {STRIDE} or more, got {long_side_px}")
        if not (0 <= min_score <= 1 and 0 <= nms_iou <= 1):
            raise ConfigError(f"{label}: expected {min_score = } and {nms_iou = } in [0, 1]")
        self._engine, self._label, self._order, self._decode = engine, label, order, decode
        self._input = pixel_input(engine, label)
        self._long_side_px, self._min_score, self._nms_iou = long_side_px, min_score, nms_iou

    def detect(self, frame: Frame) -> Detections:
        """Faces in pixels of the frame, best first."""
        size = frame.picture.width, frame.picture.height
        side = self._long_side_px
        letterbox = Letterbox.fit(*size, side if isinstance(side, int) else side.long_side(*size))
        outputs = self._engine.infer({self._input: letterbox.pixels(frame.picture, self._order)})
        # A score that is no number passes no threshold: it would be no face rather than an error.
        if any(math.isnan(np.minimum.reduce(output, axis=None, initial=0.0)) for output in outputs.values()):
            raise ModelInvalid(f"{self._label}: the network gave outputs that are not numbers")
        found = self._decode(outputs, letterbox.width, self._min_score)
        if not np.isfinite(found.boxes).all() or not np.isfinite(found.points).all():
            raise ModelInvalid(f"{self._label}: the network gave boxes or landmarks that are not numbers")
        return found.detections(letterbox, self._nms_iou)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


def pixel_input(engine: Engine, label: str) -> str:
    """The name of the engine's one input; ModelInvalid unless it takes (n, h, w, 3) uint8."""
    name = sole_input(engine.inputs, label)
    shape, dtype = engine.inputs[name]
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
        raise ModelInvalid(
            f"{label}: expected an engine that takes (n, h, w, 3) uint8 (built with pixels={label}.PIXELS), "
            f"got {shape} {dtype}"
        )
    return name
