"""fp16 and int8 graphs of a tiny network: what is in them, and that engines compute the same with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facesieve.engines.build import graph
from facesieve.engines.build.gate import Chips
from facesieve.engines.build.half import to_half
from facesieve.engines.build.int8 import ends, to_int8
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.stream.errors import ModelInvalid

MakeTiny = Callable[..., onnx.ModelProto]


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


def samples(chips: Chips, n: int = 12) -> list[dict[str, np.ndarray]]:
    return [{"chips": chips.chips[i : i + 1]} for i in range(n)]


def made(model: onnx.ModelProto, precision: str, chips: Chips) -> onnx.ModelProto:
    if precision == "fp16":
        return to_half(model)
    return to_int8(model, samples(chips), activations="int8" if precision == "int8" else "uint8")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.02), ("int8", 0.2), ("uint8", 0.2)])
@pytest.mark.parametrize("engine", [OpenVinoEngine, OnnxRuntimeEngine])
def test_engines_compute_nearly_the_same(
    tiny: Path, smooth_chips: Chips, tmp_path: Path, precision: str, tolerance: float, engine: type
) -> None:
    original = graph.read(tiny)
    path = saved(made(original, precision, smooth_chips), tmp_path)
    options = {"precision": "fp32"} if engine is OpenVinoEngine else {}
    with engine(tiny, **options) as before, engine(path, **options) as after:
        for batch in (1, 5):  # the batch stays dynamic
            feeds = {"chips": smooth_chips.chips[:batch]}
            expected, got = dict(before.infer(feeds)), after.infer(feeds)
            for name in ("embedding", "quality"):
                assert got[name].dtype == np.float32
                assert got[name].shape == expected[name].shape
                assert np.abs(got[name] - expected[name]).max() < tolerance * np.abs(expected[name]).max()


@pytest.mark.parametrize("precision", ["fp16", "int8", "uint8"])
def test_what_is_made_is_standard_whole_and_private(tiny: Path, smooth_chips: Chips, precision: str) -> None:
    original = graph.read(tiny)
    result = made(original, precision, smooth_chips)
    graph.check(result, "tiny", original)
    assert b"private" not in result.SerializeToString()
    assert {o.domain for o in result.opset_import} == {""}
    assert result.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    again = made(graph.read(tiny), precision, smooth_chips)
    assert again.SerializeToString(deterministic=True) == result.SerializeToString(deterministic=True)


def test_fp16_holds_half_weights_and_a_norm_in_single(tiny: Path) -> None:
    result = to_half(graph.read(tiny))
    kinds = {t.name: t.data_type for t in result.graph.initializer}
    assert kinds["a.w"] == kinds["e.w"] == TensorProto.FLOAT16
    typed = onnx.shape_inference.infer_shapes(result, strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in typed.graph.value_info}
    norm = next(n for n in result.graph.node if n.op_type == "ReduceL2")
    convolution = next(n for n in result.graph.node if n.op_type == "Conv")
    assert types[norm.output[0]] == TensorProto.FLOAT
    assert types[convolution.output[0]] == TensorProto.FLOAT16


@pytest.mark.parametrize(("precision", "zero"), [("int8", TensorProto.INT8), ("uint8", TensorProto.UINT8)])
def test_int8_has_a_scale_a_channel_and_float_biases(
    tiny: Path, smooth_chips: Chips, precision: str, zero: int
) -> None:
    result = made(graph.read(tiny), precision, smooth_chips)
    weights = {t.name: numpy_helper.to_array(t) for t in result.graph.initializer}
    assert weights["a.w_quantized"].dtype == np.int8
    assert weights["a.w_scale"].shape == (16,)
    assert weights["a.b"].dtype == np.float32
    counted = Counter(node.op_type for node in result.graph.node)
    assert counted["DequantizeLinear"] > counted["QuantizeLinear"] > 0
    points = {t.data_type for t in result.graph.initializer if t.name.endswith("zero_point") and not t.dims}
    assert points == {zero}
    if precision == "int8":  # what TensorRT compiles
        assert all(not w.any() for name, w in weights.items() if name.endswith("zero_point"))


def test_layers_are_kept_in_fp32_on_request(tiny: Path, smooth_chips: Chips) -> None:
    original = graph.read(tiny)
    first, last = ends(original)
    assert (first, last) == (("a",), ("rate",))
    result = to_int8(original, samples(smooth_chips), keep=(*first, *last))
    names = {t.name for t in result.graph.initializer}
    assert {"a.w", "q.w"} <= names
    assert "b.w_quantized" in names


def test_a_fixed_batch_and_old_opsets_are_opened(make_tiny: MakeTiny, tmp_path: Path) -> None:
    path = saved(make_tiny(batch=4), tmp_path)
    with pytest.raises(ModelInvalid, match="expected a dynamic batch, got a fixed one for chips"):
        graph.check(graph.tidy(graph.read(path)), "tiny", graph.read(path))
    opened = graph.read(path, {"chips": (None, 112, 112, 3)})
    graph.check(graph.tidy(opened), "tiny", opened)
    old = helper.make_model(
        helper.make_graph(
            [helper.make_node("Conv", ["x", "w"], ["y"])],
            "old",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8]),
                helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 3, 1, 1]),
            ],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 8, 8])],
            [numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 9)],
        ir_version=4,
    )
    read = graph.read(saved(old, tmp_path))
    assert read.opset_import[0].version == graph.OPSET
    assert [i.name for i in read.graph.input] == ["x"]


def test_weights_beyond_half_are_refused(make_tiny: MakeTiny, tmp_path: Path) -> None:
    model = make_tiny()
    for tensor in model.graph.initializer:
        if tensor.name == "q.w":
            tensor.CopyFrom(numpy_helper.from_array(np.full((8, 1), 1e5, np.float32), "q.w"))
    with pytest.raises(ModelInvalid, match=r"within ±65504 for fp16, got 1e\+05"):
        to_half(graph.read(saved(model, tmp_path)))


def test_no_samples_are_refused(tiny: Path) -> None:
    with pytest.raises(ModelInvalid, match="samples to calibrate on, got none"):
        to_int8(graph.read(tiny), [])


def test_nan_in_the_network_is_refused(make_tiny: MakeTiny, tmp_path: Path) -> None:
    model = make_tiny()
    for tensor in model.graph.initializer:
        if tensor.name == "a.b":
            tensor.CopyFrom(numpy_helper.from_array(np.full(16, np.nan, np.float32), "a.b"))
    with pytest.raises(ModelInvalid, match=r"got NaN in 'a\.b'"):
        graph.read(saved(model, tmp_path))


@pytest.mark.parametrize(
    ("whole", "said"), [(b"", "empty"), (b"not a network", "not an ONNX model|not a network")]
)
def test_what_is_no_network_is_refused(make_tiny: MakeTiny, tmp_path: Path, whole: bytes, said: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(whole)
    with pytest.raises(ModelInvalid, match=said):
        graph.read(path)
    with pytest.raises(ModelInvalid, match="no such file"):
        graph.read(tmp_path / "other.onnx")


def test_a_foreign_operator_is_refused(tiny: Path) -> None:
    original = graph.read(tiny)
    foreign = graph.read(tiny)
    foreign.opset_import.extend([helper.make_opsetid("com.microsoft", 1)])
    foreign.graph.node.extend([helper.make_node("QuickGelu", ["quality"], ["z"], domain="com.microsoft")])
    with pytest.raises(ModelInvalid, match=r"com\.microsoft::QuickGelu"):
        graph.check(foreign, "tiny", original)


def test_a_resize_by_sizes_stays_one_in_half_precision(tmp_path: Path) -> None:
    """As exporters write it: with an empty tensor in the place of the scales."""
    empty, sizes = np.zeros(0, np.float32), np.array([1, 3, 16, 16], np.int64)
    constants = [numpy_helper.from_array(empty, "none"), numpy_helper.from_array(sizes, "sizes")]
    resize = helper.make_node("Resize", ["x", "none", "none", "sizes"], ["r"], mode="nearest")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, None, None]) for name in "xy")
    nodes = [resize, helper.make_node("Relu", ["r"], ["y"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], constants),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    original = graph.read(saved(model, tmp_path))
    half = to_half(original)
    graph.check(half, "resize", original)
    (node,) = [node for node in half.graph.node if node.op_type == "Resize"]
    assert list(node.input[1:]) == ["", "", "sizes"]
