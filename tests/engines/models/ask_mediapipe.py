"""Run by a Python that has mediapipe: model and images.npz in, its faces as one line of JSON out."""

from __future__ import annotations

import json
import sys

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision


def main(model: str, images: str) -> None:
    options = vision.FaceDetectorOptions(base_options=BaseOptions(model_asset_path=model))
    with vision.FaceDetector.create_from_options(options) as detector, np.load(images) as archive:
        print(json.dumps([faces(detector, archive[name]) for name in archive.files]))


def faces(detector: vision.FaceDetector, rgb: np.ndarray) -> list[dict[str, object]]:
    height, width = rgb.shape[:2]
    found = detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)).detections
    return [
        {
            "score": face.categories[0].score,
            "box": [
                face.bounding_box.origin_x,
                face.bounding_box.origin_y,
                face.bounding_box.width,
                face.bounding_box.height,
            ],
            "points": [[k.x * width, k.y * height] for k in face.keypoints],
        }
        for face in found
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
