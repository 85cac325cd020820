"""A quality score from what can be measured on a face directly: no network, no weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from .ports import Closing
from .pose import face_pose
from .types import U8, Crop, Quality

EXPONENTS = MappingProxyType(
    {"sharpness": 0.34, "size": 0.12, "pose": 0.10, "exposure": 0.03, "truncation": 0.16, "detection": 0.25}
)
"""Weights of the geometric mean; they add up to 1. See AnalyticalScorer."""
HALF_SHARPNESS = 1.0
"""Mean absolute high-pass, in grey levels, at which sharpness is one half."""
SIZE_PX = 16.0
"""Eye distance, in px of the frame, at which size is 1 − 1/e."""

_FLOOR = 1e-3
_FACE = (slice(24, 104), slice(16, 96))
_EYES = (slice(40, 64), slice(24, 88))
_EYES_TO_FACE = 1.2


class AnalyticalScorer(Closing):
    """Scores crops by the weighted geometric mean of six factors, each in [0, 1], higher is better.

    sharpness: x/(x + HALF_SHARPNESS), x = mean |luma − 3×3 mean of luma| in grey levels, the lesser of that
        over the face of the chip and 1/1.2 of that over the strip of the eyes (1.2 is their usual ratio: so a
        hand before the mouth or a beard can't stand in for eyes that are not sharp). The chip's scale is the
        same for every face, so what counts is the detail that was really resolved: too few native pixels,
        defocus and upscaled video all lower it alike, and a large soft face gains nothing over a small crisp
        one of the same detail. (High-pass energy as focus measure: Pertuz, Puig and Garcia, "Analysis of
        focus measure operators for shape-from-focus", 2013; the difference from a mean filter is also a
        feature of ISO/IEC 29794-5.) Sensor noise raises it, darkness lowers it.
    size: 1 − exp(−d/SIZE_PX), d the eye distance in frame pixels (the inter-eye distance of ISO/IEC 29794-5,
        but saturating where recognition from 112 px chips does, at 35–50 px).
    pose: cos²(yaw)·cos²(pitch)·cos²(roll), zero beyond 90° (head pose of ISO/IEC 29794-5, one factor an
        angle), from the landmarks by head_pose.
    exposure: H/8·(1 − under − over), H the entropy of the face's luma histogram in bits, under and over the
        shares of luma ≤ 25 and ≥ 247 (dynamic range, under- and over-exposure of ISO/IEC 29794-5).
    truncation: 1 − the share of the chip outside the frame.
    detection: the detector's confidence.

    None of these is conformant with the standard, which measures on other crops. Score = Π max(c, .001)^w
    over EXPONENTS, uncalibrated. Those are a rounded fit (benchmarks/analytical_exponents.py) to LFW
    faces that were shrunk, compressed, blurred, moved, badly lit or cut at random and detected anew by YuNet:
    highest rank correlation with the mean similarity, under a MobileFaceNet, to other pictures of the person,
    yaws weighted evenly (.72; best found .73). Two are held back on purpose: detection at .25, because
    detectors scale their confidence differently (unbound it took .7), and SIZE_PX above its best fit (10),
    because LFW holds no face large enough to show where size stops to count. Pose is rounded up: few LFW
    faces turn far. What it cannot see: closed eyes, and what covers a face without blurring its eyes.
    """

    @property
    def name(self) -> str:
        return "analytical-1"

    def score(self, crops: Sequence[Crop]) -> Sequence[Quality]:
        """One Quality a crop, in order; [] for []."""
        if not crops:
            return []
        return [self._quality(dict(zip(EXPONENTS, row, strict=True))) for row in _measured(crops)]

    def _quality(self, parts: dict[str, float]) -> Quality:
        logs = (weight * math.log(max(parts[name], _FLOOR)) for name, weight in EXPONENTS.items())
        return Quality(score=math.exp(sum(logs)), model=self.name, factors=MappingProxyType(parts))


def factors(crops: Sequence[Crop]) -> dict[str, npt.NDArray[np.float64]]:
    """The parts of the score, by name: (n,) float64 in [0, 1] each, for n ≥ 1 crops."""
    columns = np.array(_measured(crops), np.float64).T
    return dict(zip(EXPONENTS, columns, strict=True))


def _measured(crops: Sequence[Crop]) -> list[tuple[float, ...]]:
    """The parts of each crop, in the order of EXPONENTS."""
    rows: list[tuple[float, ...]] = []
    for crop in crops:
        luma = np.asarray(cv2.cvtColor(crop.chip, cv2.COLOR_RGB2GRAY), np.uint8)
        detail = _detail(luma)
        rows.append(
            (
                detail / (detail + HALF_SHARPNESS),
                1 - math.exp(-crop.eye_distance_px / SIZE_PX),
                math.prod(_facing(angle) for angle in face_pose(crop.landmarks.tolist())),
                _exposure(luma[_FACE]),
                1 - crop.truncated,
                min(max(crop.detection_score, 0.0), 1.0),
            )
        )
    return rows


def sharpness(chip: U8) -> float:
    """The factor of that name, of a chip (112, 112, 3) RGB by itself: in [0, 1], higher is sharper."""
    detail = _detail(np.asarray(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY), np.uint8))
    return detail / (detail + HALF_SHARPNESS)


def _facing(radians: float) -> float:
    return max(math.cos(radians), 0.0) ** 2 if math.isfinite(radians) else 0.0


def _detail(luma: U8) -> float:
    """Mean absolute difference of a chip (112, 112) from its 3×3 mean, in grey levels, over face and eyes."""
    levels = luma.astype(np.float32)
    detail = cv2.absdiff(levels, cv2.blur(levels, (3, 3)))
    return min(cv2.mean(detail[_FACE])[0], cv2.mean(detail[_EYES])[0] / _EYES_TO_FACE)


def _exposure(face: U8) -> float:
    counts = np.bincount(face.ravel(), minlength=256)
    clipped = int(counts[:26].sum()) + int(counts[247:].sum())
    used = counts[counts > 0]
    bits = math.log2(face.size) - float(used @ np.log2(used)) / face.size
    return max(0.0, bits / 8 * (1 - clipped / face.size))
