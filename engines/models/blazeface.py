"""BlazeFace, MediaPipe's full-range models (Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face
Detection on Mobile GPUs", 2019)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...stream.errors import ConfigError, ModelInvalid
from ...stream.ports import Closing, Engine, Picture
from ...stream.types import F32, Detections, Frame
from ..signature import PixelInput
from .facemesh import FaceMesh
from .letterbox import Letterbox
from .single_stage import Arrays, Candidates, pixel_input
from .suppression import blend, strongest

_SIDE_PX, _STRIDE, _KEYPOINTS = 192, 4, 6
_LOGIT_LIMIT = 100.0
_MOUTH_HALF_WIDTH = 0.414  # of the eye distance, in the ArcFace template
_PRESENT = 0.5


class BlazeFace(Closing):
    """The whole frame in one 192×192 input: for faces that fill a tenth of the frame or more.

    One anchor a cell of stride 4, fixed size. Outputs (1, 2304, 16): centre, size, then six points, all in
    pixels of the input from the anchor; (1, 2304, 1): logits. Overlapping boxes are averaged, as MediaPipe
    does. The six points are eyes, nose tip, mouth centre and ears. The landmarks are the face mesh's, taken
    at full resolution; without a mesh, or where it sees no face, they are BlazeFace's eyes and nose, and the
    corners of the mouth lie 0.414 eye distances beside its centre, along the line of the eyes.
    """

    name = "blazeface"
    PIXELS: ClassVar[PixelInput] = PixelInput(
        (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "NHWC", batch=1, height=_SIDE_PX, width=_SIDE_PX
    )

    def __init__(
        self, engine: Engine, mesh: FaceMesh | None = None, *, min_score: float = 0.5, nms_iou: float = 0.3
    ) -> None:
        if not (0 < min_score <= 1 and 0 <= nms_iou <= 1):
            raise ConfigError(
                f"BlazeFace: expected min_score in (0, 1], nms_iou in [0, 1]: {min_score}, {nms_iou}"
            )
        self._input = pixel_input(engine, "BlazeFace")
        cells = (_SIDE_PX // _STRIDE) ** 2
        named = {shape[1:]: name for name, (shape, _) in engine.outputs.items()}
        expected = {(cells, 4 + 2 * _KEYPOINTS), (cells, 1)}
        if named.keys() != expected:
            raise ModelInvalid(f"BlazeFace: expected outputs {sorted(expected)}, got {list(named)}")
        self._boxes, self._scores = named[cells, 4 + 2 * _KEYPOINTS], named[cells, 1]
        self._engine, self._mesh = engine, mesh
        self._min_score, self._nms_iou = min_score, nms_iou

    def detect(self, frame: Frame) -> Detections:
        """Faces in pixels of the frame, best first."""
        picture = frame.picture
        letterbox = Letterbox.centred(picture.width, picture.height, _SIDE_PX)
        outputs = self._engine.infer({self._input: letterbox.pixels(picture, "rgb")})
        found = self._decode(outputs)
        order = strongest(found.scores)
        boxes, points, scores = blend(
            found.boxes[order], found.points[order], found.scores[order], self._nms_iou
        )
        boxes, points = letterbox.boxes(boxes), letterbox.points(points)
        return Detections(boxes, scores, five_landmarks(picture, boxes, points, self._mesh))

    def close(self) -> None:
        self._engine.close()
        if self._mesh is not None:
            self._mesh.close()

    def _decode(self, outputs: Arrays) -> Candidates:
        logits = np.clip(outputs[self._scores][0, :, 0].astype(np.float64), -_LOGIT_LIMIT, _LOGIT_LIMIT)
        scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
        cells = np.flatnonzero(scores >= self._min_score)
        row, column = np.divmod(cells, _SIDE_PX // _STRIDE)
        anchors = (np.stack([column, row], 1).astype(np.float32) + np.float32(0.5)) * _STRIDE
        raw = outputs[self._boxes][0, cells].reshape(-1, 2 + _KEYPOINTS, 2)
        if not np.isfinite(raw).all():
            raise ModelInvalid("BlazeFace: the network gave boxes or landmarks that are not numbers")
        centre, half = anchors + raw[:, 0], raw[:, 1] / 2
        valid = (half > 0).all(1)
        boxes = np.concatenate([centre - half, centre + half], 1)[valid]
        return Candidates(boxes, scores[cells][valid], (anchors[:, None] + raw[:, 2:])[valid])


def five_landmarks(picture: Picture, boxes: F32, points: F32, mesh: FaceMesh | None) -> F32:
    """(n, 5, 2) px from BlazeFace's points (n, 6, 2) px: eyes, nose tip, mouth centre, ears."""
    eyes, nose, mouth = points[:, :2], points[:, 2], points[:, 3]
    half = (eyes[:, 1] - eyes[:, 0]) * np.float32(_MOUTH_HALF_WIDTH)
    five = np.stack([eyes[:, 0], eyes[:, 1], nose, mouth - half, mouth + half], 1).astype(np.float32)
    if mesh is not None and len(boxes):
        precise, presence = mesh.five_landmarks(picture, boxes, eyes)
        seen = presence > _PRESENT
        five[seen] = precise[seen]
    return five
