"""Runs our trackers over a job of benchmarks/tracking.py: `python ours_worker.py JOB.json OUT.json`."""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from facesieve.stream.types import Detections
from facesieve.trackers.bytetrack import ByteTrack
from facesieve.trackers.ocsort import OCSort

NO_LIMIT = 1e9


def tracker(family: str, s: dict[str, float]) -> ByteTrack | OCSort:
    """The tracker of one point of the grid."""
    if family == "bytetrack":
        return ByteTrack(
            high_score=s["high_score"],
            low_score=0.0,
            new_score=s["new_score"],
            match_iou=s["match_iou"],
            lost_iou=max(0.3, s["match_iou"]),
            expand=s["expand"],
            max_growth=NO_LIMIT,
            lost_s=s["lost_s"],
            min_hits=int(s["min_hits"]),
        )
    return OCSort(
        high_score=s["high_score"],
        new_score=s["new_score"],
        match_iou=s["match_iou"],
        lost_iou=max(0.3, s["match_iou"]),
        fresh_first=False,  # as in the paper, and as the peer does
        expand=s["expand"],
        max_growth=NO_LIMIT,
        lost_s=s["lost_s"],
        min_hits=int(s["min_hits"]),
    )


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    frames = {
        name: [
            Detections(
                np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
                np.array([row[4] for row in rows], np.float32),
                np.zeros((len(rows), 5, 2), np.float32),
            )
            for rows in sequence["frames"]
        ]
        for name, sequence in job["sequences"].items()
    }
    runs: list[dict[str, Any]] = []
    spent, updates = 0.0, 0
    for settings in job["settings"]:
        run = {}
        for name, sequence in job["sequences"].items():
            live, rows = tracker(job["family"], settings), []
            for index, detections in enumerate(frames[name]):
                start = time.perf_counter()
                ids = live.update(detections, index / sequence["fps"]).ids
                spent += time.perf_counter() - start
                updates += 1
                rows.append(
                    [[int(i), *sequence["frames"][index][k][:4]] for k, i in enumerate(ids) if i >= 0]
                )
            run[name] = rows
        runs.append(run)
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    Path(sys.argv[2]).write_text(
        json.dumps({"runs": runs, "versions": versions, "update_us": 1e6 * spent / updates})
    )


if __name__ == "__main__":
    main()
