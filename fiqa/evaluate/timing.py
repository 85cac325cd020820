"""What scores cost: milliseconds a face and parameters of networks, and FaceQAN's time against k."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
import torch

from ...stream.types import F32, U8
from ..methods import Preprocessing
from ..recognisers import load_recogniser
from ..teachers import FaceQAN, faceqan_settings
from .columns import Column, Progress

COPIES = (2, 5, 10, 50, 100)
"""k of the time table in Babnik et al., ICPR 2022."""
BATCH = 8
REPEATS = 9


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """parameters: of the graph. single_ms, batch_ms: median time of one face alone and of one among eight."""

    parameters: int
    single_ms: float
    batch_ms: float


@dataclass(frozen=True, slots=True)
class Runtime:
    """machine: where it was measured. networks: per method. faceqan_s: seconds an image per k."""

    machine: str
    networks: dict[str, NetworkCost]
    faceqan_s: dict[int, float]


def network_cost(path: Path, column: Column, chips: U8, eyes_px: F32) -> NetworkCost:
    """chips (8, 112, 112, 3), eyes_px (8,)."""
    single = _median_ms(lambda: column.compute(chips[:1], eyes_px[:1]))
    together = _median_ms(lambda: column.compute(chips, eyes_px))
    return NetworkCost(parameters(path), single, together / len(chips))


def parameters(path: Path) -> int:
    """Numbers that an ONNX graph holds as floats."""
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    weights = onnx.load(path, load_external_data=False).graph.initializer
    return sum(prod(weight.dims) for weight in weights if weight.data_type in floats)


def faceqan_seconds(
    path: Path,
    preprocessing: Preprocessing | None,
    chip: U8,
    copies: Sequence[int] = COPIES,
    tick: Progress = lambda done, total: None,
) -> dict[int, float]:
    """Seconds of one image (112, 112, 3) per k, once each after a first call; tick: (copies done, in all)."""
    recogniser = load_recogniser(path, preprocessing)
    image = np.ascontiguousarray(chip[None])
    FaceQAN(recogniser, faceqan_settings(0, min(copies))).label(image, ["warm"])
    seconds = {}
    for k in copies:
        teacher = FaceQAN(recogniser, faceqan_settings(0, k))
        start = time.perf_counter()
        teacher.label(image, ["timed"])
        seconds[k] = time.perf_counter() - start
        tick(sum(seconds), sum(copies))
    return seconds


def machine() -> str:
    """Processor and threads."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {torch.get_num_threads()} threads"


def _median_ms(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)
