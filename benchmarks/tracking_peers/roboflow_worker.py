"""Runs Roboflow's `trackers` over a job of tracking.py: `python roboflow_worker.py JOB.json OUT.json`."""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv

from trackers import BIoU, ByteTrackTracker, IoU, OCSORTTracker  # noqa: TID251 (the peer's package)


def tracker(family: str, s: dict[str, float], fps: float) -> ByteTrackTracker | OCSORTTracker:
    """The tracker of one point of the grid; the buffer counts frames at 30 a second, whatever the fps."""
    overlap = BIoU(s["expand"]) if s["expand"] else IoU()
    if family == "bytetrack":
        return ByteTrackTracker(
            lost_track_buffer=round(30 * s["lost_s"]),
            frame_rate=fps,
            track_activation_threshold=s["new_score"],
            minimum_consecutive_frames=int(s["min_hits"]),
            minimum_iou_threshold=s["match_iou"],
            high_conf_det_threshold=s["high_score"],
            iou=overlap,
        )
    return OCSORTTracker(
        lost_track_buffer=round(30 * s["lost_s"]),
        frame_rate=fps,
        minimum_consecutive_frames=int(s["min_hits"]),
        minimum_iou_threshold=s["match_iou"],
        high_conf_det_threshold=s["high_score"],
        iou=overlap,
    )


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    runs: list[dict[str, Any]] = []
    spent, updates = 0.0, 0
    for settings in job["settings"]:
        run = {}
        for name, sequence in job["sequences"].items():
            live, rows = tracker(job["family"], settings, sequence["fps"]), []
            for found in sequence["frames"]:
                table = np.array(found, np.float32).reshape(-1, 5)
                detections = sv.Detections(
                    xyxy=table[:, :4],
                    confidence=table[:, 4],
                    class_id=np.zeros(len(table), int),
                    data={"row": np.arange(len(table))},
                )
                start = time.perf_counter()
                out = live.update(detections)
                spent += time.perf_counter() - start
                updates += 1
                picked = out.data["row"] if len(out) else []
                ids = out.tracker_id if len(out) else []
                rows.append([[int(i), *found[k][:4]] for k, i in zip(picked, ids, strict=True) if i >= 0])
            run[name] = rows
        runs.append(run)
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "trackers": version("trackers"),
        "supervision": version("supervision"),
    }
    Path(sys.argv[2]).write_text(
        json.dumps({"runs": runs, "versions": versions, "update_us": 1e6 * spent / updates})
    )


if __name__ == "__main__":
    main()
