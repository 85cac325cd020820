"""Things in front of an aligned face, each with the exact share of every pixel that it covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import cv2
import numpy as np

from ...stream.geometry import ARCFACE_POINTS
from ...stream.types import CHIP_PX, F32, U8
from .hands import EYES_PX, hand

Kind = Literal["hand", "object", "mask", "sunglasses", "scarf", "hat", "blob"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_GRID = np.mgrid[:CHIP_PX, :CHIP_PX].astype(np.float32)


@dataclass(frozen=True, slots=True)
class Surfaces:
    """What occluders are made of. textures: (n, 64, 64, 3) patches of backgrounds and clothes. skins: (m, 24,
    24, 3) patches of cheeks."""

    textures: U8
    skins: U8


def occlude(chip: U8, kind: Kind, surfaces: Surfaces, generator: np.random.Generator) -> tuple[U8, F32]:
    """The chip (112, 112, 3) with an occluder, and the share (112, 112) of each pixel it covers.

    The occluder may throw a shadow on the face, which covers nothing.
    """
    g = generator
    cover, surface = _drawn(chip, kind, surfaces, g)
    image = chip.astype(np.float32)
    if g.random() < 0.5:
        image *= 1 - _shadow(cover, g)[..., None]
    alpha = np.clip(cv2.GaussianBlur(cover, (0, 0), float(g.uniform(0.3, 0.9))), 0, 1)
    if kind == "sunglasses":
        alpha *= float(g.uniform(0.8, 1.0))
    image = image * (1 - alpha[..., None]) + surface * alpha[..., None]
    return np.clip(image, 0, 255).astype(np.uint8), np.asarray(alpha, np.float32)


def cast_shadow(chip: U8, generator: np.random.Generator) -> U8:
    """A shadow of something that is not in the picture: looks like an edge, covers nothing."""
    shape = hand(generator)[0] if generator.random() < 0.5 else _blob(generator)
    return (chip * (1 - _shadow(shape, generator)[..., None])).astype(np.uint8)


def spectacles(chip: U8, generator: np.random.Generator) -> U8:
    """Clear spectacles: thin frames, sometimes a glint; the eyes stay visible."""
    g = generator
    image = chip.copy()
    colour = (
        tuple(map(int, g.uniform(0, 90, 3))) if g.random() < 0.8 else tuple(map(int, g.uniform(90, 230, 3)))
    )
    size = (int(EYES_PX * g.uniform(0.34, 0.46) * 16), int(EYES_PX * g.uniform(0.24, 0.36) * 16))
    thick = int(g.integers(1, 3))
    for eye in ARCFACE_POINTS[:2] + g.normal(0, 1, 2).astype(np.float32):
        centre = tuple(int(v * 16) for v in eye)
        cv2.ellipse(image, centre, size, 0, 0, 360, colour, thick, cv2.LINE_AA, 4)
    left, right = ARCFACE_POINTS[:2]
    inner = [
        (int(left[0] * 16) + size[0], int(left[1] * 16)),
        (int(right[0] * 16) - size[0], int(right[1] * 16)),
    ]
    cv2.line(image, inner[0], inner[1], colour, thick, cv2.LINE_AA, 4)
    return image


def _drawn(chip: U8, kind: Kind, surfaces: Surfaces, g: np.random.Generator) -> tuple[F32, F32]:
    """Cover (112, 112) and surface (112, 112, 3)."""
    match kind:
        case "hand":
            cover, shade = hand(g)
            return cover, _skin(chip, surfaces, g) * shade[..., None]
        case "mask":
            return _mask(g), _cloth(surfaces, g, plain=0.8)
        case "sunglasses":
            return _sunglasses(g), _lens(g)
        case "scarf":
            edge = EYES_PX * g.uniform(0.6, 1.7) + ARCFACE_POINTS[0, 1] + _wave(g)
            return (_GRID[0] - edge + 0.5).clip(0, 1), _cloth(surfaces, g, plain=0.2)
        case "hat":
            edge = ARCFACE_POINTS[0, 1] + EYES_PX * g.uniform(-0.7, 0.25) + _wave(g)
            return (edge - _GRID[0] + 0.5).clip(0, 1), _cloth(surfaces, g, plain=0.5)
        case "blob":
            return _blob(g), _cloth(surfaces, g, plain=0.2)
        case "object":
            return _box(g), _cloth(surfaces, g, plain=0.6)


def _skin(chip: U8, surfaces: Surfaces, g: np.random.Generator) -> F32:
    """Skin of this face or another's, in its own light."""
    own = np.asarray(chip[60:84, 30:54] if g.random() < 0.5 else chip[60:84, 60:84])
    patch = own if g.random() < 0.6 else surfaces.skins[int(g.integers(len(surfaces.skins)))]
    grain = cv2.resize(patch, (CHIP_PX, CHIP_PX), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    mean = patch.reshape(-1, 3).mean(0)
    detail = (grain - mean) * float(g.uniform(0.2, 1.0))
    colour = mean * g.uniform(0.7, 1.3) + g.normal(0, 6, 3)
    return np.asarray((detail + colour) * _light(g)[..., None], np.float32)


def _cloth(surfaces: Surfaces, g: np.random.Generator, plain: float) -> F32:
    """One colour with folds, or a patch of some picture. plain: probability of the first."""
    if g.random() < plain:
        base = g.choice([g.uniform(0, 60), g.uniform(180, 250), g.uniform(0, 255)])
        colour = np.full(3, base) + g.normal(0, 25, 3)
        return np.asarray(colour * _light(g)[..., None] + g.normal(0, 2, (CHIP_PX, CHIP_PX, 1)), np.float32)
    patch = surfaces.textures[int(g.integers(len(surfaces.textures)))]
    zoom = int(g.integers(24, 65))
    part = patch[:zoom, :zoom]
    whole = cv2.resize(part, (CHIP_PX, CHIP_PX), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.asarray(whole * g.uniform(0.6, 1.2), np.float32)


def _light(g: np.random.Generator) -> F32:
    """(112, 112) slow changes about 1: folds and uneven light."""
    coarse = g.normal(0, g.uniform(0.03, 0.16), (int(g.integers(3, 7)),) * 2).astype(np.float32)
    folds = cv2.resize(coarse, (CHIP_PX, CHIP_PX), interpolation=cv2.INTER_CUBIC)
    return np.asarray(1 + folds, np.float32)


def _shadow(cover: F32, g: np.random.Generator) -> F32:
    """Darkening in [0, .6] by something of the given shape, moved and softened."""
    shift = np.array([[1, 0, g.normal(0, 6)], [0, 1, g.normal(3, 6)]])
    moved = cv2.warpAffine(cover, shift, (CHIP_PX, CHIP_PX))
    return np.asarray(
        cv2.GaussianBlur(moved, (0, 0), float(g.uniform(1, 7))) * g.uniform(0.15, 0.6), np.float32
    )


def _wave(g: np.random.Generator) -> F32:
    """(112,) an uneven, tilted line about 0."""
    x = np.linspace(-1, 1, CHIP_PX)
    tilt, bow = g.normal(0, 5), g.normal(0, 6)
    return np.asarray(
        tilt * x + bow * (x**2 - 0.3) + g.normal(0, 1.5) * np.sin(x * g.uniform(3, 9)), np.float32
    )


def _fill(points: np.ndarray) -> F32:
    canvas = np.zeros((CHIP_PX, CHIP_PX), np.uint8)
    cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.asarray(canvas / 255, np.float32)


def _mask(g: np.random.Generator) -> F32:
    """Over nose and mouth, sometimes pulled below the nose."""
    top = g.uniform(-0.45, 0.1) if g.random() < 0.8 else g.uniform(0.2, 0.5)
    outline = [(-1.05, top + 0.15), (-0.4, top), (0, top - 0.12), (0.4, top), (1.05, top + 0.15)]
    outline += [(0.95, 1.1), (0.45, 1.6), (-0.45, 1.6), (-0.95, 1.1)]
    nose = ARCFACE_POINTS[2] + g.normal(0, 2, 2)
    return _fill(nose + EYES_PX * np.array(outline) * g.uniform(0.9, 1.15) + g.normal(0, 1, (9, 2)))


def _sunglasses(g: np.random.Generator) -> F32:
    wide, high = EYES_PX * g.uniform(0.36, 0.5), EYES_PX * g.uniform(0.22, 0.42)
    power = g.uniform(2, 5)
    cover = np.zeros((CHIP_PX, CHIP_PX), np.float32)
    drop = g.normal(1, 1.5)
    for x, y in ARCFACE_POINTS[:2]:
        radius = (np.abs((_GRID[1] - x) / wide) ** power + np.abs((_GRID[0] - y - drop) / high) ** power) ** (
            1 / power
        )
        cover = np.maximum(cover, ((1 - radius) * high + 0.5).clip(0, 1))
    y = float(ARCFACE_POINTS[0, 1] + drop - high * 0.4)
    bar = (np.abs(_GRID[0] - y) < g.uniform(0.8, 2)) & (np.abs(_GRID[1] - 56) < EYES_PX * 1.3)
    return np.asarray(np.maximum(cover, bar), np.float32)


def _lens(g: np.random.Generator) -> F32:
    """Dark, with the sky's gradient and perhaps a highlight."""
    base = g.uniform(5, 70) + g.normal(0, 8, 3)
    ramp = 1 + g.uniform(-0.5, 0.9) * (_GRID[0] - 52) / 12
    surface = base * ramp[..., None].clip(0.2, 3)
    if g.random() < 0.5:
        spot = ARCFACE_POINTS[int(g.integers(2))] + g.normal(0, 5, 2)
        glow = np.exp(-(((_GRID[1] - spot[0]) / 3) ** 2 + ((_GRID[0] - spot[1]) / 2) ** 2))
        surface = surface + 200 * glow[..., None] * g.uniform(0.3, 1)
    return np.asarray(surface, np.float32)


def _blob(g: np.random.Generator) -> F32:
    corners = int(g.integers(5, 12))
    angles = np.sort(g.uniform(0, 2 * np.pi, corners))
    radius = EYES_PX * g.uniform(0.25, 1.1) * g.uniform(0.6, 1.2, corners)
    centre = np.array([56.0, 68.0]) + g.normal(0, 26, 2)
    return _fill(centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None])


def _box(g: np.random.Generator) -> F32:
    """A telephone, a sheet, a cup, a microphone: a turned rectangle with rounded corners, or an ellipse."""
    half = EYES_PX * g.uniform(0.25, 1.1, 2)
    turn = g.uniform(0, np.pi)
    centre = np.array([56.0, 70.0]) + g.normal(0, 26, 2)
    dx, dy = _GRID[1] - centre[0], _GRID[0] - centre[1]
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    power = 2.0 if g.random() < 0.4 else g.uniform(4, 16)
    radius = (np.abs(u / half[0]) ** power + np.abs(v / half[1]) ** power) ** (1 / power)
    return np.asarray(((1 - radius) * half.min() + 0.5).clip(0, 1), np.float32)
