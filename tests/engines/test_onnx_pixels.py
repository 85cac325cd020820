"""Networks rewritten to take pixels: the same values as the original gives, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from facesieve.engines import onnx_pixels
from facesieve.engines.models.students import OnnxScorer
from facesieve.engines.signature import PixelInput
from facesieve.stream.errors import ModelInvalid


def run(model: bytes, **feeds: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return [np.asarray(result) for result in session.run(None, feeds)]


@pytest.mark.parametrize(
    "pixels",
    [
        PixelInput(batch=None, height=112, width=112),  # a cast and a change of layout
        PixelInput((127.5, 127.5, 127.5), (128.0, 128.0, 128.0), batch=None, height=112, width=112),
        PixelInput((10.0, 0.0, 30.0), (1.0, 2.0, 3.0), batch=2, height=None, width=None),
    ],
)
def test_the_graph_normalises_as_the_host_does(pixels: PixelInput) -> None:
    kind = (TensorProto.FLOAT, [2, 3, 112, 112])
    x, y = (helper.make_tensor_value_info(name, *kind) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    images = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    rewritten = onnx_pixels.with_pixel_input(model.SerializeToString(), pixels, "identity")
    np.testing.assert_array_equal(run(rewritten, x=images)[0], pixels.normalise(images))


def test_the_rewritten_network_declares_the_pixels(student: Callable[..., bytes]) -> None:
    model = onnx.load_from_string(
        onnx_pixels.with_pixel_input(student(raw=True), OnnxScorer.PIXELS, "student")
    )
    declared = model.graph.input[0]
    assert declared.name == "input"
    assert declared.type.tensor_type.elem_type == TensorProto.UINT8
    assert [d.dim_value for d in declared.type.tensor_type.shape.dim] == [0, 112, 112, 3]


def test_uint8_is_cast_before_anything_looks_at_it() -> None:
    """Layout first and cast later, as torch exports a permute: the cast comes first, the values stay."""
    shipped = Path(onnx_pixels.__file__).parent / "zoo" / "weights" / "facesieve-t.onnx"
    original = shipped.read_bytes()
    rewritten = onnx_pixels.with_float_pixels(original, "facesieve-t")
    graph = onnx.load_from_string(rewritten).graph
    assert [node.op_type for node in graph.node if "chips" in node.input] == ["Cast"]
    chips = np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    for before, after in zip(run(original, chips=chips), run(rewritten, chips=chips), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_network_of_floats_is_left_alone(affine: bytes) -> None:
    assert onnx_pixels.with_float_pixels(affine, "affine") == affine


def test_an_input_of_another_type_is_refused(student: Callable[..., bytes]) -> None:
    with pytest.raises(ModelInvalid, match="expected input 'chips' as float32"):
        onnx_pixels.with_pixel_input(student(), OnnxScorer.PIXELS, "student")


def test_a_node_with_its_own_graph_is_refused() -> None:
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["b"], to=TensorProto.FLOAT)], "body", [], [out]
    )
    node = helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.UINT8, [1]),
        helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "branch", inputs, outputs)
    with pytest.raises(ModelInvalid, match="holds a graph of its own"):
        onnx_pixels.with_float_pixels(helper.make_model(graph).SerializeToString(), "branch")
