"""The arithmetic floor: multiply-accumulates of a network over this CPU's rate of matrix products."""

from __future__ import annotations

import json
import sys
import time
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

SIDE = 2048


def macs(model: Path, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of convolutions and linear layers for one input of that shape."""
    graph = ov.Core().read_model(model)
    graph.reshape({graph.inputs[0].get_any_name(): ov.PartialShape(list(shape))})
    return sum(_macs(node) for node in graph.get_ops())


def _macs(node: Any) -> int:
    kind = node.get_type_name()
    if kind not in ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"):
        return 0
    taken, weights = (list(node.input(i).get_shape()) for i in (0, 1))
    made = list(node.output(0).get_shape())
    match kind:
        case "Convolution":
            return prod(made) * prod(weights[1:])
        case "GroupConvolution":
            return prod(made) * prod(weights[2:])
        case "ConvolutionBackpropData":
            return prod(taken) * prod(weights[1:])
        case _:
            return prod(made) * taken[-1]


def product(quantised: bool) -> bytes:
    """A graph x (SIDE, SIDE) · constant (SIDE, SIDE); quantised: int8 around both."""
    generator = np.random.default_rng(0)
    weight = generator.integers(-127, 128, (SIDE, SIDE))
    scale = numpy_helper.from_array(np.float32(0.01), "s")
    zero = numpy_helper.from_array(np.int8(0), "z")
    if quantised:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["a"]),
            helper.make_node("DequantizeLinear", ["w", "s", "z"], ["b"]),
            helper.make_node("MatMul", ["a", "b"], ["y"]),
        ]
        constants = [numpy_helper.from_array(weight.astype(np.int8), "w"), scale, zero]
    else:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        constants = [numpy_helper.from_array(weight.astype(np.float32) / 100, "w")]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [SIDE, SIDE]) for n in "xy"]
    graph = helper.make_graph(nodes, "product", ports[:1], ports[1:], constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()


def rate(arithmetic: str, threads: int, seconds: float) -> float:
    """Multiply-accumulates a second of a large matrix product, the best run; 0 where the CPU cannot."""
    core = ov.Core()
    if arithmetic.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return 0.0
    kind = {"bf16": ov.Type.bf16, "fp16": ov.Type.f16}.get(arithmetic, ov.Type.f32)
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": kind}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    request = core.compile_model(
        core.read_model(product(arithmetic == "int8")), "CPU", options
    ).create_infer_request()
    x = np.random.default_rng(1).standard_normal((SIDE, SIDE)).astype(np.float32)
    request.set_input_tensor(0, ov.Tensor(x, shared_memory=True))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        request.infer()
        best = min(best, time.perf_counter() - start)
    return SIDE**3 / best


def main() -> None:
    """In a process of its own: the rates as JSON. Arguments: threads, seconds an arithmetic."""
    threads, seconds = int(sys.argv[1]), float(sys.argv[2])
    print(json.dumps({kind: rate(kind, threads, seconds) for kind in ("fp32", "bf16", "fp16", "int8")}))


if __name__ == "__main__":
    main()
