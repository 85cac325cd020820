"""Whether a graph uses only what TensorRT's ONNX parser is published to take (tensorrt_operators.toml).

For the machine that exports or builds a graph, so that what TensorRT would refuse on a GPU is found without
one. Needs the onnx package (`pip install 'facesieve[fiqa]'`); running a plan does not.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..stream.errors import EngineUnavailable, ModelInvalid

_TABLE = Path(__file__).with_name("tensorrt_operators.toml")
# TensorProto.DataType → the table's word.
_TYPES = {1: "FP32", 10: "FP16", 16: "BF16", 6: "INT32", 7: "INT64", 3: "INT8", 2: "UINT8", 9: "BOOL"}
_TYPES |= {
    17: "FP8",
    22: "INT4",
    23: "FP4",
    11: "DOUBLE",
    4: "UINT16",
    5: "INT16",
    12: "UINT32",
    13: "UINT64",
}
# Inputs that hold sizes, axes or indices, or the scales of a quantiser: not of the type that the table means.
_PARAMETERS: Mapping[str, frozenset[int]] = {
    "ConstantOfShape": frozenset({0}),
    "DequantizeLinear": frozenset({1, 2}),
    "Expand": frozenset({1}),
    "Gather": frozenset({1}),
    "GatherElements": frozenset({1}),
    "GatherND": frozenset({1}),
    "Pad": frozenset({1, 3}),
    "Pow": frozenset({1}),
    "QuantizeLinear": frozenset({1, 2}),
    "Reshape": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "ScatterElements": frozenset({1}),
    "ScatterND": frozenset({1}),
    "Slice": frozenset({1, 2, 3, 4}),
    "Split": frozenset({1}),
    "Squeeze": frozenset({1}),
    "Tile": frozenset({1}),
    "TopK": frozenset({1}),
    "Unsqueeze": frozenset({1}),
    "Upsample": frozenset({1}),
    "Where": frozenset({0}),
}
_AXES_CONSTANT = ("Reduce", "Squeeze", "Unsqueeze")
_RESIZE = {
    "mode": ("nearest", "linear"),
    "coordinate_transformation_mode": (
        "half_pixel",
        "pytorch_half_pixel",
        "tf_half_pixel_for_nn",
        "asymmetric",
        "align_corners",
    ),
    "nearest_mode": ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
    "keep_aspect_ratio_policy": ("stretch",),
}


def problems(model: bytes, label: str) -> tuple[str, ...]:
    """What TensorRT would not take of an ONNX model, one clause for each node; () if it takes all of it.

    Looks at operators, types, opset and the published restrictions on operators that networks here use.
    Raises ModelInvalid for what is not an ONNX model, EngineUnavailable without the onnx package.
    """
    try:
        import onnx
    except ImportError as missing:
        raise EngineUnavailable("checking a graph needs `pip install 'facesieve[fiqa]'`") from missing
    try:
        graph_model = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    except Exception as damage:  # protobuf's errors and onnx's have no common base
        raise ModelInvalid(f"{label}: not an ONNX model: {damage}") from damage
    found = list(_opset_problems(graph_model))
    graph = _Graph(graph_model)
    for node in graph_model.graph.node:
        where = f"{node.op_type} {node.name or node.output[0]!r}"
        found += [f"{where}: {problem}" for problem in graph.problems(node)]
    return tuple(found)


@functools.cache
def supported() -> Mapping[str, frozenset[str]]:
    """Operator → the types that it may have."""
    table = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return {name: frozenset(group["types"]) for group in table["operators"] for name in group["names"]}


def _opset_problems(model: Any) -> Iterator[str]:
    allowed = tomllib.loads(_TABLE.read_text(encoding="utf-8"))["opset"]
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            continue
        if not allowed["min"] <= entry.version <= allowed["max"]:
            yield f"opset {entry.version} is outside {allowed['min']} to {allowed['max']}"


class _Graph:
    """Types of all tensors, and the values of constant ones."""

    def __init__(self, model: Any) -> None:
        import onnx

        graph = model.graph
        declared = [*graph.input, *graph.output, *graph.value_info]
        self.types = {info.name: info.type.tensor_type.elem_type for info in declared}
        self.types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and (value := _attribute(node, "value")) is not None:
                self.constants[node.output[0]] = value
                self.types.setdefault(node.output[0], value.data_type)
        self._array = onnx.numpy_helper.to_array

    def problems(self, node: Any) -> Iterator[str]:
        types = supported().get(node.op_type)
        if node.domain not in ("", "ai.onnx") or types is None:
            yield f"the operator {node.domain}{'.' if node.domain else ''}{node.op_type} is not on the list"
            return
        for kind in sorted(self._kinds(node) - types):
            yield f"the type {kind} is not on the list ({', '.join(sorted(types))})"
        yield from self._restrictions(node)

    def _kinds(self, node: Any) -> set[str]:
        parameters = _PARAMETERS.get(node.op_type, frozenset())
        looked_at = [name for i, name in enumerate(node.input) if name and i not in parameters]
        if node.op_type in ("Cast", "Constant"):
            looked_at += node.output
        return {_TYPES.get(self.types.get(name, 0), f"unknown of {name!r}") for name in looked_at}

    def _restrictions(self, node: Any) -> Iterator[str]:
        if node.op_type.startswith(_AXES_CONSTANT) and len(node.input) > 1:
            if node.input[1] and node.input[1] not in self.constants:
                yield "its axes must be constant"
        elif node.op_type == "Resize":
            for name, allowed in _RESIZE.items():
                said = _attribute(node, name)
                if said is not None and said.decode() not in allowed:
                    yield f"{name} {said.decode()!r} is not one of {', '.join(allowed)}"
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = self.constants.get(node.input[2]) if len(node.input) > 2 else None
            if zero is not None and self._array(zero).any():
                yield "its zero point must be 0"
        elif node.op_type in ("AveragePool", "MaxPool", "LpPool"):
            if any(step != 1 for step in _attribute(node, "dilations") or ()):
                yield "its dilations must be 1"
            if len(node.output) > 1:
                yield "its indices cannot be an output"


def _attribute(node: Any, name: str) -> Any:
    import onnx

    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return None
