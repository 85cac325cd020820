"""A tiny quality network, made by script, and real faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facesieve.engines.build.gate import Chips

OPSET = [helper.make_opsetid("", 18)]


def convolution(
    name: str, x: str, y: str, shape: tuple[int, ...], seed: int, scale: float
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    generator = np.random.default_rng(seed)
    weight = (generator.standard_normal(shape) * scale / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    bias = generator.standard_normal(shape[0]).astype(np.float32) * 0.1
    nodes = [
        helper.make_node(
            "Conv", [x, f"{name}.w", f"{name}.b"], [f"{name}.y"], name, strides=[4, 4], pads=[1] * 4
        ),
        helper.make_node("Relu", [f"{name}.y"], [y], f"{name}.relu"),
    ]
    return nodes, [numpy_helper.from_array(weight, f"{name}.w"), numpy_helper.from_array(bias, f"{name}.b")]


def tiny_model(*, scale: float = 1.4, batch: int | str = "n") -> onnx.ModelProto:
    """chips (n, 112, 112, 3) uint8 → embedding (n, 8) of unit length, quality (n,)."""
    generator = np.random.default_rng(7)
    first, first_weights = convolution("a", "x", "u", (16, 3, 3, 3), 1, scale)
    second, second_weights = convolution("b", "u", "v", (32, 16, 3, 3), 2, 1.4)
    constants = [
        numpy_helper.from_array(np.float32(127.5), "middle"),
        numpy_helper.from_array(np.array([2, 3], np.int64), "places"),
        numpy_helper.from_array(np.array([1], np.int64), "rows"),
        numpy_helper.from_array(np.float32(1e-12), "guard"),
        numpy_helper.from_array(generator.standard_normal((32, 8)).astype(np.float32), "e.w"),
        numpy_helper.from_array(generator.standard_normal((8, 1)).astype(np.float32), "q.w"),
    ]
    nodes = [
        helper.make_node("Cast", ["chips"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], "layout", perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["t", "middle"], ["s"], "centre"),
        helper.make_node("Div", ["s", "middle"], ["x"], "scale"),
        *first,
        *second,
        helper.make_node("ReduceMean", ["v", "places"], ["pooled"], "pool", keepdims=0),
        helper.make_node("Gemm", ["pooled", "e.w"], ["e"], "embed"),
        helper.make_node("Gemm", ["e", "q.w"], ["q"], "rate"),
        helper.make_node("Squeeze", ["q", "rows"], ["quality"], "flat"),
        helper.make_node("ReduceL2", ["e", "rows"], ["length"], "norm", keepdims=1),
        helper.make_node("Clip", ["length", "guard"], ["guarded"], "clip"),
        helper.make_node("Div", ["e", "guarded"], ["embedding"], "unit"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("chips", TensorProto.UINT8, [batch, 112, 112, 3])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 8]),
            helper.make_tensor_value_info("quality", TensorProto.FLOAT, [batch]),
        ],
        [*constants, *first_weights, *second_weights],
        doc_string="/home/someone/private",
    )
    model = helper.make_model(graph, opset_imports=OPSET, ir_version=9, producer_name="script")
    helper.set_model_props(model, {"made_in": "/home/someone/private"})
    return model


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., onnx.ModelProto]:
    return tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    onnx.save(tiny_model(), str(path))
    return path


@pytest.fixture(scope="session")
def smooth_chips() -> Chips:
    """100 pictures of soft blobs in 20 tracks of five."""
    generator = np.random.default_rng(3)
    coarse = generator.integers(0, 256, (100, 7, 7, 3)).astype(np.float32)
    chips = np.kron(coarse, np.ones((1, 16, 16, 1), np.float32)).astype(np.uint8)
    return Chips(chips, np.repeat([f"v{i}" for i in range(20)], 5), np.full(100, 40, np.float32))


@pytest.fixture(scope="session")
def real_chips(shared: Path) -> Callable[[int], Chips]:
    """The first frames of ytf-dev, whole tracks, n chips at least."""
    from facesieve.fiqa.faces import aligned_chips, read_faces

    def chips(n: int) -> Chips:
        faces = read_faces(shared / "data/ytf-dev")
        names, counts = np.unique(faces.videos, return_counts=True)
        wanted = names[: int(np.searchsorted(np.cumsum(counts), n)) + 1]
        faces = faces.take(np.flatnonzero(np.isin(faces.videos, wanted)))
        return Chips(aligned_chips(faces), faces.videos, faces.eye_distances_px())

    return chips
