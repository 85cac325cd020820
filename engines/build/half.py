"""fp16 as a graph: half-precision weights and arithmetic, inputs and outputs as they were."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ...stream.errors import ModelInvalid
from .graph import OPSET, name_nodes, onnx_package, onnxruntime_tools, tidy

_LARGEST: Final = float(np.finfo(np.float16).max)
# A sum of 128 squares passes 65504 where the root of their mean passes 23, and a guard against division by
# zero (1e-12) is itself zero in half precision: norms, and what stands between one and the division by it,
# stay in single precision.
_NORMS: Final = ("ReduceL2", "LpNormalization", "ReduceSumSquare", "Pow", "Sqrt")
_GUARDS: Final = ("Clip", "Max", "Expand", "Add")


def to_half(model: Any) -> Any:
    """The fp32 graph (as graph.read gives it) computed in float16; norms keep float32, and so do the I/O.

    Raises ModelInvalid for weights beyond ±65504, EngineUnavailable without the extra `build`.
    """
    onnx = onnx_package()
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            top = float(np.abs(onnx.numpy_helper.to_array(tensor)).max(initial=0.0))
            if not top <= _LARGEST:
                raise ModelInvalid(
                    f"expected weights within ±{_LARGEST:.0f} for fp16, got {top:.3g}: {tensor.name}"
                )
    source = onnx.ModelProto()
    source.CopyFrom(model)
    name_nodes(source)
    _, float16 = onnxruntime_tools()
    converted = float16.convert_float_to_float16(
        source,
        keep_io_types=True,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *_NORMS],
        node_block_list=_guards(source),
    )
    _sort(converted.graph)
    del converted.opset_import[:]
    converted.opset_import.extend([onnx.helper.make_opsetid("", OPSET)])
    return tidy(converted)


def _sort(graph: Any) -> None:
    """Nodes in an order in which every value is made before it is used: the converter appends its casts."""
    ready = {"", *(port.name for port in graph.input), *(tensor.name for tensor in graph.initializer)}
    left, sorted_nodes = list(graph.node), []
    while left:
        able = [node for node in left if ready.issuperset(node.input)]
        if not able:
            raise ModelInvalid(f"{len(left)} nodes wait for a value that nothing makes: {left[0].input}")
        ready.update(name for node in able for name in node.output)
        sorted_nodes += able
        left = [node for node in left if not ready.issuperset(node.output)]
    del graph.node[:]
    graph.node.extend(sorted_nodes)


def _guards(model: Any) -> list[str]:
    """Names of the nodes between a norm and the division by it."""
    made = {name: node for node in model.graph.node for name in node.output}
    found: list[str] = []
    for node in model.graph.node:
        before = made.get(node.input[0]) if node.input else None
        if (
            before is not None
            and node.op_type in _GUARDS
            and (before.op_type in _NORMS or before.name in found)
        ):
            found.append(node.name)
    return found
