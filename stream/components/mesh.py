"""What a component may look at: one face as the 468-point mesh sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

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
    """One crop and what MeshFinder found of it. luma: (112, 112) uint8 of the chip."""

    crop: Crop
    luma: U8
    picture: U8
    to_frame: npt.NDArray[np.float64]
    points: F32
    presence: float

    def distance(self, a: int, b: int) -> float:
        """Between two vertices, in the plane, px of the picture."""
        return float(np.hypot(*(self.points[a, :2] - self.points[b, :2])))

    @property
    def eyes(self) -> F32:
        """(2, 2): the middles of the eye on the image's left and of the other, each between its corners."""
        return np.asarray(self.points[EYE_CORNERS, :2].mean(1))

    @property
    def apart_px(self) -> float:
        """Eye to eye, px of the picture."""
        left, right = self.eyes
        return max(float(np.hypot(*(right - left))), 1e-6)

    @property
    def height_px(self) -> float:
        """T of ISO/IEC 29794-5: from between the eyes to the chin, px of the picture."""
        return max(float(np.hypot(*(self.points[CHIN, :2] - self.eyes.mean(0)))), 1e-6)

    @property
    def scale(self) -> float:
        """Pixels of the frame in one of the picture."""
        return float(np.hypot(self.to_frame[0, 0], self.to_frame[1, 0]))

    def in_frame(self, points: F32) -> npt.NDArray[np.float64]:
        """(m, 2) points of the picture in pixel centres of the frame."""
        return np.asarray(points @ self.to_frame[:, :2].T + self.to_frame[:, 2])
