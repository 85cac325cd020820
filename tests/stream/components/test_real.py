"""Lids, hands, masks and pose on faces that nothing was trained on, or with occluders of a known size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.zoo.store import Store
from facesieve.stream.align import align
from facesieve.stream.components import Measured
from facesieve.stream.components.regions import chip_regions
from facesieve.stream.pose import head_pose
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import Crop, Frame

# Frames of the clip as one sees them. Hands: the share of the face that they hide is about a third.
CLOSED = (4, 20, 36, 52, 76, 92, 450, 460, 468)
OPEN = (180, 200, 216, 236, 264, 276, 300, 340, 360, 384)
HANDS = (104, 112, 120, 128)


@pytest.fixture(scope="module")
def clip(shared: Path, measured: Measured) -> dict[int, dict[str, float]]:
    """Components of the woman in the sample clip, by frame."""
    engine = OpenVinoEngine(Store().path("centerface"), pixels=CenterFace.PIXELS, specialise=True, threads=1)
    crops: dict[int, Crop] = {}
    with (
        av.open(str(shared / "videos/WolfgangLanger_Pexels.mp4")) as container,
        CenterFace(engine, long_side_px=640, min_score=0.3, nms_iou=0.4) as detector,
    ):
        for index, image in enumerate(container.decode(video=0)):
            if index in {*CLOSED, *OPEN, *HANDS}:
                frame = Frame("clip", index, 0.0, None, ArrayPicture(image.to_ndarray(format="rgb24")))
                made = align(frame, detector.detect(frame), 0, 1)
                assert isinstance(made, Crop)
                crops[index] = made
    return dict(zip(crops, map(dict, measured.assess(list(crops.values()))), strict=True))


def test_closed_eyes_are_told_from_open_ones(clip: dict[int, dict[str, float]]) -> None:
    assert max(clip[i]["eyes_open"] for i in CLOSED) < 15
    assert min(clip[i]["eyes_open"] for i in OPEN) > 85


def test_hands_before_the_face_are_seen(clip: dict[int, dict[str, float]]) -> None:
    assert max(clip[i]["face_occlusion_prevention"] for i in HANDS) < 85
    assert max(clip[i]["mouth_occlusion_prevention"] for i in HANDS) < 80
    free = [i for i in OPEN if i >= 236]
    for name in ("face_occlusion_prevention", "mouth_occlusion_prevention", "eyes_visible"):
        assert min(clip[i][name] for i in free) > 95, name


def covered(crop: Crop, draw: Callable[[np.ndarray], None], colour: Any) -> tuple[Crop, np.ndarray]:
    """The crop with something on its chip, and the shares of eyes, mouth and face under it."""
    cover = np.zeros((112, 112), np.uint8)
    draw(cover)
    chip = crop.chip.copy()
    chip[cover > 0] = colour
    regions = chip_regions()
    return dataclasses.replace(crop, chip=chip), (regions * (cover > 0)).sum((1, 2)) / regions.sum((1, 2))


@pytest.mark.parametrize(
    ("draw", "colour", "part"),
    [
        (
            lambda c: cv2.rectangle(c, (15, 70), (97, 111), 255, -1),
            (150, 180, 210),
            "mouth_occlusion_prevention",
        ),
        (lambda c: cv2.rectangle(c, (18, 42), (94, 61), 255, -1), (20, 20, 25), "eyes_visible"),
        (lambda c: cv2.circle(c, (75, 70), 30, 255, -1), (90, 140, 60), "face_occlusion_prevention"),
    ],
    ids=["mask", "bar", "ball"],
)
def test_the_covered_share_is_measured(
    measured: Measured,
    portraits: list[Any],
    draw: Callable[[np.ndarray], None],
    colour: Any,
    part: str,
) -> None:
    made = [covered(photo.crop(), draw, colour) for photo in portraits]
    found = measured.assess([crop for crop, _ in made])
    order = ("eyes_visible", "mouth_occlusion_prevention", "face_occlusion_prevention")
    for name in {part, "face_occlusion_prevention"}:
        true = 100 * (1 - made[0][1][order.index(name)])
        assert np.median([f[name] for f in found]) == pytest.approx(true, abs=15), name


def test_free_faces_are_free(plain: list[dict[str, float]]) -> None:
    for name in ("face_occlusion_prevention", "mouth_occlusion_prevention", "eyes_visible"):
        assert np.median([c[name] for c in plain]) > 98


def test_pose_agrees_with_the_landmarks_of_video_frames(
    measured: Measured, shared: Path, photos_of: Any
) -> None:
    """Five landmarks and the mesh are two ways to the same angles; a person's proportions move the first's
    pitch by some 10°."""
    faces = photos_of(shared / "data/ytf-dev", range(7, 2700, 30))
    found = measured.assess([face.crop() for face in faces])
    yaw, pitch, roll = head_pose(np.stack([face.landmarks for face in faces])).T
    got = {name: np.array([f[name] for f in found]) for name in ("yaw_deg", "pitch_deg", "roll_deg")}
    assert np.corrcoef(got["yaw_deg"], yaw)[0, 1] > 0.9
    assert 0.6 < np.polyfit(yaw, got["yaw_deg"], 1)[0] < 1.1
    assert np.corrcoef(got["pitch_deg"], pitch)[0, 1] > 0.4
    assert np.median(np.abs(got["pitch_deg"] - pitch)) < 9
    assert np.median(np.abs(got["roll_deg"] - roll)) < 5
