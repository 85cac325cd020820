"""Scores tracks against ground truth: `python score_worker.py JOB.json OUT.json` in the metrics' environment.

HOTA by trackeval for every run; MOTA and IDF1 by motmetrics for the runs named in the job's `full`.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import motmetrics
import numpy as np
from trackeval.metrics import HOTA

Rows = list[list[list[float]]]


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of (n, 4) and (m, 4) corner boxes."""
    size = np.clip(
        np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0, None
    )
    shared = size.prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return shared / np.maximum(area_a[:, None] + area_b[None, :] - shared, 1e-12)


def split(rows: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (id, x0, y0, x1, y1) → ids (n,), boxes (n, 4)."""
    table = np.array(rows, float).reshape(-1, 5)
    return table[:, 0].astype(int), table[:, 1:]


def hota(truth: Rows, tracks: Rows) -> float:
    """Percent, mean over the localisation thresholds."""
    data: dict[str, Any] = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    gt_names, names = ({int(row[0]) for frame in rows for row in frame} for rows in (truth, tracks))
    gt_index, index = ({name: k for k, name in enumerate(sorted(some))} for some in (gt_names, names))
    for true_rows, rows in zip(truth, tracks, strict=True):
        (gt_ids, gt_boxes), (ids, boxes) = split(true_rows), split(rows)
        data["gt_ids"].append(np.array([gt_index[int(i)] for i in gt_ids], int))
        data["tracker_ids"].append(np.array([index[int(i)] for i in ids], int))
        data["similarity_scores"].append(overlap(gt_boxes, boxes))
    data["num_gt_ids"], data["num_tracker_ids"] = len(gt_index), len(index)
    data["num_gt_dets"] = sum(map(len, truth))
    data["num_tracker_dets"] = sum(map(len, tracks))
    return 100 * float(np.mean(HOTA().eval_sequence(data)["HOTA"]))


def clear(truth: Rows, tracks: Rows) -> dict[str, float]:
    """MOTA and IDF1 in percent and identity switches, at an IoU of 0.5."""
    book = motmetrics.MOTAccumulator(auto_id=True)
    for true_rows, rows in zip(truth, tracks, strict=True):
        (gt_ids, gt_boxes), (ids, boxes) = split(true_rows), split(rows)
        near = overlap(gt_boxes, boxes)
        book.update(gt_ids, ids, np.where(near >= 0.5, 1 - near, np.nan))
    table = motmetrics.metrics.create().compute(book, metrics=["mota", "idf1", "num_switches"])
    return {
        "MOTA": 100 * float(table["mota"].iloc[0]),
        "IDF1": 100 * float(table["idf1"].iloc[0]),
        "switches": int(table["num_switches"].iloc[0]),
    }


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    scores = []
    for run in job["runs"]:
        per = {name: {"HOTA": hota(truth, run[name])} for name, truth in job["truth"].items()}
        if job["full"]:
            for name, truth in job["truth"].items():
                per[name] |= clear(truth, run[name])
        scores.append(per)
    versions = {name: version(name) for name in ("motmetrics", "trackeval")}
    Path(sys.argv[2]).write_text(json.dumps({"scores": scores, "versions": versions}))


if __name__ == "__main__":
    main()
