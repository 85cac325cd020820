"""Head pose from the five landmarks."""

from __future__ import annotations

import math
from operator import mul

import numpy as np
import numpy.typing as npt

FACE_POINTS = np.array(
    [[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.58, 0.5], [-0.435, 1.01, 0.0], [0.435, 1.01, 0.0]], np.float64
)
"""An average face: x right, y down, z towards the camera, in eye distances.

x and y are the mean of near-frontal LFW faces. The nose's height over the plane of eyes and mouth, .5 (31 mm
at an eye distance of 63), is the one under which turned LFW faces come nearest to a scaled orthographic
picture of one rigid head; nose protrusions of 27–36 mm are what common head models hold.
"""
_FIT: list[list[float]] = np.linalg.pinv(FACE_POINTS - FACE_POINTS.mean(0)).tolist()
_NO_POSE = (math.nan, math.nan, math.nan)


def head_pose(landmarks: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(n, 5, 2) landmarks → (n, 3) yaw, pitch, roll in degrees; NaN where no plane of view fits.

    That is for points that coincide, lie on one line or are not finite. The average face is fitted under
    scaled orthography by linear least squares (the POS step of DeMenthon and Davis, "Model-based object
    pose in 25 lines of code", 1995), its two image axes A (2, 3) are replaced by the nearest orthonormal pair
    (A·Aᵀ)^−½·A, and the rotation is read as Rz(roll)·Ry(yaw)·Rx(pitch).

    yaw in [−90, 90]: positive with the nose to the image's right. pitch in (−180, 180]: positive with the
    nose up. roll in (−180, 180]: positive with the right eye of the image lower. Proxies: a person's own
    proportions and the detector's idea of a mouth corner move pitch by some 10°, yaw by less.
    """
    poses = [face_pose(face) for face in landmarks.tolist()]
    return np.degrees(np.array(poses, np.float64).reshape(-1, 3))


def face_pose(points: list[list[float]]) -> tuple[float, float, float]:
    """Yaw, pitch and roll of one face, [x, y] five times, in radians, as head_pose has them.

    In plain numbers: a frame shows a few faces, and arrays of five points cost ten times as much.
    """
    mean_x, mean_y = sum(x for x, _ in points) / 5, sum(y for _, y in points) / 5
    xs, ys = [x - mean_x for x, _ in points], [y - mean_y for _, y in points]
    spread = sum(map(abs, xs)) + sum(map(abs, ys))
    if not 0 < spread < math.inf:
        return _NO_POSE
    across = [sum(map(mul, row, xs)) / spread for row in _FIT]
    along = [sum(map(mul, row, ys)) / spread for row in _FIT]
    aa, bb, ab = _dot(across, across), _dot(along, along), _dot(across, along)
    root = math.sqrt(max(aa * bb - ab**2, 0.0))
    if root <= 1e-9 * (aa + bb):
        return _NO_POSE
    rx, ry, rz = _unit([(bb + root) * a - ab * b for a, b in zip(across, along, strict=True)])
    dx, dy, dz = _unit([(aa + root) * b - ab * a for a, b in zip(across, along, strict=True)])
    near_x, near_y, near_z = ry * dz - rz * dy, rz * dx - rx * dz, rx * dy - ry * dx
    yaw = math.asin(min(max(-near_x, -1.0), 1.0))
    return yaw, math.atan2(near_y, near_z), math.atan2(dx, rx)


def _dot(a: list[float], b: list[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _unit(vector: list[float]) -> list[float]:
    length = math.sqrt(_dot(vector, vector))
    return [v / length for v in vector]
