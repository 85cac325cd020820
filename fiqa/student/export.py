"""The student as one ONNX file: weights stored in half precision, computed in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from ..export import drop_notes
from .network import Student

OPSET = 18
LARGE = 1024
"""Initialisers of more elements than this are stored as float16; biases and the resampling stay float32."""


def export_student(student: Student, path: Path) -> None:
    """Writes inputs chips (n, 112, 112, 3) uint8 and, if the student looks at it, eye_distance_px (n,)
    float32; outputs quality (n,) and embedding (n, 128) of unit length, float32. n is free."""
    student = student.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    chips = torch.zeros(2, 112, 112, 3, dtype=torch.uint8)
    eyes = torch.full((2,), 30.0)
    batch = torch.export.Dim("n", min=1, max=1 << 16)
    arguments = (chips, eyes) if student.eyes else (chips,)
    shapes = {"chips": {0: batch}, **({"eyes_px": {0: batch}} if student.eyes else {})}
    program = torch.onnx.export(
        student,
        arguments,
        dynamo=True,
        dynamic_shapes=shapes,
        input_names=["chips", *(["eye_distance_px"] if student.eyes else [])],
        output_names=["quality", "embedding"],
        opset_version=OPSET,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = halve_weights(program.model_proto)
    drop_notes(model)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Stores large float32 initialisers as float16 with a Cast to float32 behind each: half the file, the
    same arithmetic. Runtimes fold the casts when they load the graph."""
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size <= LARGE or _is_resampling(values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for position, node in enumerate(casts):
        graph.node.insert(position, node)
    kept = [info for info in graph.value_info if info.name not in {cast.output[0] for cast in casts}]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    return model


def _is_resampling(values: np.ndarray) -> bool:
    """Bilinear weights: their rounding would move pixels."""
    return values.ndim == 2 and 112 in values.shape and bool((values >= 0).all())
