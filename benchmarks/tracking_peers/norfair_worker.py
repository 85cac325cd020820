"""Runs norfair over a job of benchmarks/tracking.py: `python norfair_worker.py JOB.json OUT.json`."""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from norfair import Detection, Tracker
from norfair.distances import VectorizedDistance, iou


def distance(expand: float) -> VectorizedDistance:
    """norfair's own 1 − IoU, of boxes grown by expand of their width and height on every side."""

    def grown(boxes: np.ndarray) -> np.ndarray:
        margin = expand * (boxes[:, 2:] - boxes[:, :2])
        # Its filter may turn a lost box inside out, which its own check refuses.
        low, high = boxes[:, :2] - margin, boxes[:, 2:] + margin
        return np.concatenate([np.minimum(low, high), np.maximum(low, high)], 1)

    return VectorizedDistance(lambda candidates, objects: iou(grown(candidates), grown(objects)))


def track(sequence: dict[str, Any], s: dict[str, float]) -> tuple[list[list[list[float]]], float]:
    """One sequence at one point of the grid: the rows of each frame, and the seconds spent in update."""
    live = Tracker(
        distance_function="iou",
        distance_threshold=1 - s["match_iou"],
        hit_counter_max=round(sequence["fps"] * s["lost_s"]),
        initialization_delay=int(s["min_hits"]) - 1,
    )
    live.distance_function = distance(s["expand"])  # its constructor takes names and scalar functions only
    frames, spent = [], 0.0
    for found in sequence["frames"]:
        detections = [
            Detection(np.array(row[:4]).reshape(2, 2), data=row) for row in found if row[4] >= s["high_score"]
        ]
        start = time.perf_counter()
        active = live.update(detections)
        spent += time.perf_counter() - start
        rows = []
        for known in active:
            if s["output"] == "estimates":
                rows.append([known.id, *known.estimate.reshape(4).tolist()])
            elif any(known.last_detection is seen for seen in detections):
                rows.append([known.id, *known.last_detection.data[:4]])
        frames.append(rows)
    return frames, spent


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    runs: list[dict[str, Any]] = []
    spent, updates = 0.0, 0
    for settings in job["settings"]:
        run = {}
        for name, sequence in job["sequences"].items():
            run[name], seconds = track(sequence, settings)
            spent += seconds
            updates += len(sequence["frames"])
        runs.append(run)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "norfair": version("norfair")}
    Path(sys.argv[2]).write_text(
        json.dumps({"runs": runs, "versions": versions, "update_us": 1e6 * spent / updates})
    )


if __name__ == "__main__":
    main()
