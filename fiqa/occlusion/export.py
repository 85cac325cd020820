"""Small networks on pictures as one ONNX file: weights stored in half precision, computed in float32."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import nn

from ..export import drop_notes
from ..student.export import halve_weights

OPSET = 18


def export_head(head: nn.Module, size: tuple[int, int], name: str, output: str, path: Path) -> None:
    """Writes input `name` (n, *size, 3) uint8 RGB and `output`, float32; n is free."""
    head = head.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    program = torch.onnx.export(
        head,
        (torch.zeros(2, *size, 3, dtype=torch.uint8),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n", min=1, max=1 << 16)},),
        input_names=[name],
        output_names=[output],
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
