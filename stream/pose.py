"""Head pose from the five landmarks."""

from __future__ import annotations

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
_FIT = np.linalg.pinv(FACE_POINTS - FACE_POINTS.mean(0))


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
    points = landmarks.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        centred = points - points.mean(1, keepdims=True)
        across, along = np.moveaxis(_FIT @ (centred / np.abs(centred).max((1, 2), keepdims=True)), 2, 0)
        aa, bb, ab = (across**2).sum(1), (along**2).sum(1), (across * along).sum(1)
        root = np.sqrt(np.maximum(aa * bb - ab**2, 0.0))
        flat = root <= 1e-9 * (aa + bb)
        right = _unit((bb + root)[:, None] * across - ab[:, None] * along)
        down = _unit((aa + root)[:, None] * along - ab[:, None] * across)
        near = np.cross(right, down)
        yaw = np.arcsin(np.clip(-near[:, 0], -1, 1))
        pitch = np.arctan2(near[:, 1], near[:, 2])
        roll = np.arctan2(down[:, 0], right[:, 0])
    return np.where(flat[:, None], np.nan, np.degrees(np.stack([yaw, pitch, roll], 1)))


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(rows / np.sqrt((rows**2).sum(1, keepdims=True)))
