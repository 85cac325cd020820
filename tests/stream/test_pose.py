"""Angles of heads turned by hand, and of real faces mirrored and rotated."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.stream.pose import FACE_POINTS, head_pose


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The average face turned by angles in degrees and seen from far away: (5, 2)."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (FACE_POINTS @ (about_z @ about_y @ about_x).T)[:, :2]


@given(
    st.floats(-80, 80),
    st.floats(-80, 80),
    st.floats(-175, 175),
    st.floats(0.1, 2000),
    st.floats(-5000, 5000),
)
def test_a_turned_head_is_read_exactly(
    yaw: float, pitch: float, roll: float, scale: float, shift: float
) -> None:
    points = turned(yaw, pitch, roll) * scale + (shift, -shift)
    assert head_pose(points[None])[0] == pytest.approx([yaw, pitch, roll], abs=1e-3)


@pytest.mark.parametrize(
    ("angles", "what"),
    [
        ((30, 0, 0), "nose right"),
        ((0, 30, 0), "nose up"),
        ((0, 0, 30), "right eye lower"),
    ],
)
def test_signs(angles: tuple[float, float, float], what: str) -> None:
    straight, moved = turned(0, 0, 0), turned(*angles)
    nose_right = moved[2, 0] > straight[2, 0] + 0.1
    nose_up = moved[2, 1] - moved[:2, 1].mean() < straight[2, 1] - straight[:2, 1].mean() - 0.1
    right_eye_lower = moved[1, 1] > moved[0, 1] + 0.1
    seen = {
        "nose right": nose_right and abs(moved[0, 1]) < 1e-9,
        "nose up": nose_up,
        "right eye lower": right_eye_lower,
    }
    assert seen[what]
    assert head_pose(moved[None])[0] == pytest.approx(angles, abs=1e-6)


@pytest.mark.parametrize(
    "points",
    [np.full((5, 2), 3.0), np.full((5, 2), np.nan), np.full((5, 2), np.inf), np.arange(10.0).reshape(5, 2)],
)
def test_what_is_no_face_has_no_pose(points: np.ndarray) -> None:
    both = head_pose(np.stack([points, turned(10, 5, 0)]))
    assert np.isnan(both[0]).all()
    assert both[1] == pytest.approx([10, 5, 0], abs=1e-6)


def test_of_no_face_there_is_none() -> None:
    assert head_pose(np.zeros((0, 5, 2), np.float32)).shape == (0, 3)


@pytest.fixture(scope="module")
def real(shared: Path) -> np.ndarray:
    """(n, 5, 2) landmarks of video frames of 163 people."""
    with (shared / "data/ytf-dev/faces.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    return np.array([[[float(row[f"l{axis}{i}"]) for axis in "xy"] for i in range(5)] for row in rows])


def test_a_mirrored_face_turns_the_other_way(real: np.ndarray) -> None:
    mirrored = (real * (-1, 1))[:, [1, 0, 2, 4, 3]]
    assert np.allclose(head_pose(mirrored), head_pose(real) * (-1, 1, -1), atol=1e-6)


def test_rotating_the_picture_changes_roll_alone(real: np.ndarray) -> None:
    a = np.radians(25)
    rotated = real @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    assert np.allclose(head_pose(rotated), head_pose(real) + np.array([0, 0, 25]), atol=1e-6)


def test_people_on_video_look_about_straight_ahead(real: np.ndarray) -> None:
    angles = head_pose(real)
    assert np.isfinite(angles).all()
    assert np.median(angles, 0) == pytest.approx([0, 0, 0], abs=5)
    assert (np.abs(angles) < (75, 45, 45)).all(1).mean() > 0.98
