"""The ONNX Runtime engine: the same contract as OpenVINO's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.signature import PixelInput
from facesieve.stream.errors import EngineClosed, EngineUnavailable, ModelInvalid

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_values_and_signature(affine: bytes, tmp_path: Path) -> None:
    path = tmp_path / "affine.onnx"
    path.write_bytes(affine)
    for model in (affine, path):
        with OnnxRuntimeEngine(model, threads=1) as engine:
            assert engine.inputs == {"x": ((None, 3), np.dtype(np.float32))}
            assert engine.outputs == {"y": ((None, 3), np.dtype(np.float32))}
            np.testing.assert_array_equal(engine.infer({"x": X})["y"], 2 * X + 1)


def test_missing_extra(affine: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailable, match=r"pip install facesieve\[onnxruntime\]"):
        OnnxRuntimeEngine(affine)


def test_errors(affine: bytes, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no CUDAExecutionProvider here; it has"):
        OnnxRuntimeEngine(affine, providers=["CUDAExecutionProvider"])
    with pytest.raises(ModelInvalid, match="no such file"):
        OnnxRuntimeEngine(tmp_path / "none.onnx")
    with pytest.raises(ModelInvalid, match="not a"):
        OnnxRuntimeEngine(b"not a network")
    engine = OnnxRuntimeEngine(affine)
    with pytest.raises(ModelInvalid, match="nothing to compute"):
        engine.infer({"x": X[:0]})
    engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        engine.infer({"x": X})


def test_pixels_free_a_fixed_graph(mean_colour: bytes) -> None:
    pixels = PixelInput(mean=(10, 20, 30), std=(2, 4, 8), batch=None)
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    with OnnxRuntimeEngine(mean_colour, pixels=pixels) as engine:
        assert engine.inputs == {"x": ((None, None, None, 3), np.dtype(np.uint8))}
        means = (image.mean((1, 2)) - [10, 20, 30]) / [2, 4, 8]
        np.testing.assert_allclose(engine.infer({"x": image})["y"], means, rtol=1e-5)


def test_agrees_with_openvino_and_with_itself_whatever_the_threads(weights: Callable[[str], Path]) -> None:
    model = weights("centerface")
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 160, 3), dtype=np.uint8)
    seen = []
    for threads in (1, 2):
        with OnnxRuntimeEngine(model, pixels=CenterFace.PIXELS, threads=threads) as engine:
            seen.append(engine.infer({"input.1": image}))
    with OpenVinoEngine(model, pixels=CenterFace.PIXELS, precision="fp32") as engine:
        other = engine.infer({"input.1": image})
        assert list(other) == list(seen[0])
        for name in other:
            np.testing.assert_array_equal(seen[0][name], seen[1][name])
            np.testing.assert_allclose(seen[0][name], other[name], atol=1e-4)


def test_a_face_scores_the_same_whatever_the_threads(convolutions: bytes) -> None:
    x = np.random.default_rng(5).random((9, 3, 112, 112), dtype=np.float32)
    seen = {n: set() for n in (1, 2, 9)}
    for threads in (1, 2):
        with OnnxRuntimeEngine(convolutions, threads=threads) as engine:
            for n, rows in seen.items():
                rows.add(engine.infer({"x": x[:n]})["y"].tobytes())
    assert [len(rows) for rows in seen.values()] == [1, 1, 1]
