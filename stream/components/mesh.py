"""What a component may look at: one face as the 468-point mesh sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ..types import F32, U8, Crop

MESH_PX: Final = 192
EYE_CORNERS: Final = ((33, 133), (362, 263))
CHIN: Final = 152


class MeshFinder(Protocol):
    """Finds the mesh in crops: in the portrait, or in the chip where there is none."""

    def faces(self, crops: Sequence[Crop]) -> tuple[U8, npt.NDArray[np.float64], F32, F32]:
        """Pictures, to_frame, points and presence of n crops, each cut out level with its eyes.

        pictures: (n, 192, 192, 3) uint8 RGB, about 41 px between the eyes, black where the crop does not
        reach. to_frame: (n, 2, 3) from pixel centres of a picture to those of the frame. points: (n, 468, 3),
        x and y in pixel centres of the picture, z on the same scale, smaller nearer to the camera. presence:
        (n,) in [0, 1].
        """

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Face:
    """One crop and what MeshFinder found of it.

    luma: (112, 112) uint8 of the chip. eyes: (2, 2) the middles of the eye on the image's left and of the
    other, each between its corners. apart_px: from eye to eye. height_px: T of ISO/IEC 29794-5, from between
    the eyes to the chin. All in px of the picture.
    """

    crop: Crop
    luma: U8
    picture: U8
    to_frame: npt.NDArray[np.float64]
    points: F32
    presence: float
    eyes: npt.NDArray[np.float64]
    apart_px: float
    height_px: float

    @staticmethod
    def of(crop: Crop, picture: U8, to_frame: npt.NDArray[np.float64], points: F32, presence: float) -> Face:
        """The face of one crop, with what several components need."""
        corners = points[[*EYE_CORNERS[0], *EYE_CORNERS[1], CHIN], :2].tolist()
        (ax, ay), (bx, by), (cx, cy), (dx, dy), (chin_x, chin_y) = corners
        left, right = ((ax + bx) / 2, (ay + by) / 2), ((cx + dx) / 2, (cy + dy) / 2)
        middle = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
        return Face(
            crop=crop,
            luma=np.asarray(cv2.cvtColor(crop.chip, cv2.COLOR_RGB2GRAY), np.uint8),
            picture=picture,
            to_frame=to_frame,
            points=points,
            presence=presence,
            eyes=np.array((left, right)),
            apart_px=max(math.dist(left, right), 1e-6),
            height_px=max(math.dist(middle, (chin_x, chin_y)), 1e-6),
        )

    def distance(self, a: int, b: int) -> float:
        """Between two vertices, in the plane, px of the picture."""
        return math.dist(self.points[a, :2].tolist(), self.points[b, :2].tolist())

    @property
    def scale(self) -> float:
        """Pixels of the frame in one of the picture."""
        return math.hypot(self.to_frame[0, 0], self.to_frame[1, 0])

    def in_frame(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """(m, 2) points of the picture in pixel centres of the frame."""
        return np.asarray(points @ self.to_frame[:, :2].T + self.to_frame[:, 2])
