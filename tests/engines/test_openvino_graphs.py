"""Rewritten OpenVINO graphs give what they gave, and are rewritten only where that pays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from facesieve.engines import openvino, openvino_networks
from facesieve.engines.models.scrfd import Scrfd
from facesieve.engines.models.yunet import YuNet
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.openvino_graphs import fold_stem, join_heads
from facesieve.engines.signature import PixelInput

GENERATOR = np.random.default_rng(0)


def values(*shape: int) -> np.ndarray:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def layer(x: Any, out: int, into: int, kernel: int = 1, stride: int = 1, bias: bool = True) -> Any:
    pad = [kernel // 2] * 2
    y = ops.convolution(x, ops.constant(values(out, into, kernel, kernel)), [stride] * 2, pad, pad, [1, 1])
    return ops.add(y, ops.constant(values(1, out, 1, 1))) if bias else y


def depthwise(x: Any, channels: int, kernel: int = 3) -> Any:
    pad = [kernel // 2] * 2
    y = ops.group_convolution(
        x, ops.constant(values(channels, 1, 1, kernel, kernel)), [1, 1], pad, pad, [1, 1]
    )
    return ops.add(y, ops.constant(values(1, channels, 1, 1)))


def graph(parts: list[Any], read: Any) -> ov.Model:
    model = ov.Model([ops.result(part) for part in parts], [read])
    model.validate_nodes_and_infer_types()
    return model


def run(model: ov.Model, x: np.ndarray) -> list[np.ndarray]:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": ov.Type.f32})
    return [np.array(out) for out in compiled(x).values()]


def kinds(model: ov.Model) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ops())


def unchanged(model: ov.Model, rewrite: Any) -> bool:
    before = kinds(model)
    rewrite(model)
    return kinds(model) == before


def test_heads_become_one_and_say_the_same() -> None:
    """As YuNet's: a 1×1 layer and a depthwise one for each of cls, obj, bbox and kps."""
    read = ops.parameter([-1, 8, -1, -1], np.float32)
    heads = [layer(read, n, 8) for n in (1, 1, 4, 10)]
    # The exporter writes a depthwise layer over one channel as a plain one.
    parts = [
        layer(head, 1, 1, kernel=3) if n == 1 else depthwise(head, n)
        for head, n in zip(heads, (1, 1, 4, 10), strict=True)
    ]
    parts[2] = ops.sigmoid(parts[2])
    model = graph(parts, read)
    x = values(2, 8, 5, 7)
    expected = run(model, x)
    join_heads(model)
    assert (kinds(model)["Convolution"], kinds(model)["GroupConvolution"]) == (1, 1)
    for want, got in zip(expected, run(model, x), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_head_that_goes_another_way_stops_the_joining_there() -> None:
    read = ops.parameter([1, 8, 6, 6], np.float32)
    parts = [depthwise(layer(read, 2, 8), 2), depthwise(layer(read, 3, 8), 3, kernel=5)]
    model = graph(parts, read)
    x = values(1, 8, 6, 6)
    expected = run(model, x)
    join_heads(model)
    assert (kinds(model)["Convolution"], kinds(model)["GroupConvolution"]) == (1, 2)
    for want, got in zip(expected, run(model, x), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    "parts",
    [
        lambda read: [layer(read, 16, 8), layer(read, 32, 8)],  # no lane idle
        lambda read: [layer(read, 2, 8), layer(read, 2, 8, kernel=3)],
        lambda read: [layer(read, 2, 8), layer(read, 2, 8, stride=2)],
        lambda read: [layer(read, 2, 8, bias=False), layer(read, 2, 8, bias=False)],
        lambda read: [layer(ops.relu(read), 2, 8), layer(read, 2, 8)],
        lambda read: [layer(read, 2, 8)],
    ],
)
def test_what_is_not_joined(parts: Any) -> None:
    read = ops.parameter([1, 8, 6, 6], np.float32)
    assert unchanged(graph(parts(read), read), join_heads)


def stem(width: int, out: int = 16, kernel: int = 3, relu: bool = True, stride: int = 2) -> ov.Model:
    read = ops.parameter([1, 9, width, 3], np.float32)
    turned = ops.transpose(read, ops.constant(np.array([0, 3, 1, 2], np.int64)))
    first = layer(turned, out, 3, kernel=kernel, stride=stride)
    return graph([layer(ops.relu(first) if relu else first, 4, out, kernel=3)], read)


@pytest.mark.parametrize(("width", "out"), [(16, 16), (4, 16), (20, 5)])
def test_a_folded_stem_says_the_same(width: int, out: int) -> None:
    model = stem(width, out)
    x = values(1, 9, width, 3)
    expected = run(model, x)
    fold_stem(model)
    assert kinds(model)["Reshape"] == 2
    np.testing.assert_allclose(run(model, x)[0], expected[0], atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        lambda: stem(18),
        lambda: stem(16, out=32),
        lambda: stem(16, kernel=5),
        lambda: stem(16, relu=False),
        lambda: stem(16, stride=1),
        lambda: graph([layer(read := ops.parameter([1, 3, 8, 8], np.float32), 16, 3, 3, 2)], read),
        lambda: graph([ops.relu(read := ops.parameter([1, 3], np.float32))], read),
    ],
)
def test_what_is_not_folded(model: Any) -> None:
    assert unchanged(model(), fold_stem)


@pytest.mark.parametrize(
    ("name", "pixels", "layers"),
    [("yunet_n_dynamic.onnx", YuNet.PIXELS, 18), ("scrfd_500m_kps.onnx", Scrfd.PIXELS, 6)],
)
def test_detectors_say_what_they_said(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str, pixels: PixelInput, layers: int
) -> None:
    """layers: fewer than before."""
    image = GENERATOR.integers(0, 256, (1, 96, 160, 3), dtype=np.uint8)
    outputs, sizes = [], []
    for rewritten in (True, False):
        with OpenVinoEngine(shared / "models" / name, pixels=pixels, precision="fp32", threads=1) as engine:
            outputs.append(
                {n: out.copy() for n, out in engine.infer({next(iter(engine.inputs)): image}).items()}
            )
            counted = kinds(engine._graph)
            sizes.append(counted["Convolution"] + counted["GroupConvolution"])
        if rewritten:
            monkeypatch.setattr(openvino_networks, "join_heads", lambda _: None)
    assert sizes[1] - sizes[0] == layers
    assert list(outputs[0]) == list(outputs[1])
    for name in outputs[0]:
        np.testing.assert_allclose(outputs[0][name], outputs[1][name], atol=1e-5)


@pytest.mark.skipif(not openvino.can_compute("bf16"), reason="this CPU does not compute in bf16")
def test_the_stem_is_folded_for_bf16_alone(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[object] = []
    monkeypatch.setattr(openvino, "fold_stem", folded.append)
    image = GENERATOR.integers(0, 256, (1, 96, 160, 3), dtype=np.uint8)
    model = shared / "models/yunet_n_dynamic.onnx"
    for precision, expected in (("fp32", 0), ("bf16", 1)):
        with OpenVinoEngine(
            model, pixels=YuNet.PIXELS, precision=precision, specialise=True, threads=1
        ) as engine:
            engine.infer({"input": image})
        assert len(folded) == expected
