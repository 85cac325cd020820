"""CenterFace (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2020)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...stream.errors import ModelInvalid
from ...stream.ports import Closing, Engine
from ...stream.types import Detections, Frame
from ..signature import PixelInput
from .letterbox import FaceSized
from .single_stage import Arrays, Candidates, SingleStage

_STRIDE = 4
_WIDTHS = [1, 2, 2, 10]


class CenterFace(Closing):
    """Face centres as peaks of a heatmap at a quarter of the input's size.

    The four outputs, in the file's order, each (1, c, h/4, w/4): heatmap (already a probability), log of the
    box's height and width in quarter pixels, offset of the centre (y, x), and landmarks (y, x) as shares of
    the box from its upper left corner (section 3.2 of the paper and the authors' reference decoding).
    """

    name = "centerface"
    PIXELS: ClassVar[PixelInput] = PixelInput()

    def __init__(
        self,
        engine: Engine,
        *,
        long_side_px: int | FaceSized = 640,
        min_score: float = 0.5,
        nms_iou: float = 0.3,
    ) -> None:
        widths = [shape[1] if len(shape) == 4 else None for shape, _ in engine.outputs.values()]
        if widths != _WIDTHS:
            raise ModelInvalid(f"CenterFace: expected outputs of {_WIDTHS} channels, got {widths}")
        self._stage = SingleStage(engine, "CenterFace", "rgb", decode, long_side_px, min_score, nms_iou)

    def detect(self, frame: Frame) -> Detections:
        """Faces in pixels of the frame, best first."""
        return self._stage.detect(frame)

    def close(self) -> None:
        self._stage.close()


def decode(outputs: Arrays, _width: int, min_score: float) -> Candidates:
    """Every place of the heatmap from min_score up.

    The reference cuts boxes at the picture's edge before it places the landmarks in them, which moves the
    landmarks of faces that reach over the edge; here the box stays whole.
    """
    heatmap, log_size, offset, landmarks = (output[0] for output in outputs.values())
    row, column = np.nonzero(heatmap[0] >= min_score)
    size = np.exp(log_size[:, row, column]) * _STRIDE
    centre = (np.stack([row, column]) + offset[:, row, column] + 0.5) * _STRIDE
    corner = (centre - size / 2)[::-1].T.astype(np.float32)
    size_xy = size[::-1].T.astype(np.float32)
    shares = landmarks[:, row, column].T.reshape(-1, 5, 2)[..., ::-1]
    return Candidates(
        np.concatenate([corner, corner + size_xy], 1),
        heatmap[0, row, column].astype(np.float32),
        corner[:, None] + shares * size_xy[:, None],
    )
