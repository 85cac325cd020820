"""Chips of a data set, one batch at a time, and the face finder for sets without landmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...engines.models.centerface import CenterFace
from ...engines.models.yunet import YuNet
from ...engines.openvino import OpenVinoEngine
from ...engines.zoo.store import Store
from ...stream.geometry import warp_chip
from ...stream.ports import Detector
from ...stream.testing import ArrayPicture
from ...stream.types import CHIP_PX, F32, U8, Frame
from ..faces import CHIP_EYE_DISTANCE_PX, five_points
from .datasets import Dataset

Box = tuple[float, float, float, float]
Finder = Callable[[U8, Box | None], F32 | None]
"""An image (h, w, 3) RGB and where the face is said to be → (5, 2) px, or None if there is no face."""


@dataclass(frozen=True, slots=True)
class Chips:
    """rows: (m,) of the data set. chips: (m, 112, 112, 3). eyes_px: (m,) float32. missing: rows without a
    face that could be aligned."""

    rows: NDArray[np.intp]
    chips: U8
    eyes_px: F32
    missing: tuple[int, ...]


def read_chips(
    dataset: Dataset, rows: NDArray[np.intp], finder: Finder | None, batch: int = 64
) -> Iterator[Chips]:
    """Chips of these rows by the evaluation's plain warp.

    An image of 112×112 without landmarks is a chip; in any other the finder looks for the face. Raises
    SourceError with the path for an image that cannot be read.
    """
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        found, chips, eyes, missing = [], [], [], []
        for row in part:
            image, landmarks = dataset.images[row].read(dataset.files[row]), dataset.images[row].landmarks
            if landmarks is None and image.shape == (CHIP_PX, CHIP_PX, 3):
                chips.append(image)
                eyes.append(CHIP_EYE_DISTANCE_PX)
                found.append(row)
                continue
            if landmarks is None and finder is not None:
                landmarks = finder(image, dataset.images[row].box)
            if landmarks is None or not five_points(landmarks):
                missing.append(int(row))
                continue
            chips.append(warp_chip(image, landmarks))
            eyes.append(float(np.hypot(*(landmarks[1] - landmarks[0]))))
            found.append(row)
        stacked = np.stack(chips) if chips else np.empty((0, CHIP_PX, CHIP_PX, 3), np.uint8)
        yield Chips(np.array(found, np.intp), stacked, np.array(eyes, np.float32), tuple(missing))


def _find(detector: Detector, image: U8, box: Box | None) -> F32 | None:
    """Landmarks of the face nearest to where it should be: the box, or the middle of the image.

    Among faces those count that are at least half as high as the highest; without a box, size goes first.
    """
    found = detector.detect(Frame("still", 0, 0.0, None, ArrayPicture(image)))
    if not len(found):
        return None
    height = found.boxes[:, 3] - found.boxes[:, 1]
    middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    target = np.array([image.shape[1] / 2, image.shape[0] / 2] if box is None else box[:2], np.float32)
    away = np.hypot(*(middle - target).T)
    away[height < height.max() / 2] += 0.0 if box is not None else float(sum(image.shape))
    best = int(np.argmin(away))
    if box is not None and away[best] > max(box[2:]):
        return None
    return np.asarray(found.landmarks[best], np.float32)


def centerface_finder(weights: Path | None = None) -> AbstractContextManager[Finder]:
    """The pipeline's default detector, from the zoo or this file; fetched and compiled at its first use."""
    return _finder(weights, CenterFace)


def yunet_finder(weights: Path) -> AbstractContextManager[Finder]:
    """YuNet from this file."""
    return _finder(weights, YuNet)


@contextmanager
def _finder(weights: Path | None, kind: type[CenterFace] | type[YuNet]) -> Iterator[Finder]:
    made: list[CenterFace | YuNet] = []

    def find(image: U8, box: Box | None) -> F32 | None:
        if not made:
            path = weights or Store().path("centerface")
            made.append(kind(OpenVinoEngine(path, pixels=kind.PIXELS)))
        return _find(made[0], image, box)

    try:
        yield find
    finally:
        for detector in made:
            detector.close()
