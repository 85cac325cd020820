"""Eye patches of real faces and how far their lids are apart, as the teacher sees them.

The teacher is the iris network of MediaPipe (Ablavatski et al., "Real-time Pupil Tracking from Monocular
Video for Digital Puppetry", 2020; Apache-2.0), which draws the outline of an eye. It takes 1.2 ms a face; the
468-point mesh alone is blind to closed lids: it draws them open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...engines.models.facemesh import FaceMesh, crop
from ...engines.openvino import OpenVinoEngine
from ...engines.signature import PixelInput
from ...stream.components.eyes import eye_patches
from ...stream.geometry import ARCFACE_POINTS
from ...stream.testing import ArrayPicture
from ...stream.types import F32, U8
from ..faces import Faces, read_faces
from ..occlusion.samples import is_held_out

PATCH_PX: Final = 48
PATCH_WIDTHS: Final = 3.3
"""Training patches reach half as far again as the head's, so that they can be moved and turned."""
_TEACHER_PX, _TEACHER_WIDTHS = 64, 2.3
_OUTLINE = 71
_CORNERS, _LIDS = (0, 8), (4, 12)
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Eyes:
    """patches: (n, 48, 48, 3). openings: (n,) distance of the lids in widths of the eye. held_out: (n,)."""

    patches: U8
    openings: F32
    held_out: NDArray[np.bool_]


class IrisTeacher:
    """openings((n, 64, 64, 3) patches, inner corner to the left) → (n,)."""

    def __init__(self, weights: Path) -> None:
        pixels = PixelInput(
            std=(255.0, 255.0, 255.0), layout="NHWC", batch=None, height=_TEACHER_PX, width=_TEACHER_PX
        )
        self._engine = OpenVinoEngine(weights, pixels=pixels, threads=1)

    def openings(self, patches: U8) -> F32:
        """Middle of the upper to middle of the lower lid over corner to corner."""
        name = next(iter(self._engine.inputs))
        outputs = self._engine.infer({name: np.ascontiguousarray(patches)})
        outline = next(v for v in outputs.values() if v.size == len(patches) * _OUTLINE * 3)
        points = outline.reshape(len(patches), _OUTLINE, 3)[..., :2]
        lids = np.linalg.norm(points[:, _LIDS[0]] - points[:, _LIDS[1]], axis=1)
        return np.asarray(lids / np.linalg.norm(points[:, _CORNERS[0]] - points[:, _CORNERS[1]], axis=1))


def read_eyes(folders: Sequence[Path], mesh: Path, iris: Path, held_out: float) -> Eyes:
    """Both eyes of every face. mesh, iris: the networks' files. held_out: share of the people."""
    finder = FaceMesh(OpenVinoEngine(mesh, pixels=FaceMesh.PIXELS, threads=1))
    teacher = IrisTeacher(iris)
    patches: list[U8] = []
    openings: list[F32] = []
    held: list[bool] = []
    for folder in folders:
        faces = read_faces(folder)
        for start in range(0, len(faces), _BATCH):
            rows = range(start, min(start + _BATCH, len(faces)))
            pictures = np.stack([_mesh_crop(faces, row) for row in rows])
            points, _ = finder.points(pictures)
            pairs = list(zip(pictures, points, strict=True))
            patches += [eye_patches(picture, dense, PATCH_PX, PATCH_WIDTHS) for picture, dense in pairs]
            seen = [eye_patches(picture, dense, _TEACHER_PX, _TEACHER_WIDTHS) for picture, dense in pairs]
            openings.append(teacher.openings(np.concatenate(seen)))
            for row in rows:
                held += [is_held_out(str(faces.identities[row]), held_out)] * 2
    return Eyes(np.concatenate(patches), np.concatenate(openings), np.array(held))


def _mesh_crop(faces: Faces, row: int) -> U8:
    """As at run time, from landmarks alone: the box is three eye distances high."""
    landmarks = ARCFACE_POINTS if faces.landmarks is None else faces.landmarks[row]
    return crop(ArrayPicture(faces.image(row)), box_about(landmarks), landmarks[:2])[0]


def box_about(landmarks: F32) -> F32:
    """(4,) the face box that a detector would give: 3 eye-to-mouth heights square, about the nose."""
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    half = 1.3 * float(np.linalg.norm(mouth - eyes)) * np.ones(2)
    middle = eyes * 0.45 + mouth * 0.55
    return np.asarray(np.concatenate([middle - half, middle + half]), np.float32)
