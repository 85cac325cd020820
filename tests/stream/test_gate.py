"""The tests of a detection that need no pixels."""

import math

import numpy as np
import pytest

from facesieve.stream.gate import gate
from facesieve.stream.geometry import ARCFACE_POINTS
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.types import Detections, Refusal, Rejection


def faces(*made: tuple[tuple[float, ...], np.ndarray]) -> Detections:
    boxes = np.array([box for box, _ in made], np.float32)
    points = np.array([points for _, points in made], np.float32)
    return Detections(boxes, np.full(len(made), 0.9, np.float32), points)


UPRIGHT = ARCFACE_POINTS
SIDEWAYS = (ARCFACE_POINTS - 56) @ np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32) + 56
PROFILE = UPRIGHT * (1.0, 1.0) + np.array([[15, 0], [-5, 0], [34, 0], [15, 0], [0, 0]])


@pytest.mark.parametrize(
    ("box", "points", "why"),
    [
        ((10, 10, 60, 60), UPRIGHT, None),
        ((10, 10, 50, 90), UPRIGHT, None),  # the shorter side is 40
        ((10, 10, 49.9, 90), UPRIGHT, Rejection.SMALL),
        ((10, 10, 90, 49.9), UPRIGHT, Rejection.SMALL),
        ((60, 60, 10, 10), UPRIGHT, Rejection.SMALL),
        ((-20, 10, 40, 90), UPRIGHT, Rejection.TRUNCATED),  # a third outside
        ((-15, 10, 45, 90), UPRIGHT, None),  # a quarter outside
        ((10, 260, 60, 320), UPRIGHT, Rejection.TRUNCATED),
        ((500, 10, 560, 90), UPRIGHT, Rejection.TRUNCATED),
        ((-20, -20, 10, 10), UPRIGHT, Rejection.SMALL),  # small comes first
        ((10, 10, 60, 60), SIDEWAYS, Rejection.POSE),
        ((10, 10, 60, 60), PROFILE, Rejection.POSE),
        ((10, 10, 60, 60), UPRIGHT * 0 + 5, Rejection.POSE),
        ((10, 10, 60, 60), UPRIGHT * np.nan, Rejection.TRUNCATED),
        ((10, 10, math.inf, 60), UPRIGHT, Rejection.TRUNCATED),
    ],
)
def test_gates(box: tuple[float, ...], points: np.ndarray, why: Rejection | None) -> None:
    settings = SelectionPolicy(min_face_px=40, max_truncated=0.3)
    (refusal,) = gate(faces((box, points)), 400, 300, policy=settings)
    assert (refusal.reason if refusal else None) == why


@pytest.mark.parametrize(
    ("points", "limits", "beyond"),
    [
        (SIDEWAYS, (60, 50, 60), ("roll",)),
        (PROFILE, (30, 50, 60), ("yaw",)),
        (PROFILE, (None, 50, 60), ()),
        (UPRIGHT, (0, 0, 180), ("yaw", "pitch")),
        (UPRIGHT * 0 + 5, (60, None, 60), ("yaw", "roll")),  # no pose is beyond every limit
    ],
)
def test_a_pose_names_the_angles_beyond_their_limits(
    points: np.ndarray, limits: tuple[float | None, ...], beyond: tuple[str, ...]
) -> None:
    yaw, pitch, roll = limits
    policy = SelectionPolicy(max_yaw_deg=yaw, max_pitch_deg=pitch, max_roll_deg=roll)
    expected = Refusal(Rejection.POSE, beyond) if beyond else None
    assert gate(faces(((10, 10, 60, 60), points)), 400, 300, policy=policy) == [expected]


def test_gates_judge_each_face_alone_and_none_of_none() -> None:
    found = faces(((10, 10, 60, 60), UPRIGHT), ((10, 10, 20, 20), UPRIGHT), ((10, 10, 60, 60), SIDEWAYS))
    assert gate(found, 400, 300, policy=SelectionPolicy()) == [
        None,
        Refusal(Rejection.SMALL),
        Refusal(Rejection.POSE, ("roll",)),
    ]
    assert gate(Detections.empty(), 400, 300, policy=SelectionPolicy()) == []


def test_a_weak_detection_is_doubtful_before_anything_else() -> None:
    found = faces(((10, 10, 60, 60), UPRIGHT), ((10, 10, 20, 20), UPRIGHT))
    weak = Detections(found.boxes, np.float32([0.5, 0.49]), found.landmarks)
    assert gate(weak, 400, 300, policy=SelectionPolicy(min_detection=0.5)) == [
        None,
        Refusal(Rejection.DOUBTFUL),
    ]


def test_a_gate_can_be_switched_off() -> None:
    settings = SelectionPolicy(max_yaw_deg=None, max_pitch_deg=None, max_roll_deg=None)
    found = faces(((10, 10, 60, 60), SIDEWAYS), ((10, 10, 60, 60), UPRIGHT * 0 + 5))
    assert gate(found, 400, 300, policy=settings) == [None, None]
    only_yaw = SelectionPolicy(max_yaw_deg=60, max_pitch_deg=None, max_roll_deg=None)
    assert gate(found, 400, 300, policy=only_yaw) == [None, Refusal(Rejection.POSE, ("yaw",))]
