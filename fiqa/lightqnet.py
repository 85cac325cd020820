"""LightQNet (Chen et al., IEEE SPL 2021) as a peer and as one of the student's teachers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openvino

from ..stream.errors import SourceMissing
from ..stream.types import F32, U8

INPUT_PX = 96


class LightQNet:
    """The authors' frozen TensorFlow graph, run by OpenVINO in float32."""

    def __init__(self, path: Path, batch: int = 32) -> None:
        if not path.is_file():
            raise SourceMissing(f"expected LightQNet's frozen graph at {path}")
        core = openvino.Core()
        model = core.read_model(path)
        model.reshape([batch, INPUT_PX, INPUT_PX, 3])
        self._network = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._batch = batch

    def score(self, chips: U8) -> F32:
        """(n, 112, 112, 3) RGB → (n,) in [0, 1], higher is better."""
        scores = np.empty(len(chips), np.float32)
        for start in range(0, len(chips), self._batch):
            part = chips[start : start + self._batch]
            pixels = np.zeros((self._batch, INPUT_PX, INPUT_PX, 3), np.float32)
            for row, chip in enumerate(part):
                pixels[row] = (cv2.resize(chip, (INPUT_PX, INPUT_PX)).astype(np.float32) - 128.0) / 128.0
            scores[start : start + len(part)] = np.asarray(self._network(pixels)[0])[: len(part), 0]
        return scores
