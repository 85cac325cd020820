"""SCRFD (Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ...stream.errors import ModelInvalid
from ...stream.ports import Closing, Engine
from ...stream.types import Detections, Frame
from ..signature import PixelInput
from .letterbox import FaceSized
from .single_stage import Arrays, Candidates, SingleStage

_STRIDES = (8, 16, 32)
_ANCHORS = 2
_WIDTHS = [1, 1, 1, 4, 4, 4, 10, 10, 10]


class Scrfd(Closing):
    """Two anchors a cell at strides 8, 16, 32; the variants with landmarks ("kps").

    Nine outputs in the file's order: scores (probabilities), boxes (distances from the cell's upper left
    corner to left, top, right, bottom, in strides), points (from that corner, in strides), each for the three
    strides; (n, c) or (1, n, c).
    """

    name = "scrfd"
    PIXELS: ClassVar[PixelInput] = PixelInput(mean=(127.5, 127.5, 127.5), std=(128.0, 128.0, 128.0))

    def __init__(
        self,
        engine: Engine,
        *,
        long_side_px: int | FaceSized = 640,
        min_score: float = 0.5,
        nms_iou: float = 0.4,
    ) -> None:
        _check_widths([shape[-1] if shape else 0 for shape, _ in engine.outputs.values()])
        self._stage = SingleStage(engine, "Scrfd", "rgb", decode, long_side_px, min_score, nms_iou)

    def detect(self, frame: Frame) -> Detections:
        """Faces in pixels of the frame, best first."""
        return self._stage.detect(frame)

    def close(self) -> None:
        self._stage.close()


def decode(outputs: Arrays, width: int, min_score: float) -> Candidates:
    """Every anchor from min_score up, stride 8 first."""
    _check_widths([output.shape[-1] for output in outputs.values()])
    flat = [output.reshape(-1, output.shape[-1]) for output in outputs.values()]
    return Candidates.joined(
        [_level(flat[i], flat[i + 3], flat[i + 6], s, width, min_score) for i, s in enumerate(_STRIDES)]
    )


def _check_widths(widths: Sequence[int | None]) -> None:
    """A runtime may not know a dimension before the first run, so None passes until then."""
    if len(widths) != len(_WIDTHS) or any(w not in (None, e) for w, e in zip(widths, _WIDTHS, strict=True)):
        raise ModelInvalid(f"SCRFD: expected nine outputs, the last dimensions {_WIDTHS}, got {list(widths)}")


def _level(
    scores: npt.NDArray[np.float32],
    distances: npt.NDArray[np.float32],
    points: npt.NDArray[np.float32],
    stride: int,
    width: int,
    min_score: float,
) -> Candidates:
    anchors = np.flatnonzero(scores[:, 0] >= min_score)
    row, column = np.divmod(anchors // _ANCHORS, width // stride)
    corner = np.stack([column, row], 1).astype(np.float32)
    reach = distances[anchors]
    return Candidates(
        np.concatenate([corner - reach[:, :2], corner + reach[:, 2:]], 1) * np.float32(stride),
        scores[anchors, 0].copy(),
        (corner[:, None] + points[anchors].reshape(-1, 5, 2)) * np.float32(stride),
    )
