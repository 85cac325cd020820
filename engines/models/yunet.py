"""YuNet (Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...stream.errors import ModelInvalid
from ...stream.ports import Closing, Engine
from ...stream.types import Detections, Frame
from ..signature import PixelInput
from .letterbox import FaceSized
from .single_stage import Arrays, Candidates, SingleStage

_STRIDES = (8, 16, 32)
_PARTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


class YuNet(Closing):
    """One anchor point a cell at strides 8, 16, 32.

    Outputs, named by stride s, each (1, h/s · w/s, c): cls_s and obj_s (probabilities; the score is the root
    of their product), bbox_s (centre from the cell's upper left corner and log of the size, in strides),
    kps_s (five points from the same corner, in strides). Networks of libfacedetection.train and opencv_zoo.
    """

    name = "yunet"
    PIXELS: ClassVar[PixelInput] = PixelInput()

    def __init__(
        self,
        engine: Engine,
        *,
        long_side_px: int | FaceSized = 640,
        min_score: float = 0.6,
        nms_iou: float = 0.3,
    ) -> None:
        for name, width in ((f"{part}_{s}", w) for s in _STRIDES for part, w in _PARTS.items()):
            shape = engine.outputs.get(name, ((), None))[0]
            if len(shape) != 3 or shape[2] != width:
                raise ModelInvalid(
                    f"YuNet: expected output {name!r} (1, n, {width}), got "
                    f"{shape if name in engine.outputs else sorted(engine.outputs)}"
                )
        self._stage = SingleStage(engine, "YuNet", "bgr", decode, long_side_px, min_score, nms_iou)

    def detect(self, frame: Frame) -> Detections:
        """Faces in pixels of the frame, best first."""
        return self._stage.detect(frame)

    def close(self) -> None:
        self._stage.close()


def decode(outputs: Arrays, width: int, min_score: float) -> Candidates:
    """Every cell from min_score up, stride 8 first."""
    return Candidates.joined([_level(outputs, s, width, min_score) for s in _STRIDES])


def _level(outputs: Arrays, stride: int, width: int, min_score: float) -> Candidates:
    # Few of the cells hold a face: a product of two probabilities reaches no score² unless both do.
    face, here = outputs[f"cls_{stride}"].ravel(), outputs[f"obj_{stride}"].ravel()
    cells = np.flatnonzero((face >= min_score**2) & (here >= min_score**2))
    scores = np.sqrt(np.clip(face[cells], 0, 1) * np.clip(here[cells], 0, 1))
    cells, scores = cells[scores >= min_score], scores[scores >= min_score]
    if not len(cells):
        return _NOTHING
    row, column = np.divmod(cells, width // stride)
    corner = np.stack([column, row], 1).astype(np.float32)
    box = outputs[f"bbox_{stride}"][0, cells]
    centre, size = corner + box[:, :2], np.exp(box[:, 2:])
    points = corner[:, None] + outputs[f"kps_{stride}"][0, cells].reshape(-1, 5, 2)
    return Candidates(
        np.concatenate([centre - size / 2, centre + size / 2], 1) * np.float32(stride),
        scores,
        points * np.float32(stride),
    )


_NOTHING = Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
