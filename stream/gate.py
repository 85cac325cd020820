"""The tests of a detection that need no pixels."""

from __future__ import annotations

import itertools
import math

from .policy import SelectionPolicy
from .pose import face_pose
from .types import Detections, Refusal, Rejection

ANGLES = ("yaw", "pitch", "roll")


def gate(detections: Detections, width: int, height: int, *, policy: SelectionPolicy) -> list[Refusal | None]:
    """The tests that need no pixels, for all faces of a width × height frame: why each is refused, or None.

    In this order: DOUBTFUL, TRUNCATED when the box or landmarks are not finite, SMALL, TRUNCATED, POSE (also
    when the landmarks have no pose and an angle is limited), which names the angles beyond their limits.
    functools.partial(gate, policy=…) fits a Pipeline.
    """
    faces = zip(
        detections.boxes.tolist(), detections.landmarks.tolist(), detections.scores.tolist(), strict=True
    )
    return [
        _DOUBTFUL if score < policy.min_detection else _refused(box, points, width, height, policy)
        for box, points, score in faces
    ]


_DOUBTFUL = Refusal(Rejection.DOUBTFUL)
_SMALL = Refusal(Rejection.SMALL)
_TRUNCATED = Refusal(Rejection.TRUNCATED)


def _refused(
    box: list[float], points: list[list[float]], width: int, height: int, policy: SelectionPolicy
) -> Refusal | None:
    if not all(map(math.isfinite, itertools.chain(box, *points))):
        return _TRUNCATED
    x0, y0, x1, y1 = box
    if min(x1 - x0, y1 - y0) < max(policy.min_face_px, 1e-6):
        return _SMALL
    shown = max(min(x1, width) - max(x0, 0), 0) * max(min(y1, height) - max(y0, 0), 0)
    if shown < (1 - policy.max_truncated) * (x1 - x0) * (y1 - y0):
        return _TRUNCATED
    limits = (policy.max_yaw_deg, policy.max_pitch_deg, policy.max_roll_deg)
    # Compared so that the NaN of a face without a pose is beyond every limit.
    beyond = tuple(
        name
        for name, angle, limit in zip(ANGLES, face_pose(points), limits, strict=True)
        if limit is not None and not abs(math.degrees(angle)) <= limit
    )
    return Refusal(Rejection.POSE, beyond) if beyond else None
