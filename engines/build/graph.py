"""ONNX graphs in and out: read, brought to one form, checked, written whole or not at all."""

from __future__ import annotations

import errno
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...stream.errors import EngineUnavailable, ModelInvalid, OutputFull, OutputUnwritable
from .. import onnx_wire, signature
from ..signature import Shape

OPSET: Final = 18
"""Of what is made here: kernels of all engines have it (scales a channel need 13 or newer)."""
_STANDARD = {"", "ai.onnx"}


def onnx_package() -> Any:
    """The onnx package; EngineUnavailable by name without the extra."""
    try:
        import onnx
        import onnx.version_converter
    except ImportError as missing:
        raise EngineUnavailable("making graphs needs `pip install 'facesieve[build]'`") from missing
    return onnx


def onnxruntime_tools() -> tuple[Any, Any]:
    """Modules `quantization` and `transformers.float16`; EngineUnavailable without the extra."""
    before = list(sys.path)
    try:
        from onnxruntime import quantization
        from onnxruntime.transformers import float16
    except ImportError as missing:
        raise EngineUnavailable("making graphs needs `pip install 'facesieve[build]'`") from missing
    finally:
        # These put their own folder on the path when they are imported; its modules have everyday names.
        sys.path[:] = before
    return quantization, float16


def read(model: Path, free: Mapping[str, Shape] | None = None) -> Any:
    """The ModelProto of a file, brought to OPSET, constants folded.

    free: other dimensions for inputs (None leaves one open), for graphs exported with a fixed size. Initial
    values that are listed among the inputs (before IR version 4) become constants. Raises ModelInvalid.
    """
    onnx = onnx_package()
    if not model.is_file():
        raise ModelInvalid(f"{model}: no such file")
    onnx_wire.check(model, str(model))
    whole = model.read_bytes()
    if free:
        whole = onnx_wire.with_input_shapes(whole, free)
    try:
        proto = onnx.load_model_from_string(whole)
        onnx.load_external_data_for_model(proto, str(model.resolve().parent))
        _drop_listed_constants(proto)
        version = max((o.version for o in proto.opset_import if o.domain in _STANDARD), default=0)
        if version < OPSET:
            proto = onnx.version_converter.convert_version(proto, OPSET)
        folded = _without_empty_inputs(_folded(onnx, proto))
    except EngineUnavailable:
        raise
    except Exception as damage:  # protobuf, the converter and the runtime have no common base
        raise ModelInvalid(f"{model}: cannot be brought to opset {OPSET}: {_first_line(damage)}") from damage
    for tensor in folded.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and np.isnan(onnx.numpy_helper.to_array(tensor)).any():
            raise ModelInvalid(f"{model}: expected weights that are numbers, got NaN in {tensor.name!r}")
    return folded


def _drop_listed_constants(proto: Any) -> None:
    constants = {tensor.name for tensor in proto.graph.initializer}
    used = {name for node in proto.graph.node for name in node.input}
    inputs = [i for i in proto.graph.input if i.name not in constants and i.name in used]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    proto.ir_version = max(proto.ir_version, 8)


def _folded(onnx: Any, proto: Any) -> Any:
    """With constants computed and batch norms inside convolutions: onnxruntime's basic, standard set."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        folded = onnx.load(str(path))
    del folded.opset_import[:]
    folded.opset_import.extend([onnx.helper.make_opsetid("", OPSET)])
    return folded


def _without_empty_inputs(proto: Any) -> Any:
    """With optional inputs that hold nothing left out. Resize takes scales or sizes; exporters write an empty
    tensor for the other, which a converter to half precision turns into one that is given."""
    empty = {tensor.name for tensor in proto.graph.initializer if 0 in tensor.dims}
    for node in proto.graph.node:
        if node.op_type == "Resize":
            node.input[:] = ["" if name in empty else name for name in node.input]
    return proto


def name_nodes(proto: Any) -> Any:
    """The graph with a name of its own for every node, which the converters need."""
    taken: set[str] = set()
    for i, node in enumerate(proto.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{i}"
        taken.add(node.name)
    return proto


def tidy(proto: Any) -> Any:
    """Without notes, names of local files and stack traces: equal graphs then give equal bytes."""
    graph = proto.graph
    for part in (
        proto,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        if "metadata_props" in part.DESCRIPTOR.fields_by_name:
            del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    graph.name = "facesieve"
    proto.producer_name, proto.producer_version, proto.domain = "facesieve", "", ""
    return proto


def check(proto: Any, label: str, like: Any) -> None:
    """Raise ModelInvalid unless the graph is whole, standard, of dynamic batch, and has like's interface."""
    onnx = onnx_package()
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as bad:  # the checker's and the shape inference's errors have no common base
        raise ModelInvalid(f"{label}: not a sound graph: {_first_line(bad)}") from bad
    foreign = sorted({f"{n.domain}::{n.op_type}" for n in proto.graph.node if n.domain not in _STANDARD})
    if foreign:
        raise ModelInvalid(f"{label}: expected standard operators only, got {', '.join(foreign)}")
    if any(tensor.external_data for tensor in proto.graph.initializer):
        raise ModelInvalid(f"{label}: expected all weights inside the file")
    if (got := interface(proto)) != (wanted := interface(like)):
        raise ModelInvalid(f"{label}: expected the inputs and outputs {wanted}, got {got}")
    fixed = [i.name for i in proto.graph.input if i.type.tensor_type.shape.dim[0].HasField("dim_value")]
    if fixed:
        raise ModelInvalid(f"{label}: expected a dynamic batch, got a fixed one for {', '.join(fixed)}")
    if proto.metadata_props or proto.doc_string:
        raise ModelInvalid(f"{label}: expected no notes in the graph, got metadata or a doc string")


def interface(proto: Any) -> tuple[tuple[str, int], ...]:
    """(name, element type) of the inputs and outputs."""
    ports = (*proto.graph.input, *proto.graph.output)
    return tuple((port.name, port.type.tensor_type.elem_type) for port in ports)


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A folder beside `out` to prepare files in, gone afterwards; renaming from it is atomic.

    Raises OutputUnwritable or OutputFull where the folder of `out` does not take what is written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            yield Path(folder)
    except OSError as cause:
        kind = OutputFull if cause.errno == errno.ENOSPC else OutputUnwritable
        raise kind(f"{out}: cannot be written: {cause.strerror}") from cause


def sole_input(model: Path) -> str:
    """Name of the one input of a file; ModelInvalid if there are several, or no network."""
    if not model.is_file():
        raise ModelInvalid(f"{model}: no such file")
    onnx_wire.check(model, str(model))
    return signature.sole_input(onnx_wire.input_names(model.read_bytes()), str(model))


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
