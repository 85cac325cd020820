"""Every graph that is shipped or exported uses only what TensorRT's ONNX parser is published to take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import facesieve.engines
from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.models.scrfd import Scrfd
from facesieve.engines.models.students import OnnxScorer
from facesieve.engines.models.yunet import YuNet
from facesieve.engines.onnx_pixels import prepared
from facesieve.engines.signature import PixelInput
from facesieve.engines.tensorrt_support import problems, supported
from facesieve.stream.errors import ModelInvalid

SHIPPED = sorted((Path(facesieve.engines.__file__).parent / "zoo" / "weights").glob("*.onnx"))

OWN = helper.make_opsetid("my.own", 1)


def taken(model: bytes, pixels: PixelInput | None, label: str) -> tuple[str, ...]:
    """The problems of the graph that TensorRT gets to see."""
    return problems(prepared(model, pixels, label), label)


def one_node(node: object, kind: int, *constants: object, opset: int = 17, inputs: int = 1) -> bytes:
    names = ["x", "x2"][:inputs]
    ports = [helper.make_tensor_value_info(name, kind, ["n", 3, 8, 8]) for name in names]
    out = helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)
    graph = helper.make_graph([node], "g", ports, [out], list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), OWN]).SerializeToString()


def constant(name: str, value: object, kind: type) -> object:
    return numpy_helper.from_array(np.array(value, kind), name)


def test_there_are_shipped_graphs() -> None:
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_graphs(path: Path) -> None:
    assert taken(path.read_bytes(), None, path.name) == ()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_shipped_graphs_in_lower_precision(precision: str) -> None:
    """As the build makes them; noise calibrates well enough where only operators and types are read."""
    from facesieve.engines.build import graph, half, int8

    rng = np.random.default_rng(0)
    for path in SHIPPED:
        model = graph.read(path)
        image = model.graph.input[0]
        shape = [dim.dim_value or 2 for dim in image.type.tensor_type.shape.dim]
        samples = [{image.name: rng.integers(0, 256, shape, dtype=np.uint8)}]
        made = half.to_half(model) if precision == "fp16" else int8.to_int8(model, samples)
        assert taken(made.SerializeToString(), None, path.name) == ()


def test_uint8_that_is_moved_before_it_is_cast_is_why_graphs_are_prepared() -> None:
    """As torch exports a permute of uint8 chips."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "moved", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["t"], ["y"], to=TensorProto.FLOAT),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 112, 112, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    (problem,) = problems(model, "chips")
    assert problem.startswith("Transpose 'moved': the type UINT8 is not on the list")
    assert taken(model, None, "chips") == ()


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("yunet_n_dynamic.onnx", YuNet.PIXELS),
        ("yunet_s_dynamic.onnx", YuNet.PIXELS),
        ("scrfd_500m_kps.onnx", Scrfd.PIXELS),
        ("mobilefacenet_foamliu.onnx", None),
    ],
)
def test_shared_graphs(shared: Path, name: str, pixels: PixelInput | None) -> None:
    model = (shared / "models" / name).read_bytes()
    assert problems(model, name) == ()
    assert taken(model, pixels, name) == ()


def test_centerface(weights: Callable[[str], Path]) -> None:
    assert taken(weights("centerface").read_bytes(), CenterFace.PIXELS, "centerface") == ()


@pytest.mark.parametrize("architecture", ["T", "S", "AI-KD", "DifFIQA(R)"])
def test_exported_students(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str) -> None:
    """Random weights. Each backbone and head is here once: M, L and the others repeat the blocks of S."""
    import torch

    from facesieve.fiqa.export import export_student
    from facesieve.fiqa.networks import AIKD, DifFIQAR, EDifFIQA, iresnet
    from facesieve.fiqa.networks.mobilefacenet import MobileFaceNet

    monkeypatch.setitem(iresnet.BLOCKS, 18, (1, 1, 1, 2))
    small = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 7, stride=16), torch.nn.PReLU(4), torch.nn.Flatten(1))
    small.embedding_size = 4 * 7 * 7
    student = {
        "T": lambda: EDifFIQA(MobileFaceNet()),
        "S": lambda: EDifFIQA(iresnet.IResNet(18)),
        "AI-KD": lambda: AIKD(small),
        "DifFIQA(R)": lambda: DifFIQAR(small),
    }[architecture]()
    export_student(student, tmp_path / "student.onnx")
    assert taken((tmp_path / "student.onnx").read_bytes(), None, architecture) == ()


def test_raw_students_behind_pixels(student: Callable[..., bytes]) -> None:
    assert taken(student(raw=True, eyes=False), OnnxScorer.PIXELS, "student") == ()


def test_symmetric_int8_is_taken() -> None:
    scale, zero = constant("s", 0.1, np.float32), constant("z", 0, np.int8)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    assert problems(one_node(node, TensorProto.FLOAT, scale, zero), "q") == ()


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (
            one_node(helper.make_node("Unique", ["x"], ["y"], "u"), TensorProto.FLOAT),
            "Unique 'u': the operator Unique is not on the list",
        ),
        (
            one_node(helper.make_node("Mish", ["x"], ["y"], "m", domain="my.own"), TensorProto.FLOAT),
            "Mish 'm': the operator my.own.Mish is not on the list",
        ),
        (
            one_node(helper.make_node("Add", ["x", "x2"], ["y"], "a"), TensorProto.DOUBLE, inputs=2),
            "Add 'a': the type DOUBLE is not on the list (BF16, FP16, FP32, INT32, INT64)",
        ),
        (
            one_node(helper.make_node("Relu", ["x"], ["y"], "r"), TensorProto.INT8),
            "Relu 'r': the type INT8 is not on the list (BF16, FP16, FP32, INT32, INT64)",
        ),
        (
            one_node(helper.make_node("Cast", ["x"], ["y"], "c", to=TensorProto.INT8), TensorProto.FLOAT),
            "Cast 'c': the type INT8 is not on the list (BF16, BOOL, FP16, FP32, INT32, INT64, UINT8)",
        ),
        (
            one_node(
                helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], "q"),
                TensorProto.FLOAT,
                constant("s", 0.1, np.float32),
                constant("z", 128, np.uint8),
            ),
            "QuantizeLinear 'q': its zero point must be 0",
        ),
        (
            one_node(
                helper.make_node("Resize", ["x", "", "s"], ["y"], "r", mode="cubic"),
                TensorProto.FLOAT,
                constant("s", [1, 1, 2, 2], np.float32),
            ),
            "Resize 'r': mode 'cubic' is not one of nearest, linear",
        ),
        (
            one_node(
                helper.make_node("MaxPool", ["x"], ["y"], "p", kernel_shape=[2, 2], dilations=[2, 2]),
                TensorProto.FLOAT,
            ),
            "MaxPool 'p': its dilations must be 1",
        ),
        (
            one_node(helper.make_node("Relu", ["x"], ["y"]), TensorProto.FLOAT, opset=8),
            "opset 8 is outside 9 to 24",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_taken_is_named(model: bytes, problem: str) -> None:
    assert problems(model, "m") == (problem,)


def test_axes_that_the_graph_computes_are_named() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["axes"], end=1),
        helper.make_node("ReduceSum", ["x", "axes"], ["y"], "r"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    assert problems(model, "m") == ("ReduceSum 'r': its axes must be constant",)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="m: not an ONNX model"):
        problems(b"\x00nothing", "m")


def test_the_table_is_whole() -> None:
    """Counted in the published table: 158 operators are supported; these rows are easily misread."""
    table = supported()
    assert len(table) == 158
    assert table["DequantizeLinear"] == {"INT8", "FP8", "FP4", "INT4"}
    assert table["QuantizeLinear"] == {"FP32", "FP16", "BF16"}
    assert "UINT8" in table["Cast"]
    assert [name for name, types in table.items() if "UINT8" in types] == ["Cast", "CastLike"]
    assert not {"QLinearConv", "ConvInteger", "DynamicQuantizeLinear", "Unique"} & table.keys()
