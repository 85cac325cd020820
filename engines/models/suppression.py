"""Non-maximum suppression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...stream.geometry import iou
from ...stream.types import F32, I64

CANDIDATE_LIMIT = 2000


def strongest(scores: npt.NDArray[np.floating]) -> I64:
    """Indices by falling score, earlier first among equals; the best 2000 at most."""
    return np.argsort(-scores, kind="stable")[:CANDIDATE_LIMIT].astype(np.int64)


def suppress(boxes: npt.NDArray[np.floating], overlap: float) -> I64:
    """Greedy suppression of boxes (n, 4) that are sorted best first: indices of those kept.

    A box falls if a kept one before it has an IoU above `overlap` with it.
    """
    overlapping = iou(boxes, boxes) > overlap
    alive = np.ones(len(boxes), np.bool_)
    kept: list[int] = []
    for i in range(len(boxes)):
        if alive[i]:
            kept.append(i)
            alive[i + 1 :] &= ~overlapping[i, i + 1 :]
    return np.asarray(kept, np.int64)


def blend(boxes: F32, points: F32, scores: F32, overlap: float) -> tuple[F32, F32, F32]:
    """Suppression that averages instead of dropping, weighted by score (BlazeFace, 2019, section 3.4).

    boxes: (n, 4), points: (n, k, 2), scores: (n,), best first. A group is the best remaining box and all that
    remain with an IoU above `overlap` with it; the group takes its best score.
    """
    overlapping = iou(boxes, boxes) > overlap
    alive = np.ones(len(boxes), np.bool_)
    merged_boxes, merged_points, best = [], [], []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        group = alive & overlapping[i]
        group[i] = True
        weights = scores[group] / scores[group].sum()
        merged_boxes.append(np.tensordot(weights, boxes[group], 1))
        merged_points.append(np.tensordot(weights, points[group], 1))
        best.append(scores[i])
        alive &= ~group
    return (
        np.asarray(merged_boxes, np.float32).reshape(-1, 4),
        np.asarray(merged_points, np.float32).reshape(-1, points.shape[1], 2),
        np.asarray(best, np.float32),
    )
