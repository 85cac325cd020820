"""Networks as OpenVINO graphs: read, checked, with the conversion of pixels built in, and known by a hash."""

from __future__ import annotations

import functools
import hashlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor

from ..stream.errors import ModelInvalid
from . import onnx_wire
from .openvino_graphs import join_heads
from .signature import PixelInput, Shape, Signature, sole_input

_LARGEST_TENSOR = 1 << 30
_HEAD_BYTES = 4096
GRAPH_FORM = 4
"""Of what read and openvino_graphs write; a compiled network of another form must not be loaded."""


@functools.cache
def core() -> Any:
    """OpenVINO itself, one for the process."""
    return ov.Core()


def read(model: Path | bytes, label: str, pixels: PixelInput | None) -> Any:
    """The graph, with uint8 pixels as its input if asked for. Raises ModelInvalid, naming the label."""
    if isinstance(model, Path) and not model.is_file():
        raise ModelInvalid(f"{label}: no such file")
    if isinstance(model, bytes) or _is_onnx(model, label):
        onnx_wire.check(model, label)
    try:
        graph = core().read_model(model)
    except RuntimeError as failure:
        raise ModelInvalid(f"{label}: not a network that OpenVINO reads: {reason(failure)}") from failure
    _check_sizes(graph, label)
    return graph if pixels is None else _with_pixels(graph, label, pixels)


def _is_onnx(model: Path, label: str) -> bool:
    """Whether a file is of neither of the other two forms. What is of none of the three must not reach
    OpenVINO: it tries everything else that it knows on it, and TensorFlow's parser complains aloud."""
    try:
        with model.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise ModelInvalid(f"{label}: cannot be read ({error.strerror})") from error
    is_lite = model.suffix == ".tflite" and head[4:8] == b"TFL3"  # OpenVINO asks for both
    return not is_lite and not (head.lstrip().startswith(b"<") and b"<net" in head)


def _check_sizes(graph: Any, label: str) -> None:
    """Refuse a small file that makes a huge tensor, before a kernel tries to fill it."""
    for node in graph.get_ops():
        for output in node.outputs():
            shape = output.get_partial_shape()
            if shape.rank.is_dynamic:
                continue
            if (size := prod(d.get_length() for d in shape if d.is_static)) > _LARGEST_TENSOR:
                name = node.get_friendly_name()
                raise ModelInvalid(f"{label}: {name!r} makes a tensor of {size} values; refused")


def _with_pixels(graph: Any, label: str, pixels: PixelInput) -> Any:
    name = sole_input([i.get_any_name() for i in graph.inputs], label)
    try:
        graph.reshape({name: ov.PartialShape([-1 if d is None else d for d in pixels.network_shape])})
    except RuntimeError as failure:
        raise ModelInvalid(
            f"{label}: its input cannot have the shape {pixels.network_shape}: {reason(failure)}"
        ) from failure
    prepare = PrePostProcessor(graph)
    image = prepare.input(0)
    image.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    image.preprocess().convert_element_type(ov.Type.f32)
    if any(pixels.mean):
        image.preprocess().mean(list(pixels.mean))
    if any(s != 1.0 for s in pixels.std):
        image.preprocess().scale(list(pixels.std))
    if not any(pixels.mean) and all(s == 1.0 for s in pixels.std):
        image.preprocess().custom(_in_place)
    image.model().set_layout(ov.Layout(pixels.layout))
    built = prepare.build()
    join_heads(built)
    return built


def _in_place(pixels: Any) -> Any:
    """A clamp that changes no pixel. Without a node between them OpenVINO turns the layout before it converts
    to floating point, and the first convolution turns it back; behind one, both turns cancel (a tenth of
    YuNet's time)."""
    return ops.clamp(pixels, 0.0, 255.0).output(0)


def signature(ports: Any) -> Signature:
    """Of the graph's inputs, or of its outputs."""
    found: dict[str, tuple[Shape, np.dtype[Any]]] = {}
    for port in ports:
        shape = tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape())
        found[port.get_any_name()] = (shape, np.dtype(port.get_element_type().to_dtype()))
    return found


def digest(model: Path | bytes) -> str:
    """Of everything that a network that was read is made of: a compiled one is stored under it."""
    if isinstance(model, bytes):
        return hashlib.sha256(model).hexdigest()
    if _is_onnx(model, str(model)):
        return onnx_wire.model_digest(model)
    weights = model.with_suffix(".bin")
    parts = (model, weights) if model.suffix == ".xml" and weights.is_file() else (model,)
    return "".join(hashlib.sha256(part.read_bytes()).hexdigest() for part in parts)


def reason(failure: Exception) -> str:
    """What OpenVINO says, without where in its sources it says so, and without headings."""
    lines = [line.strip() for line in str(failure).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    told = [line for line in said if not line.endswith(":")] or said
    return "; ".join(told[:2]) or str(failure)
