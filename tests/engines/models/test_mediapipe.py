"""MediaPipe's own detector as a Detector; runs only in an environment that has mediapipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facesieve.engines.models.blazeface import BlazeFace
from facesieve.engines.models.facemesh import FaceMesh
from facesieve.engines.models.mediapipe import MediaPipeTasks
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.stream.errors import EngineClosed, ModelInvalid
from facesieve.stream.types import U8, Frame

pytest.importorskip("mediapipe", reason="mediapipe needs an environment of its own")


def test_finds_the_faces_that_our_own_decoding_finds(
    weights: Callable[[str], Path], clip: Callable[..., list[U8]], as_frame: Callable[[U8], Frame]
) -> None:
    engines = [
        OpenVinoEngine(weights("face-mesh"), pixels=FaceMesh.PIXELS, precision="fp32") for _ in range(2)
    ]
    blaze = OpenVinoEngine(weights("blazeface-full-range"), pixels=BlazeFace.PIXELS, precision="fp32")
    faces = 0
    with (
        MediaPipeTasks(weights("mediapipe-full-range"), FaceMesh(engines[0])) as theirs,
        BlazeFace(blaze, FaceMesh(engines[1])) as ours,
    ):
        for rgb in clip("single_face.mp4", 20, 4) + clip("WolfgangLanger_Pexels.mp4", 60, 6):
            a, b = theirs.detect(as_frame(rgb)), ours.detect(as_frame(rgb))
            assert len(a) == len(b)
            for i in range(len(a)):
                faces += 1
                eyes = np.linalg.norm(b.landmarks[i, 0] - b.landmarks[i, 1])
                assert np.abs(a.landmarks[i] - b.landmarks[i]).mean() < 0.1 * eyes
                assert a.scores[i] == pytest.approx(b.scores[i], abs=0.2)
    assert faces >= 6


def test_closed_and_not_a_model(
    weights: Callable[[str], Path], as_frame: Callable[[U8], Frame], tmp_path: Path
) -> None:
    detector = MediaPipeTasks(weights("mediapipe-full-range"))
    assert len(detector.detect(as_frame(np.zeros((31, 97, 3), np.uint8)))) == 0
    detector.close()
    detector.close()
    with pytest.raises(EngineClosed):
        detector.detect(as_frame(np.zeros((31, 97, 3), np.uint8)))
    (tmp_path / "text.tflite").write_text("not a model")
    with pytest.raises(ModelInvalid, match="not a face detector"):
        MediaPipeTasks(tmp_path / "text.tflite")
