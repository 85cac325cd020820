"""A student's checkpoint as the ONNX network that the pipeline runs.

Input `chips` (n, 112, 112, 3) uint8 RGB; the change of layout and (x/255 − .5)/.5 are nodes of the graph.
Outputs `embedding` (n, d) float32, d = 512 in the published ones, as the backbone gives it (of unit length
from MobileFaceNet only) and `quality` (n,) float32, raw. The batch is dynamic; operators are the standard
ones of opset 18.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ..stream.errors import EngineUnavailable, ModelInvalid
from ..stream.types import CHIP_PX, U8
from .checkpoints import load_weights, read_state_dict, unwritten
from .networks import Architecture, Student, build_student, embedding_size_of

OPSET: Final = 18
MAX_OPSET: Final = 20
INPUT, EMBEDDING, QUALITY = "chips", "embedding", "quality"
TOLERANCE: Final = 1e-4
CHECKED_BATCHES: Final = (1, 5)


class ChipsIn(nn.Module):
    """A student behind uint8 chips in NHWC: chips (n, 112, 112, 3) → embedding (n, d), quality (n,)."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, chips: Tensor) -> tuple[Tensor, Tensor]:
        # Converted before it is turned: TensorRT's published list has no transposition of uint8.
        x = chips.float().permute(0, 3, 1, 2) / 255.0
        embedding, quality = self.student((x - 0.5) / 0.5)
        return embedding, quality


@dataclass(frozen=True, slots=True)
class Export:
    """What was written. difference: the largest of torch and onnxruntime, as `verify` measures it."""

    path: Path
    parameters: int
    difference: float


def import_checkpoint(checkpoint: Path, architecture: Architecture, out: Path) -> Export:
    """Reads a published checkpoint, writes it as ONNX to `out` and checks that onnxruntime agrees with torch.

    Raises ModelInvalid for a checkpoint of another architecture or a graph that disagrees by more than 1e-4,
    WeightsUnavailable, WeightsCorrupt, OutputUnwritable, and EngineUnavailable without the extra `fiqa`.
    """
    state = read_state_dict(checkpoint)
    student = build_student(architecture, embedding_size_of(state))
    load_weights(student, state, checkpoint)
    return export_student(student, out)


def export_student(student: Student, out: Path) -> Export:
    """As import_checkpoint, for a network in memory. The file appears under its name only after the check."""
    network = ChipsIn(student.eval())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.", suffix=".onnx", dir=out.parent)
        os.close(handle)
    except OSError as cause:
        raise unwritten(out, cause) from cause
    temporary = Path(name)
    try:
        _write_graph(network, temporary)
        model = onnx.load(str(temporary))
        drop_notes(model)
        onnx.save(model, str(temporary))
        _check_contract(temporary, out)
        difference = verify(network, temporary, out)
        temporary.chmod(0o644)
        temporary.replace(out)
    except OSError as cause:
        raise unwritten(out, cause) from cause
    finally:
        temporary.unlink(missing_ok=True)
    return Export(out, sum(p.numel() for p in student.parameters()), difference)


def _write_graph(network: nn.Module, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it and would fail deep inside
    except ImportError as missing:
        raise EngineUnavailable("exporting to ONNX needs `pip install 'facesieve[fiqa]'`") from missing
    example = torch.zeros((2, CHIP_PX, CHIP_PX, 3), dtype=torch.uint8)
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own deprecations
            torch.onnx.export(
                network,
                (example,),
                str(path),
                input_names=[INPUT],
                output_names=[EMBEDDING, QUALITY],
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                dynamic_shapes={"chips": {0: torch.export.Dim("n")}},
                verbose=False,
            )
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def drop_notes(model: onnx.ModelProto) -> None:
    """Drops the exporter's notes (stack traces with local paths): equal weights then give equal bytes."""
    graph = model.graph
    noted = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in noted:
        del part.metadata_props[:]
        part.doc_string = ""
    model.producer_name, model.producer_version = "facesieve", ""


def _check_contract(path: Path, out: Path) -> None:
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    domains = {entry.domain: entry.version for entry in model.opset_import}
    standard = domains.keys() <= {"", "ai.onnx"} and max(domains.values()) <= MAX_OPSET
    names = [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    if not standard or names != ([INPUT], [EMBEDDING, QUALITY]):
        raise ModelInvalid(
            f"expected standard operators of opset ≤ {MAX_OPSET}, input {INPUT}, outputs {EMBEDDING} and "
            f"{QUALITY}, got {domains}, {names}: {out}"
        )


@torch.no_grad()
def verify(network: nn.Module, path: Path, out: Path) -> float:
    """Runs both on seeded noise and on flat and graded chips, at two batch sizes; the largest difference.

    Differences are relative to the largest magnitude of an output where that is above 1.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    chips, worst = _probe_chips(), 0.0
    for batch in CHECKED_BATCHES:
        expected = [value.numpy() for value in network(torch.from_numpy(chips[:batch]))]
        got = session.run([EMBEDDING, QUALITY], {INPUT: chips[:batch]})
        for name, want, have in zip((EMBEDDING, QUALITY), expected, got, strict=True):
            if want.shape != have.shape or not np.isfinite(want).all():
                raise ModelInvalid(
                    f"expected finite {name} {want.shape}, got {have.shape}, "
                    f"finite: {np.isfinite(want).all()}: {out}"
                )
            worst = max(worst, float(np.abs(want - have).max() / max(1.0, np.abs(want).max())))
    if worst > TOLERANCE:
        raise ModelInvalid(f"expected torch and onnxruntime to agree to {TOLERANCE}, got {worst:.2g}: {out}")
    return worst


def _probe_chips() -> U8:
    generator = np.random.default_rng(0)
    chips = generator.integers(0, 256, (max(CHECKED_BATCHES), CHIP_PX, CHIP_PX, 3)).astype(np.uint8)
    chips[1] = 128
    chips[2] = np.linspace(0, 255, CHIP_PX).astype(np.uint8)[:, None, None]
    return chips
