"""What each detector costs a frame, and how far bf16 moves its answers.

    python benchmarks/detectors.py [--shared ../shared] [--long-side 640] [--runs 40]

One thread; medians of the runs in CPU time (which other work on the machine disturbs less than wall time)
and in wall time, of detect() on a 1080p frame whose scaled picture is ready: network, decoding, suppression.
Agreement with OpenVINO in fp32: same faces at IoU ≥ .5, and the mean distance of the landmarks as a share of
the eye distance, on frames of two clips. Writes benchmarks/results/detectors.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from facesieve.engines.models.blazeface import BlazeFace
from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.models.scrfd import Scrfd
from facesieve.engines.models.yunet import YuNet
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.zoo.store import Store
from facesieve.stream.geometry import iou
from facesieve.stream.ports import Order
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import U8, Detections, Frame

RESULTS = Path(__file__).resolve().parent / "results"
CLIPS = {"walking_crowd_1080p.mp4": 12, "short_hamilton_clip.mp4": 25}


class ScaledOnce(ArrayPicture):
    """Keeps its scaled pictures, so that only the detector is timed."""

    def __init__(self, rgb: U8) -> None:
        super().__init__(rgb)
        self._kept: dict[tuple[int, int, Order], U8] = {}

    def scaled(self, width: int, height: int, order: Order = "rgb") -> U8:
        key = width, height, order
        if key not in self._kept:
            self._kept[key] = super().scaled(width, height, order)
        return self._kept[key]


def frames(shared: Path) -> Iterator[Frame]:
    for name, step in CLIPS.items():
        with av.open(str(shared / "videos" / name)) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i % step == 0:
                    yield Frame(name, i, i / 25, None, ScaledOnce(frame.to_ndarray(format="rgb24")))


def detectors(shared: Path, long_side: int) -> Iterator[tuple[str, str, Any]]:
    """(detector, engine and precision, ready to run)."""
    store = Store()
    kinds: dict[str, tuple[Any, Path]] = {
        "CenterFace": (CenterFace, store.path("centerface")),
        "YuNet n": (YuNet, shared / "models/yunet_n_dynamic.onnx"),
        "YuNet s": (YuNet, shared / "models/yunet_s_dynamic.onnx"),
        "SCRFD 500M": (Scrfd, shared / "models/scrfd_500m_kps.onnx"),
    }
    for label, (kind, model) in kinds.items():
        for precision in ("fp32", "bf16"):
            engine = OpenVinoEngine(
                model, pixels=kind.PIXELS, precision=precision, threads=1, specialise=True
            )
            yield label, f"OpenVINO {precision}", kind(engine, long_side_px=long_side)
        raw = OnnxRuntimeEngine(model, pixels=kind.PIXELS, threads=1)
        yield label, "ONNX Runtime fp32", kind(raw, long_side_px=long_side)
    for precision in ("fp32", "bf16"):
        model = store.path("blazeface-full-range")
        engine = OpenVinoEngine(model, pixels=BlazeFace.PIXELS, precision=precision, threads=1)
        yield "BlazeFace (192×192, no mesh)", f"OpenVINO {precision}", BlazeFace(engine)


def cost_ms(detector: Any, frame: Frame, runs: int) -> tuple[float, float]:
    """CPU and wall milliseconds, medians."""
    detector.detect(frame)
    spent = []
    for _ in range(runs):
        cpu, wall = time.process_time(), time.perf_counter()
        detector.detect(frame)
        spent.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu_ms, wall_ms = np.median(spent, 0) * 1e3
    return float(cpu_ms), float(wall_ms)


def agreement(reference: list[Detections], other: list[Detections]) -> dict[str, float]:
    matched, shifts = 0, []
    for a, b in zip(reference, other, strict=True):
        overlap = iou(a.boxes, b.boxes)
        for i in range(len(a)):
            if len(b) and overlap[i].max() >= 0.5:
                matched += 1
                eyes = np.linalg.norm(a.landmarks[i, 0] - a.landmarks[i, 1])
                apart = np.linalg.norm(a.landmarks[i] - b.landmarks[overlap[i].argmax()], axis=1).mean()
                shifts.append(apart / max(eyes, 1.0))
    return {
        "faces": sum(map(len, reference)),
        "found_too": matched,
        "extra": sum(map(len, other)) - matched,
        "landmarks_median": float(np.median(shifts)),
        "landmarks_p95": float(np.quantile(shifts, 0.95)),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    arguments.add_argument("--long-side", type=int, default=640)
    arguments.add_argument("--runs", type=int, default=40)
    options = arguments.parse_args()
    seen = list(frames(options.shared))
    rows: list[dict[str, Any]] = []
    reference: list[Detections] = []
    for label, engine, detector in detectors(options.shared, options.long_side):
        cpu_ms, wall_ms = cost_ms(detector, seen[0], options.runs)
        found = [detector.detect(frame) for frame in seen]
        if engine == "OpenVINO fp32":
            reference = found
        rows.append(
            {"detector": label, "engine": engine, "cpu_ms": cpu_ms, "wall_ms": wall_ms}
            | agreement(reference, found)
        )
        detector.close()
    RESULTS.mkdir(exist_ok=True)
    record = {
        "machine": platform.processor() or platform.machine(),
        "load_average": os.getloadavg()[0],
        "long_side_px": options.long_side,
        "rows": rows,
    }
    (RESULTS / "detectors.json").write_text(json.dumps(record, indent=1) + "\n")
    table = "| detector | engine | CPU ms | wall ms | faces | found too | landmarks off, median / p95 |\n"
    table += "|---|---|---|---|---|---|---|\n"
    for row in rows:
        table += (
            f"| {row['detector']} | {row['engine']} | {row['cpu_ms']:.1f} | {row['wall_ms']:.1f} "
            f"| {row['faces']} | {row['found_too']} "
            f"| {row['landmarks_median']:.3f} / {row['landmarks_p95']:.3f} |\n"
        )
    (RESULTS / "detectors.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
