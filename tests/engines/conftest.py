"""Weights of the zoo, frames of the shared clips, and tiny ONNX graphs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facesieve.engines.zoo.store import Store
from facesieve.stream.errors import WeightsUnavailable
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import U8, Frame

OPSET = [helper.make_opsetid("", 17)]


@pytest.fixture(scope="session")
def weights() -> Callable[[str], Path]:
    """Path of a model of the zoo; skips where the package index cannot be reached."""

    def path(name: str) -> Path:
        try:
            return Store().path(name)
        except WeightsUnavailable as missing:
            if os.environ.get("FACESIEVE_REQUIRE_ALL"):
                pytest.fail(f"{missing}, and FACESIEVE_REQUIRE_ALL is set")
            pytest.skip(str(missing))

    return path


@pytest.fixture(scope="session")
def as_frame() -> Callable[[U8], Frame]:
    """A frame made of an RGB array."""
    return lambda rgb: Frame("test", 0, 0.0, None, ArrayPicture(np.ascontiguousarray(rgb)))


@pytest.fixture(scope="session")
def clip(shared: Path) -> Callable[..., list[U8]]:
    """Every step-th frame of a shared clip, count at most, as RGB."""

    def frames(name: str, step: int, count: int) -> list[U8]:
        return list(_frames(shared / "videos" / name, step, count))

    return frames


def _frames(path: Path, step: int, count: int) -> Iterator[U8]:
    with av.open(str(path)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i // step >= count:
                return
            if i % step == 0:
                yield frame.to_ndarray(format="rgb24")


@pytest.fixture(scope="session")
def affine() -> bytes:
    """y = 2x + 1 for x (n, 3) float32."""
    two, one = (numpy_helper.from_array(np.array(v, np.float32), n) for v, n in ((2, "two"), (1, "one")))
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["m"], "first"),
        helper.make_node("Add", ["m", "one"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    return _model(helper.make_graph(nodes, "affine", [x], [y], [two, one]))


@pytest.fixture(scope="session")
def mean_colour() -> bytes:
    """y (n, 3): the mean of each channel of x, declared as (4, 3, 8, 8) float32."""
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 3])
    return _model(helper.make_graph([node], "mean", [x], [y]))


@pytest.fixture(scope="session")
def convolutions() -> bytes:
    """y (n, 64): three strided convolutions with random weights over x (n, 3, 112, 112), then a product."""
    rng = np.random.default_rng(3)
    nodes, weights, last = [], [], "x"
    for i, (inside, outside) in enumerate([(3, 32), (32, 64), (64, 128)]):
        kernel = rng.normal(0, (9 * inside) ** -0.5, (outside, inside, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        last = f"r{i}"
    matrix = rng.normal(0, 0.01, (128 * 14 * 14, 64)).astype(np.float32)
    weights.append(numpy_helper.from_array(matrix, "m"))
    nodes.append(helper.make_node("Flatten", [last], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "m"], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 112, 112])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])
    return _model(helper.make_graph(nodes, "convolutions", [x], [y], weights))


@pytest.fixture(scope="session")
def student() -> Callable[..., bytes]:
    """A quality graph: the mean of the pixels (and of eye_distance_px), and an embedding of colour means.

    raw: take (n, 3, 112, 112) float32 instead of (n, 112, 112, 3) uint8. nan: 0/0 as the quality. baked: one
    chip only, whatever the input says.
    """

    def build(
        *,
        raw: bool = False,
        eyes: bool = False,
        embedding: bool = True,
        nan: bool = False,
        baked: bool = False,
        batch: int | str = "n",
    ) -> bytes:
        if raw:
            image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, 112, 112])
            nodes = [helper.make_node("Identity", ["input"], ["pixels"])]
        else:
            image = helper.make_tensor_value_info("chips", TensorProto.UINT8, [batch, 112, 112, 3])
            nodes = [
                helper.make_node("Cast", ["chips"], ["float"], to=TensorProto.FLOAT),
                helper.make_node("Transpose", ["float"], ["pixels"], perm=[0, 3, 1, 2]),
            ]
        nodes += [
            helper.make_node("ReduceMean", ["pixels"], ["embedding"], axes=[2, 3], keepdims=0),
            helper.make_node("ReduceMean", ["embedding"], ["mean"], axes=[1], keepdims=0),
        ]
        inputs, last = [image], "mean"
        if eyes:
            inputs.append(helper.make_tensor_value_info("eye_distance_px", TensorProto.FLOAT, [batch]))
            nodes.append(helper.make_node("Add", [last, "eye_distance_px"], ["with_eyes"]))
            last = "with_eyes"
        if nan:
            nodes += [
                helper.make_node("Sub", [last, last], ["zero"]),
                helper.make_node("Div", ["zero", "zero"], ["nan"]),
            ]
            last = "nan"
        weights = [numpy_helper.from_array(np.array([1, 1], np.int64), "one_one")] if baked else []
        if baked:
            nodes.append(helper.make_node("Reshape", [last, "one_one"], ["quality"]))
        else:
            nodes.append(helper.make_node("Identity", [last], ["quality"]))
        shape = [1, 1] if baked else [batch]
        outputs = [helper.make_tensor_value_info("quality", TensorProto.FLOAT, shape)]
        if embedding:
            outputs.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 3]))
        return _model(helper.make_graph(nodes, "student", inputs, outputs, weights))

    return build


def _model(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=OPSET, ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
