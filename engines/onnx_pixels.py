"""Pixels as graph nodes: an ONNX network that takes uint8 pixels as they are.

TensorRT's ONNX list has UINT8 as the type of network inputs and outputs and of Cast, and of nothing else, so
an input of uint8 is cast to float32 before anything looks at it. Written at protobuf's wire level, as
engines/onnx_wire.py is, because running a model needs no onnx package.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from ..stream.errors import ModelInvalid
from .onnx_wire import VARINT, Buffer, field, fields, info_name, input_names, rewrite, text, varint
from .onnx_wire import with_input_shapes as _with_input_shapes
from .signature import PixelInput, Shape, sole_input

REVISION = 1
"""Of what `prepared` makes of a graph: plans compiled from an older one are not taken for a newer."""

# TensorProto.DataType and AttributeProto.AttributeType of onnx.proto.
_FLOAT, _UINT8 = 1, 2
_INT_ATTRIBUTE, _TENSOR_ATTRIBUTE, _INTS_ATTRIBUTE = 2, 4, 7


def prepared(model: bytes, pixels: PixelInput | None, label: str) -> bytes:
    """The graph that TensorRT compiles: behind the pixels if they are given, else with uint8 cast at once."""
    return with_float_pixels(model, label) if pixels is None else with_pixel_input(model, pixels, label)


def with_pixel_input(model: bytes, pixels: PixelInput, label: str) -> bytes:
    """The network behind uint8 pixels: its one input becomes pixels.shape, and the graph normalises.

    The nodes compute in float32 what PixelInput.normalise does, in its order: the same values bit by bit.
    Raises ModelInvalid for a network of several inputs or one whose input is not float32.
    """
    name = sole_input(input_names(model), label)
    if (kind := _input_types(model)[name]) != _FLOAT:
        raise ModelInvalid(f"{label}: expected input {name!r} as float32, got ONNX type {kind}")
    opened = _with_input_shapes(model, {name: pixels.network_shape})
    return _behind(opened, {name: _normalising(name, pixels)}, pixels.shape, label)


def with_float_pixels(model: bytes, label: str) -> bytes:
    """The network with each uint8 input cast to float32 first; unchanged if it has none.

    Whatever moved the bytes before (Transpose, Shape, Slice) then moves floats, and a Cast to float32 behind
    it does nothing: the same values. Arithmetic on uint8 would change, but TensorRT has none.
    """
    kinds = _input_types(model)
    prefixes = {
        name: [_node("Cast", [name], f"{name}.float", [_int_attribute("to", _FLOAT)])]
        for name in input_names(model)
        if kinds[name] == _UINT8
    }
    return _behind(model, prefixes, None, label) if prefixes else model


def _normalising(name: str, pixels: PixelInput) -> list[bytes]:
    """Cast, subtract the means, divide by the deviations, change the layout into `<name>.float`."""
    steps: list[tuple[str, list[bytes], tuple[float, ...] | None]] = [
        ("Cast", [_int_attribute("to", _FLOAT)], None)
    ]
    if any(pixels.mean):
        steps.append(("Sub", [], pixels.mean))
    if any(s != 1.0 for s in pixels.std):
        steps.append(("Div", [], pixels.std))
    if pixels.layout == "NCHW":
        steps.append(("Transpose", [_ints_attribute("perm", (0, 3, 1, 2))], None))
    nodes, last = [], name
    for i, (operator, attributes, constant) in enumerate(steps):
        inputs, made = [last], f"{name}.float" if i == len(steps) - 1 else f"{name}.pixels{i}"
        if constant is not None:
            nodes.append(_constant(f"{name}.constant{i}", constant))
            inputs.append(f"{name}.constant{i}")
        nodes.append(_node(operator, inputs, made, attributes))
        last = made
    return nodes


def _behind(model: bytes, prefixes: Mapping[str, Iterable[bytes]], shape: Shape | None, label: str) -> bytes:
    """The model with the prefix nodes first and every use of a prefixed input renamed to `<name>.float`."""

    def graph(message: Buffer) -> bytes:
        nodes = b"".join(field(1, node) for prefix in prefixes.values() for node in prefix)
        # Types that were noted for the tensors between may be wrong now; every runtime infers them again.
        return nodes + rewrite(message, {1: renamed, 11: declared, 13: lambda _: None})

    def renamed(node: Buffer) -> bytes:
        if any(_holds_graph(value) for number, _, value in fields(node) if number == 5):
            raise ModelInvalid(f"{label}: a node holds a graph of its own (If, Loop, Scan): unsupported here")
        return rewrite(node, {1: lambda name: _float_name(name, prefixes)})

    def declared(info: Buffer) -> bytes:
        if shape is None or info_name(info) not in prefixes:
            return bytes(info)
        return field(1, info_name(info).encode()) + field(2, field(1, _tensor_type(shape)))

    return rewrite(model, {7: graph})


def _holds_graph(attribute: int | Buffer) -> bool:
    return not isinstance(attribute, int) and any(number in (6, 11) for number, _, _ in fields(attribute))


def _float_name(name: Buffer, prefixes: Mapping[str, Iterable[bytes]]) -> bytes:
    return f"{text(name)}.float".encode() if text(name) in prefixes else bytes(name)


def _input_types(model: bytes) -> dict[str, int]:
    """Input → TensorProto.DataType, 0 where none is declared."""
    graphs = [value for number, _, value in fields(model) if number == 7 and not isinstance(value, int)]
    infos = [v for g in graphs for n, _, v in fields(g) if n == 11 and not isinstance(v, int)]
    return {info_name(info): _number(info, (2, 1, 1)) for info in infos}


def _number(message: Buffer, path: tuple[int, ...]) -> int:
    """The number at a path of field numbers; 0 if there is none."""
    for number, _, value in fields(message):
        if number == path[0]:
            if isinstance(value, int):
                return value
            return _number(value, path[1:])
    return 0


def _tensor_type(shape: Shape) -> bytes:
    dims = b"".join(
        field(1, field(2, f"pixels{i}".encode()) if size is None else field(1, varint(size), VARINT))
        for i, size in enumerate(shape)
    )
    return field(1, varint(_UINT8), VARINT) + field(2, dims)


def _node(operator: str, inputs: Iterable[str], output: str, attributes: Iterable[bytes] = ()) -> bytes:
    named = b"".join(field(1, name.encode()) for name in inputs) + field(2, output.encode())
    return named + field(4, operator.encode()) + b"".join(field(5, attribute) for attribute in attributes)


def _int_attribute(name: str, value: int) -> bytes:
    head = field(1, name.encode()) + field(3, varint(value), VARINT)
    return head + field(20, varint(_INT_ATTRIBUTE), VARINT)


def _ints_attribute(name: str, values: Iterable[int]) -> bytes:
    numbers = b"".join(field(8, varint(value), VARINT) for value in values)
    return field(1, name.encode()) + numbers + field(20, varint(_INTS_ATTRIBUTE), VARINT)


def _constant(name: str, values: tuple[float, ...]) -> bytes:
    """A Constant node of float32 (len(values),), which broadcasts over the channels of NHWC."""
    kind = field(1, varint(len(values)), VARINT) + field(2, varint(_FLOAT), VARINT)
    tensor = kind + field(9, struct.pack(f"<{len(values)}f", *values))
    attribute = field(1, b"value") + field(5, tensor) + field(20, varint(_TENSOR_ATTRIBUTE), VARINT)
    return _node("Constant", [], name, [attribute])
