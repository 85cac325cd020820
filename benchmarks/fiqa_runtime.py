"""Parameters of the quality networks and what a face costs (a part of benchmarks/fiqa_tables.py).

CPU milliseconds of one thread, so that other work on the machine does not count; the least of a few calls.
eDifFIQA's and DifFIQA(R)'s networks have random weights: the time does not depend on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch

from facesieve.fiqa.diffiqa import UNet, load_diffusion
from facesieve.fiqa.evaluate.timing import parameters
from facesieve.fiqa.methods import Architecture
from facesieve.fiqa.networks import build_student
from facesieve.fiqa.recognisers import load_recogniser
from facesieve.fiqa.teachers import DifFIQA, FaceQAN
from facesieve.stream.types import U8

FAMILY: tuple[tuple[str, Architecture, str], ...] = (
    ("eDifFIQA(T)", "ediffiqa-t", ""),
    ("eDifFIQA(S)", "ediffiqa-s", ".36"),
    ("eDifFIQA(M)", "ediffiqa-m", ".63"),
    ("eDifFIQA(L)", "ediffiqa-l", "1.09"),
    ("DifFIQA(R)", "diffiqa-r", "1.24"),
)
"""Name, architecture and the published milliseconds on an RTX 3090."""
MOST_CALLS = 7
ENOUGH_S = 2.0
PAPER, MILLIONS, ALONE, EIGHT = "paper, RTX 3090", "parameters, M", "CPU ms a face, one", "of eight"


def least_ms(call: Callable[[], object]) -> float:
    """CPU milliseconds of the cheapest of a few calls after a first one."""
    call()
    spent: list[float] = []
    while len(spent) < MOST_CALLS and (len(spent) < 2 or sum(spent) < ENOUGH_S):
        began = time.process_time()
        call()
        spent.append(time.process_time() - began)
    return 1e3 * min(spent)


def networks(student: Path, chips: U8) -> dict[str, dict[str, Any]]:
    """The shipped student in both arithmetics, then the published family. chips: (8, 112, 112, 3)."""
    core = openvino.Core()
    rows: dict[str, dict[str, Any]] = {}
    model = core.read_model(student)
    for name, precision in (("facesieve-t, float32", "f32"), ("facesieve-t, bfloat16", "bf16")):
        rows[name] = _cost(core, model, precision, [chips[:1], chips]) | {MILLIONS: parameters(student) / 1e6}
    pixels = (chips.astype(np.float32).transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5
    for name, architecture, published in FAMILY:
        network = build_student(architecture).eval()
        converted = openvino.convert_model(network, example_input=torch.zeros(1, 3, 112, 112))
        count = sum(p.numel() for p in network.parameters()) / 1e6
        rows[f"{name}, float32"] = _cost(core, converted, "f32", [pixels[:1], pixels]) | {
            MILLIONS: count,
            PAPER: published,
        }
    return rows


def _cost(core: Any, model: Any, precision: str, batches: list[Any]) -> dict[str, Any]:
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    alone, eight = (least_ms(lambda b=batch: request.infer([b])) / len(batch) for batch in batches)
    return {ALONE: alone, EIGHT: eight}


def teachers(recogniser: Path, unet: Path, chips: U8) -> dict[str, dict[str, Any]]:
    """FaceQAN and DifFIQA with the papers' settings, in torch; DifFIQA with our UNet, if it is there."""
    judge = load_recogniser(recogniser)
    faceqan = FaceQAN(judge)
    face = np.ascontiguousarray(chips[:1])
    ours = sum(p.numel() for p in judge.parameters()) / 1e6
    rows: dict[str, dict[str, Any]] = {
        "FaceQAN, k=10, l=5, M = foamliu": {
            MILLIONS: ours,
            ALONE: least_ms(lambda: faceqan.label(face, ["timed"])),
        }
    }
    with torch.device("meta"):
        published = sum(p.numel() for p in UNet().parameters()) / 1e6
    rows["DifFIQA, the paper's UNet (not run)"] = {MILLIONS: published, PAPER: "1074.62"}
    if unet.is_file():
        diffusion = load_diffusion(unet)
        diffiqa = DifFIQA(judge, diffusion)
        rows["DifFIQA, n=10, our UNet, M = foamliu"] = {
            MILLIONS: sum(p.numel() for p in diffusion.model.parameters()) / 1e6,
            ALONE: least_ms(lambda: diffiqa.label(face, ["timed"])),
        }
    return rows


def runtime(student: Path, recogniser: Path, unet: Path, chips: U8) -> dict[str, dict[str, Any]]:
    """All rows. chips: (8, 112, 112, 3)."""
    torch.set_num_threads(1)
    rows = networks(student, chips) | teachers(recogniser, unet, chips)
    order = (MILLIONS, ALONE, EIGHT, PAPER)
    return {name: {key: row[key] for key in order if key in row} for name, row in rows.items()}
