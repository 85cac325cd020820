"""How each component answers to a controlled change of real faces."""

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.stream.align import align
from facesieve.stream.analytical import EXPONENTS, HALF_SHARPNESS, SIZE_PX, AnalyticalScorer
from facesieve.stream.ports import QualityScorer
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import Crop, Detections, Frame, Quality

Face = tuple[np.ndarray, np.ndarray]
Change = Callable[[np.ndarray, np.ndarray], Face]


@pytest.fixture(scope="module")
def faces(shared: Path) -> list[Face]:
    """Twenty sharp, well lit faces: image (h, w, 3) RGB and landmarks (5, 2)."""
    with (shared / "data/lfw-train/faces.csv").open(newline="") as table:
        large = [row for row in csv.DictReader(table) if float(row["h"]) > 130]
    rows = sorted(large, key=lambda row: -float(row["score"]))[:20]
    found = []
    for row in rows:
        image = cv2.imread(str(shared / "data/lfw-train/images" / row["file"]))[..., ::-1].copy()
        points = np.array([[float(row[f"l{axis}{i}"]) for axis in "xy"] for i in range(5)], np.float32)
        found.append((image, points))
    return found


def crop(image: np.ndarray, points: np.ndarray, confidence: float = 0.9) -> Crop:
    box = np.concatenate([points.min(0), points.max(0)])
    found = Detections(
        box[None].astype(np.float32), np.array([confidence], np.float32), points[None].astype(np.float32)
    )
    made = align(Frame("test", 0, 0.0, None, ArrayPicture(image)), found, 0, 1, portrait=False)
    assert isinstance(made, Crop)
    return made


def score(faces: list[Face], change: Change = lambda image, points: (image, points)) -> list[Quality]:
    return list(AnalyticalScorer().score([crop(*change(*face)) for face in faces]))


def part(qualities: list[Quality], name: str) -> np.ndarray:
    return np.array([quality.factors[name] for quality in qualities])


def total(qualities: list[Quality]) -> np.ndarray:
    return np.array([quality.score for quality in qualities])


def resized(factor: float, interpolation: int = cv2.INTER_AREA) -> Change:
    def change(image: np.ndarray, points: np.ndarray) -> Face:
        height, width = image.shape[:2]
        size = (round(width * factor), round(height * factor))
        ratio = np.array(size) / (width, height)
        return cv2.resize(image, size, interpolation=interpolation), (points + 0.5) * ratio - 0.5

    return change


def blurred(sigma: float) -> Change:
    return lambda image, points: (cv2.GaussianBlur(image, (0, 0), sigma), points)


def lit(gain: float) -> Change:
    return lambda image, points: (np.clip(image * gain, 0, 255).round().astype(np.uint8), points)


def test_it_fits_the_port_and_scores_nothing_of_nothing() -> None:
    scorer: QualityScorer = AnalyticalScorer()
    assert list(scorer.score([])) == []
    assert scorer.name == "analytical-1"


def test_the_score_is_the_documented_product_in_any_batch(faces: list[Face]) -> None:
    together = score(faces)
    assert sum(EXPONENTS.values()) == pytest.approx(1)
    for quality, face in zip(together, faces, strict=True):
        assert set(quality.factors) == set(EXPONENTS)
        assert all(0 <= value <= 1 for value in quality.factors.values())
        product = np.prod([quality.factors[name] ** weight for name, weight in EXPONENTS.items()])
        assert quality.score == pytest.approx(product)
        assert (quality.model, quality.calibrated) == ("analytical-1", None)
        alone = score([face])[0]
        assert alone.factors == quality.factors
        assert alone.score == pytest.approx(quality.score, rel=1e-12)


def test_blur_takes_sharpness_and_little_else(faces: list[Face]) -> None:
    levels = [score(faces), *(score(faces, blurred(sigma)) for sigma in (1, 2, 4))]
    sharpness = np.stack([part(level, "sharpness") for level in levels])
    assert (np.diff(sharpness, axis=0) < 0).all()
    assert (sharpness[3] < 0.6 * sharpness[0]).all()
    assert (np.diff(np.stack([total(level) for level in levels]), axis=0) < 0).all()
    for name in ("size", "pose", "truncation", "detection"):
        assert (part(levels[3], name) == part(levels[0], name)).all()
    assert np.abs(part(levels[3], "exposure") - part(levels[0], "exposure")).max() < 0.15


def test_downscaling_takes_size_and_the_detail_that_went_with_it(faces: list[Face]) -> None:
    levels = [score(faces), *(score(faces, resized(factor)) for factor in (0.5, 0.25))]
    for name in ("size", "sharpness"):
        assert (np.diff(np.stack([part(level, name) for level in levels]), axis=0) < 0).all()
    eye = np.array([np.hypot(*(points[1] - points[0])) for _, points in faces])
    assert part(levels[2], "size") == pytest.approx(1 - np.exp(-eye / 4 / SIZE_PX), abs=0.02)
    assert (total(levels[1]) < total(levels[0])).all()
    assert (total(levels[2]) < 0.9 * total(levels[0])).all()
    assert part(levels[2], "pose") == pytest.approx(part(levels[0], "pose"), abs=1e-3)


def test_enlarging_gains_no_sharpness(faces: list[Face]) -> None:
    """What was small and is blown up fourfold is large but no sharper."""
    small = [resized(0.25)(*face) for face in faces]
    blown = score(small, resized(4, cv2.INTER_LINEAR))
    assert part(blown, "sharpness") == pytest.approx(part(score(small), "sharpness"), rel=0.1)
    assert (total(blown) < total(score(faces))).all()


@pytest.mark.parametrize(("gains"), [(1.0, 0.4, 0.15, 0.05), (1.0, 2.5, 5.0, 12.0)], ids=["dark", "bright"])
def test_bad_light_takes_exposure(faces: list[Face], gains: tuple[float, ...]) -> None:
    levels = [score(faces, lit(gain)) for gain in gains]
    exposure = np.stack([part(level, "exposure") for level in levels])
    assert (np.diff(exposure, axis=0) < 0).mean() > 0.95
    assert (exposure[-1] < 0.3 * exposure[0]).all()
    assert (total(levels[-1]) < total(levels[0])).all()


def test_cutting_takes_truncation(faces: list[Face]) -> None:
    def cut(share: float) -> Change:
        return lambda image, points: (image[: round(image.shape[0] * (1 - share))].copy(), points)

    levels = [score(faces), score(faces, cut(0.3)), score(faces, cut(0.4))]
    kept = np.stack([part(level, "truncation") for level in levels])
    assert (np.diff(kept, axis=0) < 0).all()
    truncated = np.array([crop(*cut(0.4)(*face)).truncated for face in faces])
    assert kept[2] == pytest.approx(1 - truncated)
    assert (total(levels[2]) < total(levels[0])).all()


def test_turned_landmarks_take_pose_alone(faces: list[Face]) -> None:
    def nose_moved(share: float) -> Change:
        def change(image: np.ndarray, points: np.ndarray) -> Face:
            moved = points.copy()
            moved[2] += share * (points[1] - points[0])
            return image, moved

        return change

    levels = [score(faces, nose_moved(share)) for share in (0.0, 0.5)]
    straight = part(levels[0], "pose") > 0.9
    assert straight.sum() >= 5
    assert (part(levels[1], "pose")[straight] < 0.7 * part(levels[0], "pose")[straight]).all()
    assert (part(levels[1], "size") == part(levels[0], "size")).all()


def test_a_mirrored_picture_is_as_good(faces: list[Face]) -> None:
    def mirrored(image: np.ndarray, points: np.ndarray) -> Face:
        flipped = (points * (-1, 1) + (image.shape[1] - 1, 0))[[1, 0, 2, 4, 3]]
        return image[:, ::-1].copy(), flipped

    straight, flipped = score(faces), score(faces, mirrored)
    assert total(flipped) == pytest.approx(total(straight), rel=0.02)
    assert part(flipped, "pose") == pytest.approx(part(straight, "pose"), abs=1e-4)


def test_a_rotated_picture_loses_by_its_roll(faces: list[Face]) -> None:
    def rotated(image: np.ndarray, points: np.ndarray) -> Face:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -45, 1)
        turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC)
        return turned, points @ matrix[:, :2].T + matrix[:, 2]

    straight, turned = score(faces), score(faces, rotated)
    upright = part(straight, "pose") > 0.9
    ratio = part(turned, "pose")[upright] / part(straight, "pose")[upright]
    assert ratio == pytest.approx(0.5, abs=0.2)
    assert part(turned, "sharpness") == pytest.approx(part(straight, "sharpness"), rel=0.15)


def test_confidence_counts(faces: list[Face]) -> None:
    sure, unsure = AnalyticalScorer().score([crop(*faces[0], confidence=c) for c in (0.9, 0.3)])
    assert unsure.factors["detection"] == pytest.approx(0.3)
    assert unsure.score == pytest.approx(sure.score * (1 / 3) ** EXPONENTS["detection"])


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_face_scores_low_but_orders_still(faces: list[Face], level: int) -> None:
    def blank(image: np.ndarray, points: np.ndarray) -> Face:
        return np.full_like(image, level), points

    large, small = score(faces[:1], blank)[0], score([resized(0.3)(*faces[0])], blank)[0]
    assert large.factors["sharpness"] == large.factors["exposure"] == 0
    assert 0 < small.score < large.score < 0.5 * score(faces[:1])[0].score


def test_a_hand_is_no_sharpness(faces: list[Face]) -> None:
    """Detail that covers the mouth of a blurred face does not make up for its eyes."""
    hand = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)

    def covered(image: np.ndarray, points: np.ndarray) -> Face:
        soft, _ = blurred(3)(image, points)
        x, y = points[3:].mean(0).round().astype(int)
        place = soft[y - 12 : y + 48, max(x - 50, 0) : x + 50]
        place[:] = hand[: place.shape[0], : place.shape[1]]
        return soft, points

    assert (part(score(faces, covered), "sharpness") < 0.75 * part(score(faces), "sharpness")).all()


def test_sharpness_of_known_detail() -> None:
    """A checkerboard of ±a differs from its 3×3 mean by a·8/9 everywhere, in the eyes too."""
    board = np.where(np.indices((112, 112)).sum(0) % 2, 138, 118).astype(np.uint8)
    chip = np.repeat(board[..., None], 3, 2)
    points = np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
        np.float32,
    )
    made = Crop(1, 0, 0.0, None, chip, None, (0, 0), np.zeros(4, np.float32), points, 0.9, 60.0, 0.0)
    detail = AnalyticalScorer().score([made])[0].factors["sharpness"]
    assert detail == pytest.approx((80 / 9 / 1.2) / (80 / 9 / 1.2 + HALF_SHARPNESS), abs=0.005)
