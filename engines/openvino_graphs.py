"""Rewriting of OpenVINO graphs into equal ones that the CPU's kernels compute faster.

Two things that small detectors do and wide vector units do badly: heads with one to twenty output channels
each, and a first layer over three channels. Values stay those of the graph as it was, up to the order of
summation (the tests hold it); graphs without such layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from openvino import opset13 as ops

_LANES = 16
"""Output channels that a kernel computes at once: float32 values in 512 bits, columns of an AMX tile."""
_GROUP = 4
"""Pixels of a row that the first layer takes together. On YuNet 8 were slower and 2 no faster; on CenterFace,
whose first layer has two vectors of outputs already, 4 were slower, too."""


def join_heads(graph: Any) -> None:
    """Convolutions that read one tensor in the same way become one, with a split behind it; depthwise ones
    behind all parts of the split, too. Only where that leaves fewer lanes idle."""
    found = list(_heads(graph))
    for heads in found:
        sizes = [len(head.weights) for head in heads]
        split = _join(heads[0].node.input_value(0), heads, depthwise=False)
        while (behind := _depthwise_behind(split, sizes)) is not None:
            split = _join(split.input_value(0), behind, depthwise=True)
    if found:
        graph.validate_nodes_and_infer_types()


def fold_stem(graph: Any) -> None:
    """The first convolution of stride 2 over the three channels of NHWC pixels as one over groups of pixels.

    Pixels of a row lie side by side in memory, so that (h, w, 3) is (h, w/4, 12) at no cost, and a layer over
    12 channels that gives two places of the output at once fills kernels that one over 3 with a single vector
    of outputs leaves idle. Faster in bfloat16 only. The width must be known and divisible by the group.
    """
    found = _stem(graph)
    if found is None:
        return
    layer, activation, pixels = found
    out = len(layer.weights)
    half = _GROUP // 2
    weights = _grouped(layer.weights)
    strides, begin, end, _ = _geometry(layer.node)
    x = ops.reshape(pixels, _ints([0, 0, -1, 3 * _GROUP]), True)
    x = ops.transpose(x, _ints([0, 3, 1, 2]))
    y = ops.convolution(x, ops.constant(weights), [strides[0], 1], [begin[0], 1], [end[0], 0], [1, 1])
    y = ops.relu(ops.add(y, ops.constant(np.tile(layer.bias, half).reshape(1, -1, 1, 1))))
    y = ops.reshape(ops.transpose(y, _ints([0, 2, 3, 1])), _ints([0, 0, -1, out]), True)
    _replace(activation, ops.transpose(y, _ints([0, 3, 1, 2])).output(0))
    graph.validate_nodes_and_infer_types()


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution. weights: (out, in, h, w), for a depthwise one (channels, 1, h, w); float32.
    bias: (out,). last: the node whose output the rest of the graph reads (the addition of the bias)."""

    node: Any
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    last: Any


def _layer(node: Any, *, depthwise: bool) -> _Layer | None:
    """None for another kind of node, and where weights or bias are no float32 constants."""
    kind = node.get_type_name()
    if kind not in ("Convolution", "GroupConvolution") or node.get_attributes()["auto_pad"] != "explicit":
        return None
    weights = _constant(node.input_value(1))
    if weights is None:
        return None
    if depthwise:
        one_a_group = weights.shape[:2] == (1, 1) if kind == "Convolution" else weights.shape[1:3] == (1, 1)
        if not one_a_group:
            return None
        weights = weights if kind == "Convolution" else weights[:, 0]
    elif kind == "GroupConvolution":
        return None
    readers = list(node.output(0).get_target_inputs())
    add = readers[0].get_node() if len(readers) == 1 else None
    if add is None or add.get_type_name() != "Add":
        return None
    bias = _constant(add.input_value(1 - readers[0].get_index()))
    if bias is None or bias.shape != (1, len(weights), 1, 1):
        return None
    return _Layer(node, weights, bias.ravel(), add)


def _constant(output: Any) -> npt.NDArray[np.float32] | None:
    node = output.get_node()
    if node.get_type_name() != "Constant" or node.get_element_type().to_dtype() != np.float32:
        return None
    return np.asarray(node.data)


def _heads(graph: Any) -> Iterator[list[_Layer]]:
    """Layers that read one tensor with kernels of one shape, where joining them saves lanes."""
    groups: dict[tuple[Any, ...], list[_Layer]] = {}
    for node in graph.get_ordered_ops():
        layer = _layer(node, depthwise=False)
        if layer is not None:
            read = node.input_value(0)
            key = (read.get_node().get_name(), read.get_index(), _geometry(node), layer.weights.shape[1:])
            groups.setdefault(key, []).append(layer)
    for layers in groups.values():
        sizes = [len(layer.weights) for layer in layers]
        if len(layers) > 1 and _lanes(sum(sizes)) < sum(map(_lanes, sizes)):
            yield layers


def _lanes(channels: int) -> int:
    return -(-channels // _LANES) * _LANES


def _depthwise_behind(split: Any, sizes: Sequence[int]) -> list[_Layer] | None:
    """The depthwise layers that read the split's outputs, one each and all in the same way; else None."""
    found: list[_Layer] = []
    for i, size in enumerate(sizes):
        readers = list(split.output(i).get_target_inputs())
        layer = _layer(readers[0].get_node(), depthwise=True) if len(readers) == 1 else None
        if layer is None or len(layer.weights) != size:
            return None
        found.append(layer)
    alike = {(_geometry(layer.node), layer.weights.shape[1:]) for layer in found}
    return found if len(alike) == 1 else None


def _join(read: Any, layers: Sequence[_Layer], *, depthwise: bool) -> Any:
    """The layers as one that reads `read`; the split that takes their places."""
    weights = np.concatenate([layer.weights for layer in layers])
    bias = np.concatenate([layer.bias for layer in layers]).reshape(1, -1, 1, 1)
    kind = ops.group_convolution if depthwise else ops.convolution
    kernel = ops.constant(weights[:, None] if depthwise else weights)
    joined = ops.add(kind(read, kernel, *map(list, _geometry(layers[0].node))), ops.constant(bias))
    sizes = _ints([len(layer.weights) for layer in layers])
    split = ops.variadic_split(joined, _ints(1), sizes)
    for i, layer in enumerate(layers):
        _replace(layer.last, split.output(i))
    return split


def _stem(graph: Any) -> tuple[_Layer, Any, Any] | None:
    """(layer, its ReLU, the NHWC pixels it reads) where the first convolution is one to fold."""
    node = next((n for n in graph.get_ordered_ops() if n.get_type_name().endswith("Convolution")), None)
    layer = None if node is None else _layer(node, depthwise=False)
    if layer is None or layer.weights.shape[1:] != (3, 3, 3) or len(layer.weights) > _LANES:
        return None
    strides, begin, end, dilations = _geometry(layer.node)
    turned = layer.node.input_value(0).get_node()
    readers = list(layer.last.output(0).get_target_inputs())
    fits = (
        (strides, begin, end, dilations) == ((2, 2), (1, 1), (1, 1), (1, 1))
        and turned.get_type_name() == "Transpose"
        and turned.input_value(1).get_node().data.tolist() == [0, 3, 1, 2]
        and len(readers) == 1
        and readers[0].get_node().get_type_name() == "Relu"
    )
    if not fits:
        return None
    width = turned.input_value(0).get_partial_shape()[2]
    if not width.is_static or width.get_length() % _GROUP:
        return None
    return layer, readers[0].get_node(), turned.input_value(0)


def _grouped(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(out, 3, 3, 3) of stride 2 and padding 1 → (out · half a group, 3 · group, 3, 2) of stride 1 along the
    row: place j of a group's half group of outputs reads pixels 2j − 1 to 2j + 1, of which −1 is the last one
    of the group before."""
    out = len(weights)
    grouped = np.zeros((out * _GROUP // 2, 3 * _GROUP, 3, 2), np.float32)
    for place in range(_GROUP // 2):
        for tap in range(3):
            pixel = 2 * place - 1 + tap
            group, pixel = (0, pixel + _GROUP) if pixel < 0 else (1, pixel)
            rows, columns = slice(place * out, (place + 1) * out), slice(3 * pixel, 3 * pixel + 3)
            grouped[rows, columns, :, group] = weights[..., tap]
    return grouped


def _geometry(node: Any) -> tuple[tuple[int, ...], ...]:
    """(strides, padding before, padding behind, dilations), rows first."""
    said = node.get_attributes()
    return tuple(
        tuple(int(n) for n in said[name]) for name in ("strides", "pads_begin", "pads_end", "dilations")
    )


def _replace(node: Any, output: Any) -> None:
    """Whoever reads the node reads the output instead."""
    for reader in list(node.output(0).get_target_inputs()):
        reader.replace_source_output(output)


def _ints(values: int | list[int]) -> Any:
    return ops.constant(np.array(values, np.int64))
