"""The 468-point face mesh (Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on
Mobile GPUs", 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ...stream.errors import ModelInvalid
from ...stream.geometry import ARCFACE_POINTS, similarity
from ...stream.ports import Closing, Engine
from ...stream.types import F32, U8, Crop
from ..signature import PixelInput
from .single_stage import pixel_input

SIDE_PX = 192
POINTS = 468
# Vertices: outer and inner corner of the eye on the image's left, then of the other, nose tip, mouth corners.
_EYES, _NOSE_TIP, _MOUTH_CORNERS = ((33, 133), (362, 263)), 1, (61, 291)
_ENLARGE = 1.5
_BATCH = 8
_CHIP_BOX = np.array([4, 22, 109, 127], np.float32)
"""The box a detector gives a face whose chip this is: it reaches below the chip."""


class Region(Protocol):
    """What a crop is cut from: a frame's picture or a part of one."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    def region(self, x0: int, y0: int, x1: int, y1: int) -> U8:
        """(y1−y0, x1−x0, 3) uint8 RGB."""


class FaceMesh(Closing):
    """Dense points of faces whose boxes and eyes are known.

    The crop is MediaPipe's: a square about the box's centre, 1.5 times its longer side, turned so that the
    eyes lie level, 192×192 RGB in [0, 1]. The network gives 468 points (x, y, z) in pixels of the crop and
    the logit of there being a face.
    """

    PIXELS: ClassVar[PixelInput] = PixelInput(
        std=(255.0, 255.0, 255.0), layout="NHWC", batch=None, height=SIDE_PX, width=SIDE_PX
    )

    def __init__(self, engine: Engine) -> None:
        self._input = pixel_input(engine, "FaceMesh")
        sizes = {name: shape[-1] for name, (shape, _) in engine.outputs.items() if shape}
        named = {size: name for name, size in sizes.items()}
        if sorted(named, key=str) != [1, 3 * POINTS]:
            raise ModelInvalid(f"FaceMesh: expected outputs of {3 * POINTS} and 1 values, got {sizes}")
        self._points, self._presence = named[3 * POINTS], named[1]
        self._engine = engine

    def five_landmarks(self, picture: Region, boxes: F32, eyes: F32) -> tuple[F32, F32]:
        """Landmarks (n, 5, 2), px of the frame, and presence (n,); an eye is the mean of its corners."""
        dense, presence = self.locate(picture, boxes, eyes)
        eye_points = dense[:, _EYES].mean(2)
        rest = dense[:, [_NOSE_TIP, *_MOUTH_CORNERS]]
        return np.concatenate([eye_points, rest], 1).astype(np.float32), presence

    def locate(self, picture: Region, boxes: F32, eyes: F32) -> tuple[F32, F32]:
        """Points (n, 468, 2) in pixel centres of the frame and presence (n,) in [0, 1].

        boxes: (n, 4) and eyes: (n, 2, 2), left then right in the image, in pixels of the frame.
        """
        points, presence = np.zeros((len(boxes), POINTS, 2), np.float32), np.zeros(len(boxes), np.float32)
        for start in range(0, len(boxes), _BATCH):
            part = slice(start, start + _BATCH)
            found = [crop(picture, b, e) for b, e in zip(boxes[part], eyes[part], strict=True)]
            raw, presence[part] = self._infer(np.stack([pixels for pixels, _ in found]))
            back = np.stack([matrix for _, matrix in found])
            points[part] = raw[..., :2] @ back[:, :, :2].transpose(0, 2, 1) + back[:, None, :, 2] - 0.5
        return points, presence

    def points(self, crops: U8) -> tuple[F32, F32]:
        """Points (n, 468, 3) of ready crops (n, 192, 192, 3), and presence (n,) in [0, 1].

        x and y in pixel centres of the crop; z on the same scale, smaller nearer to the camera, relative to
        the head's middle.
        """
        points, presence = np.zeros((len(crops), POINTS, 3), np.float32), np.zeros(len(crops), np.float32)
        for start in range(0, len(crops), _BATCH):
            part = slice(start, start + _BATCH)
            points[part], presence[part] = self._infer(crops[part])
        points[..., :2] -= 0.5
        return points, presence

    def faces(self, crops: Sequence[Crop]) -> tuple[U8, npt.NDArray[np.float64], F32, F32]:
        """The mesh of faces already cut out: pictures (n, 192, 192, 3), matrices (n, 2, 3) from their pixel
        centres to the frame's, points (n, 468, 3) as `points` has them, presence (n,).

        A picture is cut from the portrait, or from the chip where a crop has none; black beyond.
        """
        cut = [_cut(one) for one in crops]
        pictures = np.stack([picture for picture, _ in cut])
        dense, presence = self.points(pictures)
        return pictures, np.stack([matrix for _, matrix in cut]), dense, presence

    def _infer(self, crops: U8) -> tuple[F32, F32]:
        """(n, 468, 3) as the network has them, x and y from the crop's edge, and presence (n,)."""
        outputs = self._engine.infer({self._input: crops})
        raw = outputs[self._points].reshape(len(crops), POINTS, 3)
        if not np.isfinite(raw).all():
            raise ModelInvalid("FaceMesh: the network gave points that are not numbers")
        presence = 1 / (1 + np.exp(-outputs[self._presence].reshape(-1).astype(np.float64)))
        return raw, presence.astype(np.float32)

    def close(self) -> None:
        self._engine.close()


def crop(picture: Region, box: F32, eyes: F32) -> tuple[U8, npt.NDArray[np.float64]]:
    """The crop (192, 192, 3) RGB of one face, and the (2, 3) matrix from its pixels to the frame's.

    The matrix measures both from the edge. Only the face's own region of the frame is converted.
    """
    side = max(1.0, _ENLARGE * float(max(box[2] - box[0], box[3] - box[1])))
    along = (eyes[1] - eyes[0]).astype(np.float64)
    angle = np.arctan2(along[1], along[0])
    scale = side / SIDE_PX
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    centre = (box[:2].astype(np.float64) + box[2:]) / 2
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix = np.concatenate([turn, (centre - turn @ [SIDE_PX / 2, SIDE_PX / 2])[:, None]], 1)
    corners = (
        np.array([[0, 0], [0, SIDE_PX], [SIDE_PX, 0], [SIDE_PX, SIDE_PX]]) @ matrix[:, :2].T + matrix[:, 2]
    )
    # The part of the turned square that lies in the picture; warpAffine leaves the rest black.
    bounds = np.array([picture.width, picture.height])
    low = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, bounds - 1)
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 1, low + 1, bounds)
    region = picture.region(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    # warpAffine measures from pixel centres: half a pixel of the crop in, half a pixel of the region out.
    centres = matrix.copy()
    centres[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5 - low
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # OpenCV warps four channels twice as fast as three, to the same values.
    rgba = cv2.cvtColor(region, cv2.COLOR_RGB2RGBA)
    warped = cv2.warpAffine(rgba, centres, (SIDE_PX, SIDE_PX), flags=flags)
    return np.asarray(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), np.uint8), matrix


@dataclass(frozen=True, slots=True)
class _Pixels:
    """An array as a Region; views, no copies."""

    rgb: U8

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    def region(self, x0: int, y0: int, x1: int, y1: int) -> U8:
        return self.rgb[y0:y1, x0:x1]


def _cut(one: Crop) -> tuple[U8, npt.NDArray[np.float64]]:
    """The picture of a crop, and the matrix from its pixel centres to the frame's."""
    if one.portrait is not None:
        origin = np.array(one.portrait_origin, np.float32)
        box = one.box - np.tile(origin, 2)
        picture, edges = crop(_Pixels(one.portrait), box, one.landmarks[:2] - origin)
        to_frame, shift = np.eye(2), origin.astype(np.float64)
    else:
        picture, edges = crop(_Pixels(one.chip), _CHIP_BOX, ARCFACE_POINTS[:2])
        similar = similarity(ARCFACE_POINTS, one.landmarks)
        to_frame, shift = similar[:, :2], similar[:, 2]
    turn = edges[:, :2]
    at = edges[:, 2] + turn @ [0.5, 0.5] - 0.5
    return picture, np.concatenate([to_frame @ turn, (to_frame @ at + shift)[:, None]], 1)
