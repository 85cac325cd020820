"""The TensorRT engine against the documented API, on a machine that answers in TensorRT's place."""

from __future__ import annotations

import ast
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import facesieve.engines
from facesieve.engines import tensorrt_builder, tensorrt_device
from facesieve.engines.models.students import OnnxScorer
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.signature import PixelInput
from facesieve.engines.tensorrt import TensorRTEngine
from facesieve.engines.tensorrt_device import Cuda
from facesieve.engines.tensorrt_plans import FreeSize, PlanOptions, Profile
from facesieve.stream.errors import EngineClosed, EngineError, EngineUnavailable, ModelInvalid

SMALL = PlanOptions(profile=Profile(1, 2, 4))


def chips(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 112, 112, 3), dtype=np.uint8)


def engine(model: bytes, **options: Any) -> TensorRTEngine:
    return TensorRTEngine(model, build="now", options=options.pop("options", SMALL), **options)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_batches_of_every_size_give_what_onnxruntime_gives(
    machine: Any, student: Callable[..., bytes], cuda_graphs: bool
) -> None:
    """Within the profile, beyond it (run in parts), and sizes again in another order, so graphs replay."""
    model = student()
    with engine(model, cuda_graphs=cuda_graphs) as ours, OnnxRuntimeEngine(model) as reference:
        assert ours.inputs == reference.inputs
        for seed, n in enumerate([1, 3, 4, 2, 9, 4, 1, 3, 11]):
            expected = reference.infer({"chips": chips(n, seed)})
            got = ours.infer({"chips": chips(n, seed)})
            assert list(got) == list(expected)
            for name in expected:
                np.testing.assert_allclose(got[name], expected[name], rtol=1e-6)


def test_two_inputs_are_split_together(machine: Any, student: Callable[..., bytes]) -> None:
    model = student(eyes=True)
    feeds = {"chips": chips(7), "eye_distance_px": np.arange(7, dtype=np.float32)}
    with engine(model) as ours, OnnxRuntimeEngine(model) as reference:
        expected, got = reference.infer(feeds), ours.infer(feeds)
        np.testing.assert_allclose(got["quality"], expected["quality"], rtol=1e-6)
        with pytest.raises(ModelInvalid, match="as many rows in every input"):
            ours.infer({"chips": chips(2), "eye_distance_px": np.ones(3, np.float32)})


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_batch_below_the_minimum_is_filled_up_and_cut(machine: Any, affine: bytes, n: int) -> None:
    x = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    with engine(affine, options=PlanOptions(profile=Profile(3, 4, 5))) as ours:
        np.testing.assert_allclose(ours.infer({"x": x})["y"], 2 * x + 1, rtol=1e-6)


def test_pixels_are_compiled_into_the_plan(machine: Any, student: Callable[..., bytes]) -> None:
    model, pixels = student(raw=True), OnnxScorer.PIXELS
    with engine(model, pixels=pixels) as ours, OnnxRuntimeEngine(model, pixels=pixels) as reference:
        assert ours.inputs == {"input": ((None, 112, 112, 3), np.dtype(np.uint8))}
        expected, got = reference.infer({"input": chips(5)}), ours.infer({"input": chips(5)})
        np.testing.assert_allclose(got["embedding"], expected["embedding"], atol=1e-6)


def test_the_shipped_student_runs(machine: Any) -> None:
    shipped = Path(facesieve.engines.__file__).parent / "zoo" / "weights" / "facesieve-t.onnx"
    feeds = {"chips": chips(3)}
    with (
        TensorRTEngine(shipped, build="now", options=SMALL) as ours,
        OnnxRuntimeEngine(shipped) as reference,
    ):
        expected, got = reference.infer(feeds), ours.infer(feeds)
        np.testing.assert_allclose(got["quality"], expected["quality"], atol=1e-5)
    assert machine.parsed == [str(shipped)], "the parser needs the path for weights beside the model"


def test_a_network_without_free_dimensions_needs_no_profile(
    machine: Any, student: Callable[..., bytes]
) -> None:
    model = student(batch=2)
    with engine(model) as ours, OnnxRuntimeEngine(model) as reference:
        expected, got = reference.infer({"chips": chips(2)}), ours.infer({"chips": chips(2)})
        np.testing.assert_allclose(got["quality"], expected["quality"], rtol=1e-6)
        with pytest.raises(ModelInvalid, match=r"expected input 'chips' \(2, 112, 112, 3\), got \(3"):
            ours.infer({"chips": chips(3)})
    assert machine.builds[0]._profiles == []


def test_free_sides_run_within_their_range(machine: Any, mean_colour: bytes) -> None:
    free = (FreeSize("x", 1, 8, 16, 24), FreeSize("x", 2, 8, 16, 24))
    options = PlanOptions(profile=Profile(1, 1, 2, free=free))
    with engine(mean_colour, pixels=PixelInput(batch=None), options=options) as ours:
        for height, width in [(8, 24), (16, 16), (24, 10)]:
            image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
            got = ours.infer({"x": image})["y"]
            np.testing.assert_allclose(got, image.mean(axis=(1, 2)), rtol=1e-5)
        with pytest.raises(ModelInvalid, match=r"takes input 'x' from \(1, 8, 8, 3\) to \(2, 24, 24, 3\)"):
            ours.infer({"x": np.zeros((1, 25, 8, 3), np.uint8)})


def test_outputs_last_until_the_next_call_and_survive_the_engine(machine: Any, affine: bytes) -> None:
    with engine(affine) as ours:
        first = ours.infer({"x": np.zeros((1, 3), np.float32)})["y"]
        ours.infer({"x": np.ones((1, 3), np.float32)})
        np.testing.assert_array_equal(first, np.full((1, 3), 3.0))
    np.testing.assert_array_equal(first, np.full((1, 3), 3.0))


def test_nothing_is_allocated_after_the_start_and_all_is_freed(machine: Any, affine: bytes) -> None:
    ours = engine(affine, cuda_graphs=True)
    held = len(machine.heap)
    for n in (1, 4, 9, 2):
        ours.infer({"x": np.zeros((n, 3), np.float32)})
    assert len(machine.heap) == held
    ours.close()
    ours.close()
    del ours
    gc.collect()
    assert not machine.heap
    assert not machine.streams
    assert not machine.graphs


def test_at_most_sixteen_graphs_are_kept(machine: Any, affine: bytes) -> None:
    with engine(affine, options=PlanOptions(profile=Profile(1, 8, 20)), cuda_graphs=True) as ours:
        for n in [*range(1, 21), 1, 20]:
            x = np.full((n, 3), n, np.float32)
            np.testing.assert_array_equal(ours.infer({"x": x})["y"], 2 * x + 1)
        assert len(machine.graphs) == 16


def test_each_engine_runs_on_its_own_device(machine: Any, affine: bytes) -> None:
    with engine(affine, device=0) as first, engine(affine, device=1) as second:
        for ours, device in ((first, 0), (second, 1), (first, 0)):
            ours.infer({"x": np.zeros((1, 3), np.float32)})
            assert machine.device == device


def test_nan_stays_nan(machine: Any, student: Callable[..., bytes]) -> None:
    with engine(student(nan=True)) as ours:
        assert np.isnan(ours.infer({"chips": chips(2)})["quality"]).all()


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"x": np.zeros((0, 3), np.float32)}, "nothing to compute"),
        ({"y": np.zeros((1, 3), np.float32)}, r"expected inputs \['x'\], got \['y'\]"),
        ({"x": np.zeros((1, 3), np.float64)}, "expected input 'x' as float32, got float64"),
        ({"x": np.zeros((1, 4), np.float32)}, r"expected input 'x' \(\?, 3\), got \(1, 4\)"),
    ],
)
def test_feeds_are_checked_as_by_every_engine(
    machine: Any, affine: bytes, feeds: dict[str, np.ndarray], message: str
) -> None:
    with engine(affine) as ours, pytest.raises(ModelInvalid, match=message):
        ours.infer(feeds)


def test_use_after_close_is_an_error(machine: Any, affine: bytes) -> None:
    ours = engine(affine)
    ours.close()
    with pytest.raises(EngineClosed, match="the engine was closed"):
        ours.infer({"x": np.zeros((1, 3), np.float32)})


def test_outputs_without_rows_cannot_be_run_in_parts(machine: Any) -> None:
    total = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
    graph = helper.make_graph([total], "sum", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with engine(model.SerializeToString()) as ours:
        assert ours.infer({"x": np.ones((4, 3), np.float32)})["y"] == 12
        with pytest.raises(ModelInvalid, match=r"expected 1 to 4 rows, got 5"):
            ours.infer({"x": np.ones((5, 3), np.float32)})


def test_shapes_that_only_the_data_decide_are_refused(machine: Any, affine: bytes) -> None:
    machine.data_dependent = True
    with pytest.raises(ModelInvalid, match="the shape of 'y' depends on the data"):
        engine(affine)
    assert not machine.streams


def test_a_type_without_a_numpy_type_is_refused(machine: Any) -> None:
    kind = (TensorProto.DOUBLE, ["n"])
    x, y = (helper.make_tensor_value_info(name, *kind) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "double", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelInvalid, match="has the type FP8"):
        engine(model.SerializeToString())


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, affine: bytes) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'facesieve\[tensorrt\]'"):
        engine(affine)


def test_a_missing_cuda_package_is_named(
    machine: Any, monkeypatch: pytest.MonkeyPatch, affine: bytes
) -> None:
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'facesieve\[tensorrt\]'"):
        engine(affine)


def test_an_old_tensorrt_is_refused(machine: Any, affine: bytes) -> None:
    machine.version = "10.16.1.11"
    with pytest.raises(EngineUnavailable, match=r"expected TensorRT 11, found 10\.16\.1\.11"):
        engine(affine)


def test_an_absent_gpu_is_one_clear_error(machine: Any, affine: bytes) -> None:
    machine.failing["cudaGetDeviceCount"] = "cudaErrorInsufficientDriver"
    with pytest.raises(EngineUnavailable, match=r"finds none here \(cudaErrorInsufficientDriver\)"):
        engine(affine)


def test_a_device_out_of_range_is_refused(machine: Any, affine: bytes) -> None:
    with pytest.raises(EngineUnavailable, match="expected a CUDA device from 0 to 1, got 2"):
        engine(affine, device=2)


@pytest.mark.parametrize("call", ["cudaMalloc", "cudaMallocHost", "cudaStreamCreateWithFlags"])
def test_a_failing_start_names_the_call_and_leaves_nothing(machine: Any, affine: bytes, call: str) -> None:
    machine.failing[call] = "cudaErrorMemoryAllocation"
    with pytest.raises(EngineError, match=rf"CUDA device 0: {call}.* failed with cudaErrorMemoryAllocation"):
        engine(affine)
    machine.failing.clear()
    gc.collect()
    assert not machine.heap
    assert not machine.streams


def test_a_failing_run_tells_what_tensorrt_said(machine: Any, affine: bytes) -> None:
    with engine(affine) as ours:
        machine.refusal = "Cuda failure:  an illegal\nmemory access"
        with pytest.raises(EngineError, match="refuses to run: Cuda failure: an illegal memory access"):
            ours.infer({"x": np.zeros((1, 3), np.float32)})


def test_a_network_that_cannot_be_captured_is_told(machine: Any, affine: bytes) -> None:
    with engine(affine, cuda_graphs=True) as ours:
        machine.failing["cudaStreamEndCapture"] = "cudaErrorStreamCaptureInvalidated"
        with pytest.raises(EngineError, match=r"cannot be captured as a CUDA graph .* use cuda_graphs=False"):
            ours.infer({"x": np.zeros((1, 3), np.float32)})
        machine.failing.clear()
        machine.capturing.clear()


def test_what_is_not_a_network_is_refused_before_tensorrt_sees_it(machine: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="no such file"):
        TensorRTEngine(tmp_path / "none.onnx", build="now")
    with pytest.raises(ModelInvalid, match="not an ONNX model, or damaged"):
        TensorRTEngine(b"not a model at all", build="now")
    assert not machine.builds


def test_what_tensorrt_cannot_read_names_the_node(machine: Any, affine: bytes) -> None:
    machine.unreadable = "no importer"
    with pytest.raises(ModelInvalid, match=r"cannot read it: no importer \(node 'first', Mul\)"):
        engine(affine)


def test_what_tensorrt_cannot_compile_says_why(machine: Any, affine: bytes) -> None:
    machine.refusal = "Could not find any implementation for node m"
    with pytest.raises(ModelInvalid, match="cannot compile it: Could not find any implementation for node m"):
        engine(affine)


def test_every_call_in_the_source_is_exercised(
    machine: Any, tmp_path: Path, student: Callable[..., bytes], affine: bytes
) -> None:
    """A documented name that the thin layer uses and no test reaches could be called wrongly, unnoticed."""
    wide = PlanOptions(tf32=True, hardware="ampere_plus", version_compatible=True, workspace_bytes=1 << 20)
    for options in (SMALL, wide):
        with engine(student(), options=options, cuda_graphs=True, cache_dir=tmp_path) as ours:
            ours.infer({"chips": chips(2)})
            ours.infer({"chips": chips(2)})
    machine.unreadable = "no importer"
    with pytest.raises(ModelInvalid):
        engine(affine)
    Cuda(0).free_bytes()
    del ours
    gc.collect()
    called = {call.rpartition(".")[2] for call in machine.calls}
    assert documented_names_in_source() - called == set()


def documented_names_in_source() -> set[str]:
    """Attributes and call names in the thin layer that the table of the API holds."""
    api = json.loads(Path(__file__).with_name("api.json").read_text(encoding="utf-8"))
    known = {n for c in api["tensorrt"]["classes"].values() for n in (*c["methods"], *c["properties"])}
    known |= set(api["tensorrt"]["classes"]) | set(api["cuda"]["functions"])
    known -= {"__init__", "ILogger", "log", "dtype"}  # the logger is ours, the types are numpy's
    used: set[str] = set()
    for module in (tensorrt_device, tensorrt_builder):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                used.add(node.value)
    return used & known


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("IBuilderConfig", "int8_calibrator"),  # gone in 11
        ("IExecutionContext", "execute_async_v2"),  # gone in 10
        ("ICudaEngine", "device_memory_size"),  # gone in 11
        ("Builder", "platform_has_fast_fp16"),  # gone in 11
    ],
)
def test_the_table_holds_no_removed_name(kind: str, name: str) -> None:
    api = json.loads(Path(__file__).with_name("api.json").read_text(encoding="utf-8"))
    table = api["tensorrt"]["classes"][kind]
    assert name not in table["methods"]
    assert name not in table["properties"]
    assert not {"FP16", "INT8", "BF16"} & set(api["tensorrt"]["enums"]["BuilderFlag"])


def test_the_machine_refuses_what_is_not_documented(machine: Any) -> None:
    trt = tensorrt_device.tensorrt()
    builder = trt.Builder(tensorrt_device.logger(trt))
    config = builder.create_builder_config()
    for wrong in (
        lambda: builder.create_networks(0),
        lambda: trt.BuilderFlag.FP16,
        lambda: trt.Calibrator,
        lambda: setattr(config, "int8_calibrator", None),
        lambda: setattr(config, "num_optimization_profiles", 2),
    ):
        with pytest.raises(AttributeError):
            wrong()
    for wrong in (
        lambda: builder.create_network(0, 1),
        lambda: builder.build_serialized_network(None),
        lambda: config.set_memory_pool_limit(pool=1, size=2),
    ):
        with pytest.raises(TypeError):
            wrong()
