"""Where the head is, how it is turned, and how large it is."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ..types import F32, Crop
from .mapping import percent, sigmoid
from .mesh import Face

ALIGNED_AT: Final = 0.1
"""Mean distance of the landmarks from the mesh, in eye distances, at which face_alignment is e^−½ of 100."""
_REST: Final = np.array([1, 61, 291])

_RIGID: Final = np.array([
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327,
    234, 454, 127, 356, 10, 151, 9, 70, 300, 107, 336, 116, 345])  # fmt: skip
_HEAD: Final = np.array(
    [
        [-0.721, -0.086, 0.117], [-0.279, -0.065, 0.032], [0.279, -0.065, 0.032], [0.721, -0.086, 0.117],
        [0.000, -0.151, -0.236], [0.000, -0.032, -0.303], [0.000, 0.080, -0.379], [0.000, 0.184, -0.462],
        [0.000, 0.294, -0.548], [0.000, 0.427, -0.584], [0.000, 0.529, -0.549], [0.000, 0.623, -0.300],
        [-0.282, 0.580, -0.172], [0.282, 0.580, -0.172], [-1.100, 0.190, 0.965], [1.100, 0.190, 0.965],
        [-1.114, -0.036, 0.888], [1.114, -0.036, 0.888], [0.000, -0.930, -0.176], [0.000, -0.672, -0.227],
        [0.000, -0.395, -0.263], [-0.904, -0.315, 0.120], [0.904, -0.315, 0.120], [-0.227, -0.412, -0.253],
        [0.227, -0.412, -0.253], [-1.007, 0.166, 0.317], [1.007, 0.166, 0.317],
    ],
    np.float64,
)  # fmt: skip
"""Where those vertices lie on an average head facing the camera, in eye distances: the mean of the meshes of
1,243 near-frontal LFW faces, brought into one pose and made symmetric. None of them moves with lids, mouth or
chin."""


def head_angles(points: F32, to_frame: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, 3) yaw, pitch and roll in degrees, with the signs of stream.pose.

    points: (n, 468, 3) and to_frame: (n, 2, 3), as MeshFinder has them. The rotation that takes the average
    head to the mesh with the least squared error in space (Kabsch, "A solution for the best rotation to
    relate two sets of vectors", 1976), read as Rz(roll)·Ry(yaw)·Rx(pitch), and the roll of the picture in
    the frame added.
    """
    seen = points[:, _RIGID].astype(np.float64)
    u, _, v = np.linalg.svd((seen - seen.mean(1, keepdims=True)).transpose(0, 2, 1) @ _HEAD)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ v))[:, None]
    turn = u @ v  # seen ≈ turn · head
    yaw = np.arcsin(np.clip(-turn[:, 0, 2], -1, 1))
    pitch = np.arctan2(turn[:, 1, 2], turn[:, 2, 2])
    level = np.arctan2(to_frame[:, 1, 0], to_frame[:, 0, 0])
    roll = np.arctan2(turn[:, 1, 0], turn[:, 0, 0]) + level
    angles = np.degrees(np.stack([yaw, pitch, roll], 1))
    return np.asarray((angles + 180) % 360 - 180)


def head_pose_angle(degrees: float) -> float:
    """100·cos²(angle), 0 beyond 90° (OFIQ HeadPose; one component an angle)."""
    return 100 * max(math.cos(math.radians(degrees)), 0.0) ** 2


def inter_eye_distance(eye_distance_px: float, yaw_deg: float) -> float:
    """100·sigmoid(d/cos(yaw); 70, 20), d the distance of the eyes in px of the frame (OFIQ InterEyeDistance).

    The yaw counts up to 60°: beyond it the correction would invent pixels.
    """
    turned = max(math.cos(math.radians(yaw_deg)), 0.5)
    return 100 * sigmoid(eye_distance_px / turned, 70, 20)


def head_size(face: Face) -> float:
    """200·(1 − sigmoid(|T/H − .45|; 0, .05)), T from the eyes to the chin, H the height of the portrait (OFIQ
    HeadSize): how the kept picture is framed. It follows output.margin."""
    height = _portrait(face.crop)[1]
    return percent(200 * (1 - sigmoid(abs(face.height_px * face.scale / height - 0.45), 0, 0.05)))


def crop_margins(face: Face) -> dict[str, float]:
    """Room around the face in the portrait (OFIQ CropOfTheFaceImage): lower where the frame's edge cuts it.

    To the sides 100·sigmoid(x; .9, .1), x from an eye to its edge in eye distances; above 100·sigmoid(x; 1.4,
    .1) and below 100·sigmoid(x; 1.8, .1), x from between the eyes in eye-to-chin heights.
    """
    width, height = _portrait(face.crop)
    one, other = face.in_frame(face.eyes).tolist()
    x0, y0 = face.crop.portrait_origin
    apart, tall = face.apart_px * face.scale, face.height_px * face.scale
    middle = (one[1] + other[1]) / 2 - y0 + 0.5
    left, right = sorted((one[0] - x0 + 0.5, other[0] - x0 + 0.5))
    return {
        "leftward_crop_of_the_face_image": 100 * sigmoid(left / apart, 0.9, 0.1),
        "rightward_crop_of_the_face_image": 100 * sigmoid((width - right) / apart, 0.9, 0.1),
        "margin_above_of_the_face_image": 100 * sigmoid(middle / tall, 1.4, 0.1),
        "margin_below_of_the_face_image": 100 * sigmoid((height - middle) / tall, 1.8, 0.1),
    }


def face_alignment(face: Face) -> float:
    """100·p·e^(−½(d/.1)²), p the mesh's presence, d the mean distance between the five landmarks and the
    mesh's own, in eye distances.

    Ours: the standard has no such component. It falls where the chip was not cut where the face is: wrong
    landmarks, or no face.
    """
    own = face.in_frame(np.concatenate([face.eyes, face.points[_REST, :2]]))
    pairs = zip(own.tolist(), face.crop.landmarks.tolist(), strict=True)
    away = sum(math.dist(a, b) for a, b in pairs) / 5 / max(face.apart_px * face.scale, 1e-6)
    return 100 * face.presence * math.exp(-0.5 * (away / ALIGNED_AT) ** 2)


def _portrait(crop: Crop) -> tuple[int, int]:
    """Width and height; only asked where there is one."""
    if crop.portrait is None:
        raise ValueError(f"frame {crop.frame_index}: expected a crop with a portrait")
    return crop.portrait.shape[1], crop.portrait.shape[0]
