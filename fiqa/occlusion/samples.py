"""Training samples: real chips, synthetic occluders, and then what cameras and codecs do to both."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ...stream.align import resample
from ...stream.geometry import ARCFACE_POINTS, similarity
from ...stream.types import CHIP_PX, F32, U8
from ..faces import Faces, read_faces
from .occluders import Kind, Surfaces, cast_shadow, occlude, spectacles

MAP_PX: Final = 28
"""Side of the map of cover that the network learns; a cell is 4×4 pixels of the chip."""


@dataclass(frozen=True, slots=True)
class Chips:
    """Real chips (n, 112, 112, 3), whether each one's person is held out (n,), and what occluders are made
    of, from people of the same side: index with a bool."""

    chips: U8
    held_out: NDArray[np.bool_]
    surfaces: Sequence[Surfaces]

    def rows(self, held_out: bool) -> NDArray[np.intp]:
        """Of the chips on one side."""
        return np.flatnonzero(self.held_out == held_out)


def is_held_out(person: str, share: float) -> bool:
    """The same people whatever else is in the data."""
    return zlib.crc32(person.encode()) % 1000 < share * 1000


def read_chips(folders: Sequence[Path], share: float, seed: int = 0) -> Chips:
    """All faces of the folders. share: of the people that is held out, in [0, 1]."""
    generator = np.random.default_rng(seed)
    chips: list[U8] = []
    held: list[bool] = []
    textures: tuple[list[U8], list[U8]] = ([], [])
    for folder in folders:
        faces = read_faces(folder)
        for row in range(len(faces)):
            image = faces.image(row)
            held.append(is_held_out(str(faces.identities[row]), share))
            chips.append(_chip(faces, row, image))
            if faces.landmarks is not None and min(image.shape[:2]) >= 100:
                textures[held[-1]].append(_corner(image, generator))
    sides = np.array(held)
    every = np.stack(chips)
    surfaces = [
        Surfaces(np.stack(textures[side]), np.ascontiguousarray(every[sides == bool(side), 60:84, 30:54]))
        for side in (0, 1)
    ]
    return Chips(every, sides, surfaces)


def _chip(faces: Faces, row: int, image: U8) -> U8:
    if faces.landmarks is None:
        return image
    return resample(image, similarity(ARCFACE_POINTS, faces.landmarks[row]))


def _corner(image: U8, g: np.random.Generator) -> U8:
    """(64, 64, 3) from a corner of a picture, where there is background, hair or clothing."""
    side = min(image.shape[:2]) // 3
    y = 0 if g.random() < 0.4 else image.shape[0] - side
    x = 0 if g.random() < 0.5 else image.shape[1] - side
    return np.asarray(cv2.resize(image[y : y + side, x : x + side], (64, 64)), np.uint8)


def sample(
    chip: U8, surfaces: Surfaces, generator: np.random.Generator, kinds: Sequence[Kind], free: float
) -> tuple[U8, F32]:
    """A training picture (112, 112, 3) and its cover (28, 28) in [0, 1].

    kinds: one, sometimes two of them cover the face. free: probability that nothing does; shadows and clear
    spectacles come with either.
    """
    g = generator
    if g.random() < 0.5:
        chip = np.ascontiguousarray(chip[:, ::-1])
    if g.random() < 0.15:
        chip = spectacles(chip, g)
    if g.random() < 0.2:
        chip = cast_shadow(chip, g)
    cover = np.zeros((CHIP_PX, CHIP_PX), np.float32)
    if g.random() >= free:
        for _ in range(1 if g.random() < 0.85 else 2):
            chip, more = occlude(chip, kinds[int(g.integers(len(kinds)))], surfaces, g)
            cover = np.maximum(cover, more)
    chip, cover = _frame(chip, cover, g)
    chip = camera(chip, g)
    cell = CHIP_PX // MAP_PX
    return chip, cover.reshape(MAP_PX, cell, MAP_PX, cell).mean((1, 3))


def _frame(chip: U8, cover: F32, g: np.random.Generator) -> tuple[U8, F32]:
    """Landmarks err: the face moves, turns and grows a little."""
    matrix = cv2.getRotationMatrix2D((55.5, 55.5), float(g.normal(0, 4)), float(np.exp(g.normal(0, 0.04))))
    matrix[:, 2] += g.normal(0, 2, 2)
    size = (CHIP_PX, CHIP_PX)
    moved = cv2.warpAffine(chip, matrix, size, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8), np.asarray(cv2.warpAffine(cover, matrix, size), np.float32)


def camera(chip: U8, generator: np.random.Generator) -> U8:
    """Light, blur, few pixels, noise and JPEG, each at random: nothing of an occluder's edge may tell."""
    g = generator
    if g.random() < 0.5:
        levels = 255 * (np.arange(256) / 255) ** np.exp(g.normal(0, 0.3)) * np.exp(g.normal(-0.1, 0.25))
        chip = np.asarray(cv2.LUT(chip, np.clip(levels, 0, 255).astype(np.uint8)), np.uint8)
    if g.random() < 0.2:
        tint = np.exp(g.normal(0, 0.1, 3))
        chip = np.clip(chip * tint, 0, 255).astype(np.uint8)
    if g.random() < 0.1:
        chip = np.repeat(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    if g.random() < 0.4:
        chip = np.asarray(cv2.GaussianBlur(chip, (0, 0), float(g.uniform(0.4, 2.0))), np.uint8)
    if g.random() < 0.4:
        whole = chip.shape[0]
        side = int(g.integers(whole // 4, whole))
        small = cv2.resize(chip, (side, side), interpolation=cv2.INTER_AREA)
        chip = np.asarray(cv2.resize(small, (whole, whole), interpolation=cv2.INTER_LINEAR), np.uint8)
    if g.random() < 0.4:
        grain = g.standard_normal(chip.shape[:2], np.float32)[..., None] * np.float32(g.gamma(1.5, 4))
        chip = np.clip(chip + grain, 0, 255).astype(np.uint8)
    if g.random() < 0.5:
        _, data = cv2.imencode(".jpg", chip, [cv2.IMWRITE_JPEG_QUALITY, int(g.integers(20, 95))])
        chip = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return chip
