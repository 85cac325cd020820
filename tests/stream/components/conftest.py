"""Real faces as crops, and what measures them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.engines.models.eyes import EyeOpening
from facesieve.engines.models.facemesh import FaceMesh
from facesieve.engines.models.occlusion import Occlusion
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.zoo.store import Store
from facesieve.stream.align import align
from facesieve.stream.components import Measured
from facesieve.stream.errors import WeightsUnavailable
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import F32, U8, Crop, Detections, Frame


@dataclass(frozen=True)
class Photo:
    """A picture with one face. box: (4,), landmarks: (5, 2) px."""

    rgb: U8
    box: F32
    landmarks: F32

    def crop(self, change: Callable[[U8], U8] = lambda rgb: rgb, scale: float = 1.0) -> Crop:
        """The face cut out after a change of the picture, and of its size."""
        rgb = np.ascontiguousarray(change(self.rgb))
        if scale != 1:
            rgb = np.asarray(
                cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
            )
        found = Detections(
            (self.box * scale)[None].astype(np.float32),
            np.ones(1, np.float32),
            ((self.landmarks + 0.5) * scale - 0.5)[None].astype(np.float32),
        )
        made = align(Frame("test", 0, 0.0, None, ArrayPicture(rgb)), found, 0, 1)
        assert isinstance(made, Crop)
        return made


def photos(folder: Path, rows: Sequence[int]) -> list[Photo]:
    """Rows of a folder's faces.csv."""
    with (folder / "faces.csv").open() as file:
        table = list(csv.DictReader(file))
    made = []
    for row in (table[i] for i in rows):
        x, y, w, h = (float(row[name]) for name in "xywh")
        marks = [[float(row[f"lx{i}"]), float(row[f"ly{i}"])] for i in range(5)]
        rgb = cv2.imread(str(folder / "images" / row["file"]))[..., ::-1]
        made.append(Photo(rgb, np.array([x, y, x + w, y + h]), np.array(marks)))
    return made


@pytest.fixture(scope="session")
def measured() -> Iterator[Measured]:
    """The assessor that ships; skips where the mesh cannot be fetched."""
    store = Store()
    try:
        mesh = store.path("face-mesh")
    except WeightsUnavailable as missing:
        if os.environ.get("FACESIEVE_REQUIRE_ALL"):
            pytest.fail(f"{missing}, and FACESIEVE_REQUIRE_ALL is set")
        pytest.skip(str(missing))
    with Measured(
        FaceMesh(OpenVinoEngine(mesh, pixels=FaceMesh.PIXELS, threads=1)),
        EyeOpening(OpenVinoEngine(store.path("eye-opening"), threads=1)),
        Occlusion(OpenVinoEngine(store.path("occlusion"), threads=1)),
    ) as made:
        yield made


@pytest.fixture(scope="session")
def portraits(shared: Path) -> list[Photo]:
    """Sixteen people of LFW."""
    return photos(shared / "data/lfw-train", range(40, 9640, 600))


@pytest.fixture(scope="session")
def plain(measured: Measured, portraits: list[Photo]) -> Sequence[Mapping[str, float]]:
    """Their components, as they are."""
    return measured.assess([photo.crop() for photo in portraits])


@pytest.fixture(scope="session")
def photos_of() -> Callable[[Path, Sequence[int]], list[Photo]]:
    """See photos."""
    return photos
