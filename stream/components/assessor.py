"""The Assessor: every component of every crop, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np

from ..ports import Closing
from ..types import F32, U8, Crop
from .background import background_uniformity
from .detail import compression_artifacts, motion_blur_prevention, sharpness
from .exposure import (
    dynamic_range,
    face_histogram,
    illumination_uniformity,
    luminance_mean,
    luminance_variance,
    over_exposure_prevention,
    under_exposure_prevention,
)
from .expression import expression_neutrality, eyes_open, mouth_closed
from .eyes import eye_patches
from .geometry import (
    crop_margins,
    face_alignment,
    head_angles,
    head_pose_angle,
    head_size,
    inter_eye_distance,
)
from .mesh import Face, MeshFinder

COMPONENTS: Final = (
    "face_alignment",
    "sharpness",
    "motion_blur_prevention",
    "compression_artifacts",
    "under_exposure_prevention",
    "over_exposure_prevention",
    "dynamic_range",
    "luminance_mean",
    "luminance_variance",
    "illumination_uniformity",
    "head_pose_yaw",
    "head_pose_pitch",
    "head_pose_roll",
    "inter_eye_distance",
    "head_size",
    "leftward_crop_of_the_face_image",
    "rightward_crop_of_the_face_image",
    "margin_above_of_the_face_image",
    "margin_below_of_the_face_image",
    "eyes_open",
    "mouth_closed",
    "eyes_visible",
    "mouth_occlusion_prevention",
    "face_occlusion_prevention",
    "expression_neutrality",
    "background_uniformity",
)
"""All that are measured on 0–100, in the order of reports."""
DEGREES: Final = ("yaw_deg", "pitch_deg", "roll_deg")
_BATCH: Final = 8
"""Larger ones are no faster, and a network keeps the memory that its largest took."""


class EyeMeter(Protocol):
    """Tells how far lids are apart."""

    def openings(self, patches: U8) -> F32:
        """(n, 32, 32, 3) of eye_patches → (n,) openings in widths of the eye."""

    def close(self) -> None: ...


class CoverMeter(Protocol):
    """Tells how much of a face is covered."""

    def covered(self, chips: U8) -> F32:
        """(n, 112, 112, 3) → (n, 3) shares of eyes, mouth and face, in [0, 1]."""

    def close(self) -> None: ...


class Measured(Closing):
    """Measures the COMPONENTS and DEGREES of crops. Implements Assessor.

    What needs a portrait (compression, head size, margins) or a visible background is left out of the
    mapping of a crop that has none.
    """

    def __init__(self, mesh: MeshFinder, eyes: EyeMeter, cover: CoverMeter) -> None:
        self._mesh, self._eyes, self._cover = mesh, eyes, cover

    def assess(self, crops: Sequence[Crop]) -> Sequence[Mapping[str, float]]:
        """The components of each crop by name, in order; 0–100, or degrees where a name ends in _deg."""
        found: list[Mapping[str, float]] = []
        for start in range(0, len(crops), _BATCH):
            found += self._assess(crops[start : start + _BATCH])
        return found

    def _assess(self, crops: Sequence[Crop]) -> list[Mapping[str, float]]:
        pictures, to_frame, points, presence = self._mesh.faces(crops)
        patches = [eye_patches(picture, dense) for picture, dense in zip(pictures, points, strict=True)]
        openings = self._eyes.openings(np.concatenate(patches)).reshape(-1, 2)
        angles = head_angles(points, to_frame).tolist()
        covered = self._cover.covered(np.stack([crop.chip for crop in crops]))
        found: list[Mapping[str, float]] = []
        for i, crop in enumerate(crops):
            face = Face.of(crop, pictures[i], to_frame[i], points[i], float(presence[i]))
            found.append(MappingProxyType(_measure(face, angles[i], openings[i], covered[i])))
        return found

    def close(self) -> None:
        self._mesh.close()
        self._eyes.close()
        self._cover.close()


def _measure(face: Face, angles: list[float], openings: F32, covered: F32) -> dict[str, float]:
    counts = face_histogram(face.luma)
    yaw, pitch, roll = angles
    eyes, mouth, whole = (100 * (1 - float(share)) for share in covered)
    values: dict[str, float | None] = {
        "face_alignment": face_alignment(face),
        "sharpness": sharpness(face.luma),
        "motion_blur_prevention": motion_blur_prevention(face.luma),
        "compression_artifacts": compression_artifacts(face.crop),
        "under_exposure_prevention": under_exposure_prevention(counts),
        "over_exposure_prevention": over_exposure_prevention(counts),
        "dynamic_range": dynamic_range(counts),
        "luminance_mean": luminance_mean(counts),
        "luminance_variance": luminance_variance(counts),
        "illumination_uniformity": illumination_uniformity(face.luma),
        "head_pose_yaw": head_pose_angle(yaw),
        "head_pose_pitch": head_pose_angle(pitch),
        "head_pose_roll": head_pose_angle(roll),
        "inter_eye_distance": inter_eye_distance(face.crop.eye_distance_px, yaw),
    }
    if face.crop.portrait is not None:
        values |= {"head_size": head_size(face), **crop_margins(face)}
    values |= {
        "eyes_open": eyes_open(face, openings),
        "mouth_closed": mouth_closed(face),
        "eyes_visible": eyes,
        "mouth_occlusion_prevention": mouth,
        "face_occlusion_prevention": whole,
        "expression_neutrality": expression_neutrality(face),
        "background_uniformity": background_uniformity(face),
        "yaw_deg": yaw,
        "pitch_deg": pitch,
        "roll_deg": roll,
    }
    return {name: float(value) for name, value in values.items() if value is not None}
