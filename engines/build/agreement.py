"""Detection agreement: does a compiled detector find the faces that its fp32 original finds?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from ...stream.errors import ConfigError, GateFailed
from ...stream.geometry import iou
from ...stream.ports import Detector
from ...stream.types import Detections, Frame

SAME_IOU: Final = 0.5
BORDERLINE: Final = 0.1
"""Above the detector's least score: a face nearer to it may be found by one and not by the other."""
LEAST_FACES: Final = 20


@dataclass(frozen=True, slots=True)
class Agreement:
    """How near a detector's faces are to the original's.

    faces: of the original, sure ones (more than BORDERLINE above the least score). found: share of them that
    the compiled detector finds at IoU ≥ .5. confirmed: share of the compiled detector's sure faces that the
    original finds. all_found: share of all faces, sure or not. landmarks_mean, landmarks_p95: distance of the
    five landmarks (their mean) over faces that both find, as a share of the eye distance.
    """

    frames: int
    faces: int
    found: float
    confirmed: float
    all_found: float
    landmarks_mean: float
    landmarks_p95: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Least shares found and confirmed, largest landmark distance (mean, share of the eye distance)."""

    found: float
    landmarks: float


LIMITS: Final = Limits(0.99, 0.03)


def found(detector: Detector, frames: Sequence[Frame]) -> list[Detections]:
    """What the detector finds in each frame."""
    return [detector.detect(frame) for frame in frames]


def agreement(
    original: Sequence[Detections], compiled: Sequence[Detections], least_score: float
) -> Agreement:
    """Of the faces of the same frames. ConfigError for fewer than 20 sure faces."""
    sure = least_score + BORDERLINE
    sure_found: list[bool] = []
    every: list[bool] = []
    confirmed: list[bool] = []
    shifts: list[float] = []
    for a, b in zip(original, compiled, strict=True):
        overlap = iou(a.boxes, b.boxes) if len(a) and len(b) else np.zeros((len(a), len(b)))
        for i in range(len(a)):
            there = bool(len(b)) and overlap[i].max() >= SAME_IOU
            every.append(there)
            if a.scores[i] > sure:
                sure_found.append(there)
            if there:
                eyes = float(np.linalg.norm(a.landmarks[i, 0] - a.landmarks[i, 1]))
                apart = np.linalg.norm(a.landmarks[i] - b.landmarks[overlap[i].argmax()], axis=1).mean()
                shifts.append(float(apart) / max(eyes, 1.0))
        confirmed.extend(
            bool(len(a)) and overlap[:, j].max() >= SAME_IOU for j in np.flatnonzero(b.scores > sure)
        )
    if len(sure_found) < LEAST_FACES:
        raise ConfigError(
            f"expected frames with {LEAST_FACES} sure faces or more to measure on, got {len(sure_found)} "
            f"faces in {len(original)} frames"
        )
    return Agreement(
        frames=len(original),
        faces=len(sure_found),
        found=float(np.mean(sure_found)),
        confirmed=float(np.mean(confirmed)) if confirmed else 0.0,
        all_found=float(np.mean(every)),
        landmarks_mean=float(np.mean(shifts)) if shifts else float("inf"),
        landmarks_p95=float(np.quantile(shifts, 0.95)) if shifts else float("inf"),
    )


def require(got: Agreement, label: str, limits: Limits = LIMITS) -> None:
    """Raise GateFailed, with the figures, unless the detectors agree."""
    shares = got.found >= limits.found and got.confirmed >= limits.found
    if not (shares and got.landmarks_mean <= limits.landmarks):
        raise GateFailed(
            f"{label}: does not find what its original finds: {got.found:.2%} of {got.faces} faces found and "
            f"{got.confirmed:.2%} of its own confirmed (expected ≥ {limits.found:.0%}), landmarks off by "
            f"{got.landmarks_mean:.2%} of the eye distance (expected ≤ {limits.landmarks:.0%}); not installed"
        )


def as_record(got: Agreement) -> dict[str, Any]:
    """For the report beside the model."""
    return {"limits": asdict(LIMITS), **asdict(got)}
