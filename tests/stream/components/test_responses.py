"""Each component answers to what it is named after, on real faces, and hardly to anything else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pytest

from facesieve.stream.components import COMPONENTS, DEGREES, Measured
from facesieve.stream.types import Crop

Components = Sequence[Mapping[str, float]]
Change = Callable[[np.ndarray], np.ndarray]


def blurred(sigma: float) -> Change:
    return lambda rgb: cv2.GaussianBlur(rgb, (0, 0), sigma)


def moved(length: int, vertical: bool = False) -> Change:
    kernel = np.full((1, length) if not vertical else (length, 1), 1 / length, np.float32)
    return lambda rgb: cv2.filter2D(rgb, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def lit(gain: float) -> Change:
    return lambda rgb: np.clip(rgb * float(gain), 0, 255).astype(np.uint8)


def jpeg(quality: int) -> Change:
    def compress(rgb: np.ndarray) -> np.ndarray:
        _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)

    return compress


def side_light(rgb: np.ndarray) -> np.ndarray:
    ramp = np.clip(np.linspace(1.6, -0.6, rgb.shape[1]), 0.08, 1)[None, :, None]
    return (rgb * ramp).astype(np.uint8)


def low_contrast(rgb: np.ndarray) -> np.ndarray:
    return (rgb * 0.12 + 110).astype(np.uint8)


def median(components: Components, name: str) -> float:
    return float(np.median([c[name] for c in components]))


# component, what is done to the picture, and the medians at least before and at most after it
RESPONSES = [
    ("sharpness", blurred(2), 85, 40),
    ("sharpness", moved(9), 85, 75),
    ("motion_blur_prevention", moved(7), 85, 30),
    ("motion_blur_prevention", moved(7, vertical=True), 85, 30),
    ("compression_artifacts", jpeg(30), 85, 35),
    ("under_exposure_prevention", lit(0.06), 95, 20),
    ("over_exposure_prevention", lit(4), 60, 10),
    ("dynamic_range", low_contrast, 80, 65),
    ("luminance_mean", lit(0.15), 85, 15),
    ("luminance_mean", lit(5), 85, 60),
    ("luminance_variance", low_contrast, 60, 20),
    ("illumination_uniformity", side_light, 75, 60),
]


@pytest.mark.parametrize(("name", "change", "before", "after"), RESPONSES)
def test_response(
    measured: Measured,
    portraits: list[Any],
    plain: Components,
    name: str,
    change: Change,
    before: float,
    after: float,
) -> None:
    changed = measured.assess([photo.crop(change) for photo in portraits])
    assert median(plain, name) >= before
    assert median(changed, name) <= after
    fell = [c[name] < p[name] for p, c in zip(plain, changed, strict=True)]
    assert np.mean(fell) >= 0.8


def test_defocus_is_not_taken_for_motion_nor_darkness_for_blur(
    measured: Measured, portraits: list[Any], plain: Components
) -> None:
    defocused = measured.assess([photo.crop(blurred(2)) for photo in portraits])
    assert median(defocused, "motion_blur_prevention") > 75
    dark = measured.assess([photo.crop(lit(0.4)) for photo in portraits])
    assert abs(median(dark, "sharpness") - median(plain, "sharpness")) < 8


def test_every_component_is_measured_within_its_range(plain: Components) -> None:
    for one in plain:
        assert one.keys() >= (set(COMPONENTS) - {"background_uniformity"}) | set(DEGREES)
        for name, value in one.items():
            low, high = (-180, 180) if name in DEGREES else (0, 100)
            assert low <= value <= high, name


def test_batches_give_what_single_crops_give(
    measured: Measured, portraits: list[Any], plain: Components
) -> None:
    assert list(measured.assess([])) == []
    (alone,) = measured.assess([portraits[3].crop()])
    for name, value in alone.items():
        assert value == pytest.approx(plain[3][name], abs=3), name  # bfloat16 rounds by the batch


def test_size_follows_pixels(measured: Measured, portraits: list[Any]) -> None:
    large = measured.assess([photo.crop(scale=2) for photo in portraits])
    small = measured.assess([photo.crop(scale=0.5) for photo in portraits])
    assert median(large, "inter_eye_distance") > 55
    assert median(small, "inter_eye_distance") < 12
    assert abs(median(large, "head_size") - median(small, "head_size")) < 5
    assert median(small, "sharpness") < median(large, "sharpness") - 5


def test_a_face_at_the_edge_of_the_frame_is_cut(
    measured: Measured, portraits: list[Any], plain: Components
) -> None:
    def without_left(crop: Crop) -> Crop:
        x = int(crop.box[0] + 0.2 * (crop.box[2] - crop.box[0])) - crop.portrait_origin[0]
        assert crop.portrait is not None
        origin = crop.portrait_origin[0] + x, crop.portrait_origin[1]
        return dataclasses.replace(crop, portrait=crop.portrait[:, x:], portrait_origin=origin)

    def without_top(crop: Crop) -> Crop:
        y = int(crop.box[1] + 0.2 * (crop.box[3] - crop.box[1])) - crop.portrait_origin[1]
        assert crop.portrait is not None
        origin = crop.portrait_origin[0], crop.portrait_origin[1] + y
        return dataclasses.replace(crop, portrait=crop.portrait[y:], portrait_origin=origin)

    left = measured.assess([without_left(photo.crop()) for photo in portraits])
    assert (
        median(left, "leftward_crop_of_the_face_image")
        < 5
        < 60
        < median(plain, "leftward_crop_of_the_face_image")
    )
    assert median(left, "rightward_crop_of_the_face_image") > 60
    top = measured.assess([without_top(photo.crop()) for photo in portraits])
    was = [c["margin_above_of_the_face_image"] for c in plain]
    now = [c["margin_above_of_the_face_image"] for c in top]
    assert np.median(now) < 1
    assert np.mean(np.array(now) < np.array(was)) > 0.9


def test_alignment_falls_with_wrong_landmarks(
    measured: Measured, portraits: list[Any], plain: Components
) -> None:
    def shifted(crop: Crop) -> Crop:
        offset = np.array([0.25, -0.2], np.float32) * crop.eye_distance_px
        return dataclasses.replace(crop, landmarks=crop.landmarks + offset)

    off = measured.assess([shifted(photo.crop()) for photo in portraits])
    assert median(plain, "face_alignment") > 60
    assert median(off, "face_alignment") < 15


def test_a_busy_background_is_not_uniform(
    measured: Measured, portraits: list[Any], plain: Components
) -> None:
    def behind(crop: Crop, colour: Callable[[tuple[int, ...]], np.ndarray]) -> Crop:
        assert crop.portrait is not None
        portrait = crop.portrait.copy()
        cover = np.ones(portrait.shape[:2], np.uint8)
        middle = (crop.box[:2] + crop.box[2:]) / 2 - crop.portrait_origin
        size = (crop.box[2:] - crop.box[:2]) * [1.3, 1.35]
        cv2.ellipse(cover, (middle.tolist(), size.tolist(), 0.0), 0, -1)
        portrait[cover > 0] = colour(portrait.shape)[cover > 0]
        return dataclasses.replace(crop, portrait=portrait)

    def stripes(shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to((40 + 180 * (np.arange(shape[1]) // 6 % 2))[None, :, None], shape).astype(
            np.uint8
        )

    def grey(shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, 150, np.uint8)

    crops = [photo.crop() for photo in portraits]
    calm = measured.assess([behind(crop, grey) for crop in crops])
    busy = measured.assess([behind(crop, stripes) for crop in crops])
    name = "background_uniformity"
    pairs = [(c[name], b[name]) for c, b in zip(calm, busy, strict=True) if name in c and name in b]
    assert len(pairs) >= 12
    assert np.median([c for c, _ in pairs]) > 75
    assert np.median([b for _, b in pairs]) < 15


def test_roll_and_yaw_follow_the_picture(measured: Measured, portraits: list[Any], plain: Components) -> None:
    def turned(photo: Any, degrees: float) -> Crop:
        height, width = photo.rgb.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
        marks = photo.landmarks @ matrix[:, :2].T + matrix[:, 2]
        rgb = cv2.warpAffine(photo.rgb, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        return type(photo)(rgb, photo.box, marks).crop()

    def mirrored(photo: Any) -> Crop:
        width = photo.rgb.shape[1]
        marks = photo.landmarks[[1, 0, 2, 4, 3]] * [-1, 1] + [width - 1, 0]
        x0, y0, x1, y1 = photo.box
        return type(photo)(photo.rgb[:, ::-1], np.array([width - x1, y0, width - x0, y1]), marks).crop()

    for degrees in (-25, 25):
        rolled = measured.assess([turned(photo, degrees) for photo in portraits])
        off = [r["roll_deg"] - p["roll_deg"] - degrees for p, r in zip(plain, rolled, strict=True)]
        assert np.median(np.abs(off)) < 4
        cosines = [math.cos(math.radians(r["roll_deg"])) ** 2 * 100 for r in rolled]
        assert cosines == pytest.approx([r["head_pose_roll"] for r in rolled])
    mirror = measured.assess([mirrored(photo) for photo in portraits])
    off = [m["yaw_deg"] + p["yaw_deg"] for p, m in zip(plain, mirror, strict=True)]
    assert np.median(np.abs(off)) < 4
