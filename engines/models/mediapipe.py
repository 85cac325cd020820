"""MediaPipe's own face detector through its Tasks API (`pip install 'facesieve[mediapipe]'`).

It brings opencv-contrib-python, which cannot live beside opencv-python-headless: an environment of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...stream.errors import EngineClosed, EngineUnavailable, ModelInvalid
from ...stream.ports import Closing
from ...stream.types import Detections, Frame
from .blazeface import five_landmarks
from .facemesh import FaceMesh
from .suppression import strongest


def tasks() -> tuple[Any, Any, Any]:
    """The package, its options and its vision tasks; EngineUnavailable if it is missing."""
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as missing:
        raise EngineUnavailable("MediaPipe needs `pip install 'facesieve[mediapipe]'`") from missing
    return mediapipe, BaseOptions, vision


class MediaPipeTasks(Closing):
    """BlazeFace as MediaPipe runs it.

    model: a .tflite or .task bundle with MediaPipe's metadata. mesh: as for BlazeFace. long_side_px: of the
    picture handed over; MediaPipe scales it to 192×192 itself.
    """

    name = "mediapipe"

    def __init__(
        self,
        model: Path,
        mesh: FaceMesh | None = None,
        *,
        long_side_px: int = 640,
        min_score: float = 0.5,
        nms_iou: float = 0.3,
    ) -> None:
        mediapipe, base_options, vision = tasks()
        options = vision.FaceDetectorOptions(
            base_options=base_options(model_asset_path=str(model)),
            min_detection_confidence=min_score,
            min_suppression_threshold=nms_iou,
        )
        try:
            self._detector: Any = vision.FaceDetector.create_from_options(options)
        except (RuntimeError, ValueError, FileNotFoundError) as failure:
            raise ModelInvalid(f"{model}: not a face detector of MediaPipe Tasks: {failure}") from failure
        self._image, self._format = mediapipe.Image, mediapipe.ImageFormat.SRGB
        self._mesh, self._long_side_px = mesh, long_side_px

    def detect(self, frame: Frame) -> Detections:
        """Faces in pixels of the frame, best first."""
        if self._detector is None:
            raise EngineClosed("mediapipe: the detector was closed")
        picture = frame.picture
        shrink = min(1.0, self._long_side_px / max(picture.width, picture.height))
        width, height = (max(1, round(size * shrink)) for size in (picture.width, picture.height))
        pixels = np.ascontiguousarray(picture.scaled(width, height, "rgb"))
        found = self._detector.detect(self._image(image_format=self._format, data=pixels)).detections
        if not found:
            return Detections.empty()
        scale = np.array([picture.width / width, picture.height / height])
        corners = np.array([_corners(d.bounding_box) for d in found]) * scale
        shares = np.array([[(k.x, k.y) for k in d.keypoints] for d in found])
        scores = np.array([d.categories[0].score for d in found], np.float32)
        order = strongest(scores)
        boxes = corners.reshape(-1, 4)[order].astype(np.float32)
        points = (shares[order] * [picture.width, picture.height] - 0.5).astype(np.float32)
        return Detections(boxes, scores[order], five_landmarks(picture, boxes, points, self._mesh))

    def close(self) -> None:
        if self._detector is not None:
            self._detector.close()
        self._detector = None
        if self._mesh is not None:
            self._mesh.close()


def _corners(box: Any) -> list[tuple[int, int]]:
    return [(box.origin_x, box.origin_y), (box.origin_x + box.width, box.origin_y + box.height)]
