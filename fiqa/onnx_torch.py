"""An ONNX recogniser as a torch module, so that gradients reach its input.

Covers what convolutional embedders are made of; another operator is refused by name when the file is read,
never approximated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from ..stream.errors import ModelInvalid, WeightsUnavailable

Attributes = Mapping[str, Any]
EMBEDDING = "embedding"
Operator = Callable[[Sequence[Any], Attributes], Tensor]


class OnnxNetwork(nn.Module):
    """x: the graph's input → its only output, or the one named `embedding`.

    A graph that was exported for a fixed batch takes any batch: a Reshape to that batch follows the input's.
    Integer inputs may be given as floating point of the same values, so that they can carry a gradient.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.graph = _read(path)
        weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in self.graph.initializer}
        inputs = [value for value in self.graph.input if value.name not in weights]
        outputs = [value.name for value in self.graph.output]
        output = EMBEDDING if EMBEDDING in outputs else outputs[0]
        if len(inputs) != 1 or (output != EMBEDDING and len(outputs) != 1):
            raise ModelInvalid(
                f"expected one input and one output (or one named {EMBEDDING}), "
                f"got {[i.name for i in inputs]} and {outputs}: {path}"
            )
        unknown = sorted({n.op_type for n in self.graph.node} - OPERATORS.keys() - {"Constant"})
        if unknown:
            raise ModelInvalid(
                f"expected operators of a convolutional embedder, got {', '.join(unknown)}: {path}"
            )
        shape = inputs[0].type.tensor_type.shape.dim
        self.input_name, self.output_name = inputs[0].name, output
        self.input_type = int(inputs[0].type.tensor_type.elem_type)
        self.input_shape = tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in shape)
        self._names = list(weights)
        for index, value in enumerate(weights.values()):
            self.register_buffer(f"weight_{index}", value)
        self._attributes = [
            {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} for node in self.graph.node
        ]

    def forward(self, x: Tensor) -> Tensor:
        values: dict[str, Tensor | None] = {"": None, self.input_name: x}
        values |= {name: self.get_buffer(f"weight_{index}") for index, name in enumerate(self._names)}
        for node, attributes in zip(self.graph.node, self._attributes, strict=True):
            if node.op_type == "Constant":
                values[node.output[0]] = _constant(attributes).to(x.device)
                continue
            taken = [values[name] for name in node.input]
            if node.op_type == "Reshape":
                taken[1] = self._follow_batch(taken[1], len(x))
            values[node.output[0]] = OPERATORS[node.op_type](taken, attributes)
        result = values[self.output_name]
        if result is None:
            raise ModelInvalid(f"the output {self.output_name} was never computed")
        return result

    def _follow_batch(self, target: Tensor | None, batch: int) -> Tensor:
        declared = self.input_shape[0]
        shape = torch.as_tensor(target).clone()
        if declared is not None and declared != batch and shape[0] == declared:
            shape[0] = batch
        return shape


def _read(path: Path) -> onnx.GraphProto:
    if not path.is_file():
        raise WeightsUnavailable(f"expected an ONNX file, found none: {path}")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as bad:  # protobuf and the checker have no common base
        reason = str(bad).strip().partition("\n")[0]
        raise ModelInvalid(f"expected an ONNX network: {path}: {reason}") from bad
    return model.graph


def _constant(attributes: Attributes) -> Tensor:
    (value,) = attributes.values()
    if isinstance(value, onnx.TensorProto):
        return torch.from_numpy(numpy_helper.to_array(value).copy())
    return torch.from_numpy(np.asarray(value))


def _ints(value: Tensor | Sequence[int] | None) -> list[int]:
    return [int(v) for v in (value.tolist() if isinstance(value, Tensor) else value or [])]


def _pad2d(x: Tensor, attributes: Attributes, value: float = 0.0) -> Tensor:
    """Pads as `pads` says (top, left, bottom, right); `auto_pad` other than NOTSET is refused."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelInvalid(f"expected explicit pads, got auto_pad {attributes['auto_pad']!r}")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return F.pad(x, (left, right, top, bottom), value=value) if any((top, left, bottom, right)) else x


def _conv(i: Sequence[Any], a: Attributes) -> Tensor:
    dilation = tuple(a.get("dilations", (1, 1)))
    return F.conv2d(
        _pad2d(i[0], a), i[1], _at(i, 2), tuple(a.get("strides", (1, 1))), 0, dilation, int(a.get("group", 1))
    )


def _at(inputs: Sequence[Any], index: int) -> Any:
    """An optional input: None where it is absent."""
    return inputs[index] if index < len(inputs) else None


def _batch_norm(i: Sequence[Any], a: Attributes) -> Tensor:
    return F.batch_norm(i[0], i[3], i[4], i[1], i[2], training=False, eps=a.get("epsilon", 1e-5))


def _clip(i: Sequence[Any], a: Attributes) -> Tensor:
    low, high = (a.get(name, _at(i, index)) for index, name in ((1, "min"), (2, "max")))
    return torch.clamp(i[0], low, high)


def _gemm(i: Sequence[Any], a: Attributes) -> Tensor:
    left = i[0].T if a.get("transA", 0) else i[0]
    right = i[1].T if a.get("transB", 0) else i[1]
    product: Tensor = a.get("alpha", 1.0) * (left @ right)
    return product if _at(i, 2) is None else product + a.get("beta", 1.0) * i[2]


def _reshape(i: Sequence[Any], a: Attributes) -> Tensor:
    sizes = [
        int(i[0].shape[axis]) if size == 0 and not a.get("allowzero", 0) else size
        for axis, size in enumerate(_ints(i[1]))
    ]
    shaped: Tensor = i[0].reshape(sizes)
    return shaped


def _flatten(i: Sequence[Any], a: Attributes) -> Tensor:
    axis = a.get("axis", 1) % (i[0].ndim + 1)
    flat: Tensor = i[0].reshape(int(np.prod(i[0].shape[:axis], dtype=int)), -1)
    return flat


def _reduce(reduce: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def apply(i: Sequence[Any], a: Attributes) -> Tensor:
        axes = _ints(a.get("axes", _at(i, 1))) or list(range(i[0].ndim))
        return reduce(i[0], axes, bool(a.get("keepdims", 1)))

    return apply


def _slice(i: Sequence[Any], _: Attributes) -> Tensor:
    x: Tensor = i[0]
    starts, ends = _ints(i[1]), _ints(i[2])
    axes, steps = _ints(_at(i, 3)) or list(range(len(starts))), _ints(_at(i, 4)) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        rows = range(*slice(start, end, step).indices(x.shape[axis]))
        x = x.index_select(axis, torch.tensor(list(rows), dtype=torch.long, device=x.device))
    return x


def _gather(i: Sequence[Any], a: Attributes) -> Tensor:
    axis = a.get("axis", 0)
    x, index = i[0], i[1].long()
    index = torch.where(index < 0, index + x.shape[axis], index)
    picked: Tensor = x.index_select(axis, index.reshape(-1))
    return picked.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _squeeze(i: Sequence[Any], a: Attributes) -> Tensor:
    axes = _ints(a.get("axes", _at(i, 1)))
    return torch.squeeze(i[0], tuple(axes)) if axes else torch.squeeze(i[0])


def _unsqueeze(i: Sequence[Any], a: Attributes) -> Tensor:
    x: Tensor = i[0]
    axes = _ints(a.get("axes", _at(i, 1)))
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _cast(i: Sequence[Any], a: Attributes) -> Tensor:
    x: Tensor = i[0]
    wanted = torch.from_numpy(np.zeros(0, onnx.helper.tensor_dtype_to_np_dtype(a["to"]))).dtype
    # Between floats nothing is cast: the graph may run in float64.
    return x if wanted.is_floating_point and x.is_floating_point() else x.to(wanted)


def _pad(i: Sequence[Any], a: Attributes) -> Tensor:
    """With zeros or another constant, on every axis."""
    if a.get("mode", b"constant") != b"constant" or _at(i, 3) is not None:
        raise ModelInvalid("expected a Pad with a constant, on every axis in turn")
    amounts, value = _ints(i[1]), 0.0 if _at(i, 2) is None else float(i[2])
    ends = zip(amounts[: i[0].ndim], amounts[i[0].ndim :], strict=True)
    return F.pad(i[0], [amount for pair in reversed(list(ends)) for amount in pair], value=value)


def _max_pool(i: Sequence[Any], a: Attributes) -> Tensor:
    padded = _pad2d(i[0], a, float("-inf"))
    return F.max_pool2d(padded, tuple(a["kernel_shape"]), tuple(a.get("strides", (1, 1))))


def _average_pool(i: Sequence[Any], a: Attributes) -> Tensor:
    if any(a.get("pads", ())) and not a.get("count_include_pad", 0):
        raise ModelInvalid("expected an AveragePool without padding, or one that counts it")
    return F.avg_pool2d(_pad2d(i[0], a), tuple(a["kernel_shape"]), tuple(a.get("strides", (1, 1))))


def _prelu(i: Sequence[Any], _: Attributes) -> Tensor:
    return torch.where(i[0] >= 0, i[0], i[0] * i[1])


OPERATORS: Final[Mapping[str, Operator]] = {
    "Abs": lambda i, _: torch.abs(i[0]),
    "Add": lambda i, _: i[0] + i[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda i, a: torch.cat(list(i), dim=a["axis"]),
    "Conv": _conv,
    "Div": lambda i, _: i[0] / i[1] if i[0].is_floating_point() else i[0] // i[1],
    "Dropout": lambda i, _: i[0],
    "Erf": lambda i, _: torch.erf(i[0]),
    "Exp": lambda i, _: torch.exp(i[0]),
    "Expand": lambda i, _: i[0] + torch.zeros(_ints(i[1]), dtype=i[0].dtype, device=i[0].device),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda i, a: F.gelu(i[0], approximate=a.get("approximate", b"none").decode()),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda i, _: i[0].mean(dim=(2, 3), keepdim=True),
    "Identity": lambda i, _: i[0],
    "LeakyRelu": lambda i, a: F.leaky_relu(i[0], a.get("alpha", 0.01)),
    "LpNormalization": lambda i, a: F.normalize(i[0], p=a.get("p", 2), dim=a.get("axis", -1)),
    "MatMul": lambda i, _: i[0] @ i[1],
    "MaxPool": _max_pool,
    "Mul": lambda i, _: i[0] * i[1],
    "Neg": lambda i, _: -i[0],
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": lambda i, _: i[0] ** i[1],
    "Reciprocal": lambda i, _: torch.reciprocal(i[0]),
    "ReduceL2": _reduce(lambda x, axes, keep: x.norm(p=2, dim=axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(dim=axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(dim=axes, keepdim=keep)),
    "Relu": lambda i, _: torch.relu(i[0]),
    "Reshape": _reshape,
    "Shape": lambda i, a: torch.tensor(i[0].shape[a.get("start", 0) : a.get("end")]),
    "Sigmoid": lambda i, _: torch.sigmoid(i[0]),
    "Slice": _slice,
    "Softmax": lambda i, a: torch.softmax(i[0], dim=a.get("axis", -1)),
    "Sqrt": lambda i, _: torch.sqrt(i[0]),
    "Squeeze": _squeeze,
    "Sub": lambda i, _: i[0] - i[1],
    "Tanh": lambda i, _: torch.tanh(i[0]),
    "Transpose": lambda i, a: i[0].permute(*a.get("perm", range(i[0].ndim)[::-1])),
    "Unsqueeze": _unsqueeze,
}
"""ONNX operators (opset 11 to 20) as torch functions of (inputs, attributes)."""
