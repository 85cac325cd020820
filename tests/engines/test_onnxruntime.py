"""The ONNX Runtime engine: the same contract as OpenVINO's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from facesieve.engines import onnxruntime_providers
from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.onnxruntime_providers import Cuda, TensorRT
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.signature import PixelInput
from facesieve.engines.tensorrt_plans import FreeSize, Profile
from facesieve.stream.errors import ConfigError, EngineClosed, EngineUnavailable, ModelInvalid

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
    with pytest.raises(EngineUnavailable, match=r"pip install 'facesieve\[onnxruntime\]'"):
        OnnxRuntimeEngine(affine)


def test_missing_extra_of_gpus(affine: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'facesieve\[onnxruntime-gpu\]'"):
        OnnxRuntimeEngine(affine, providers=[Cuda()])


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ({"onnxruntime"}, r"`pip uninstall onnxruntime`, then `pip install 'facesieve\[onnxruntime-gpu\]'`"),
        ({"onnxruntime", "onnxruntime-gpu"}, r"overwrite each other: `pip uninstall onnxruntime onnx"),
        ({"onnxruntime-gpu"}, r"needs an NVIDIA driver"),
        (set(), r"needs `pip install 'facesieve\[onnxruntime-gpu\]'`"),
    ],
)
def test_what_to_install_is_said_in_view_of_what_is_installed(
    affine: bytes, monkeypatch: pytest.MonkeyPatch, installed: set[str], said: str
) -> None:
    monkeypatch.setattr(onnxruntime_providers, "_installed", lambda package: package in installed)
    with pytest.raises(EngineUnavailable, match=rf"no CUDAExecutionProvider here; it has .*{said}"):
        OnnxRuntimeEngine(affine, providers=[Cuda()])


def test_installed_packages_are_found_by_their_names() -> None:
    assert onnxruntime_providers._installed("onnxruntime")
    assert not onnxruntime_providers._installed("onnxruntime-for-the-moon")


def test_errors(affine: bytes, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no CUDAExecutionProvider here; it has"):
        OnnxRuntimeEngine(affine, providers=[Cuda()])
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


def test_a_small_file_that_makes_a_huge_tensor_is_one_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    size = numpy_helper.from_array(np.array([1 << 42], np.int64), "size")
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy")
    graph = helper.make_graph(nodes, "huge", [x], [y], [size])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with (
        pytest.raises(ModelInvalid, match=r"cannot run on|not a network"),
        OnnxRuntimeEngine(model.SerializeToString()) as engine,
    ):
        engine.infer({"x": X})
    capfd.readouterr()  # the runtime tells it on stderr, too


def test_outputs_are_views_of_what_the_runtime_wrote(affine: bytes) -> None:
    with OnnxRuntimeEngine(affine) as engine:
        first = engine.infer({"x": X})["y"]
        assert first.ctypes.data == engine._held[0].data_ptr()
        np.testing.assert_array_equal(engine.infer({"x": X[:1]})["y"], 2 * X[:1] + 1)
        turned = np.asfortranarray(X)
        np.testing.assert_array_equal(engine.infer({"x": turned})["y"], 2 * X + 1)


def test_a_provider_that_does_not_start_is_an_error(affine: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would warn and go on with the CPU."""
    import onnxruntime as ort

    class Fallen:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", Fallen)
    looked: list[str] = []
    monkeypatch.setattr(ort, "preload_dlls", lambda: looked.append("libraries that pip installed"))
    with pytest.raises(EngineUnavailable, match=r"cannot start CUDAExecutionProvider here; it runs \['CPU"):
        OnnxRuntimeEngine(affine, providers=[Cuda()])
    assert looked


def test_providers_of_a_gpu(tmp_path: Path) -> None:
    name, options = Cuda(device=1, memory_bytes=1 << 30, tf32=True).options()
    assert (name, options["device_id"], options["gpu_mem_limit"], options["use_tf32"]) == (
        "CUDAExecutionProvider",
        "1",
        "1073741824",
        "1",
    )
    assert all(isinstance(value, str) for value in options.values())
    inputs = {
        "chips": ((None, 112, 112, 3), np.dtype(np.uint8)),
        "eye_distance_px": ((None,), np.dtype(np.float32)),
    }
    provider = TensorRT(tmp_path, profile=Profile(1, 8, 32), workspace_bytes=1 << 20)
    name, options = provider.options(inputs, "m")
    assert name == "TensorrtExecutionProvider"
    assert options["trt_profile_min_shapes"] == "chips:1x112x112x3,eye_distance_px:1"
    assert options["trt_profile_opt_shapes"] == "chips:8x112x112x3,eye_distance_px:8"
    assert options["trt_profile_max_shapes"] == "chips:32x112x112x3,eye_distance_px:32"
    assert (options["trt_engine_cache_path"], options["trt_engine_cache_enable"]) == (str(tmp_path), "1")
    free = {"x": ((1, 3, None, None), np.dtype(np.float32))}
    with pytest.raises(ConfigError, match=r"axes \[2, 3\] of input 'x' are free"):
        provider.options(free, "m")
    sizes = tuple(FreeSize("x", axis, 64, 320, 640) for axis in (2, 3))
    _, options = TensorRT(tmp_path, profile=Profile(1, 1, 1, sizes)).options(free, "m")
    assert options["trt_profile_max_shapes"] == "x:1x3x640x640"


@pytest.mark.parametrize(
    ("tf32", "switch", "warned"), [(False, None, True), (True, None, False), (False, "0", False)]
)
def test_tensorrt_by_onnx_runtime_cannot_be_told_to_do_without_tf32(
    tf32: bool,
    switch: str | None,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    if switch is not None:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", switch)
    TensorRT(Path("cache"), tf32=tf32).options({"x": ((None, 3), np.dtype(np.float32))}, "m.onnx")
    assert [("m.onnx" in line, "NVIDIA_TF32_OVERRIDE=0" in line) for line in caplog.messages] == [
        (True, True)
    ] * warned


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
