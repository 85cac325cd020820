"""Things in front of a face: hands, patches, dark glasses, masks, the edge of the picture."""

from __future__ import annotations

import cv2
import numpy as np

from ...stream.types import F32, U8


def occlude(image: U8, points: F32, kind: str, generator: np.random.Generator) -> U8:
    """A copy of image (h, w, 3) with an occluder of the kind hand, patch, glasses, mask or edge.

    points: (5, 2) landmarks px. Raises ValueError for another kind.
    """
    eyes = float(np.hypot(*(points[1] - points[0])))
    if kind == "edge":
        return _cut(image, points, eyes, generator)
    cover = np.zeros(image.shape[:2], np.uint8)
    if kind == "hand":
        _hand(cover, points.mean(0), eyes, generator)
        colour = _skin(image, points, eyes) * generator.uniform(0.75, 1.1)
    elif kind == "patch":
        centre = points.mean(0) + generator.normal(0, 0.7, 2) * eyes
        axes = generator.uniform(0.25, 0.9, 2) * eyes
        cv2.ellipse(
            cover, (tuple(map(float, centre)), tuple(axes * 2), float(generator.uniform(0, 180))), 255, -1
        )
        colour = generator.uniform(0, 255, 3)
    elif kind == "glasses":
        for eye in points[:2]:
            size = (eyes * generator.uniform(0.6, 0.85), eyes * generator.uniform(0.4, 0.6))
            cv2.ellipse(cover, (tuple(map(float, eye)), size, 0.0), 255, -1)
        bridge = [tuple(int(v) for v in eye) for eye in points[:2]]
        cv2.line(cover, bridge[0], bridge[1], 255, max(1, int(eyes * 0.08)))
        colour = generator.uniform(0, 50, 3)
    elif kind == "mask":
        outline = points[2] + eyes * np.array(
            [(-1, -0.25), (0, -0.35), (1, -0.25), (0.85, 1.1), (0, 1.6), (-0.85, 1.1)]
        )
        cv2.fillPoly(cover, [outline.astype(np.int32)], 255)
        colour = generator.choice([np.array([150, 190, 220.0]), np.full(3, 235.0), np.full(3, 30.0)])
    else:
        raise ValueError(f"expected hand, patch, glasses, mask or edge, got {kind!r}")
    return _paint(image, cover, colour, eyes, generator)


def _paint(image: U8, cover: U8, colour: np.ndarray, eyes: float, generator: np.random.Generator) -> U8:
    """Colour with soft shading and soft edges where cover is set."""
    coarse = generator.normal(0, 22, (4, 4)).astype(np.float32)
    shade = cv2.resize(coarse, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
    alpha = cv2.GaussianBlur(cover, (0, 0), max(0.6, eyes * 0.02)).astype(np.float32)[..., None] / 255
    surface = np.asarray(colour, np.float32) + shade[..., None]
    return np.asarray(np.clip(image * (1 - alpha) + surface * alpha, 0, 255), np.uint8)


def _skin(image: U8, points: F32, eyes: float) -> np.ndarray:
    """Mean colour of the cheeks."""
    middle = points.mean(0)
    x, y, reach = int(middle[0]), int(middle[1]), max(1, int(eyes * 0.4))
    region = image[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
    return np.asarray(region.reshape(-1, 3).mean(0)) if region.size else np.full(3, 128.0)


def _hand(cover: U8, middle: np.ndarray, eyes: float, generator: np.random.Generator) -> None:
    """A palm with four fingers, from any side."""
    turn = generator.uniform(0, 2 * np.pi)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    palm = middle + generator.normal(0, 0.6, 2) * eyes + along * eyes * generator.uniform(0.3, 1.3)
    cv2.circle(cover, tuple(int(v) for v in palm), int(eyes * generator.uniform(0.4, 0.6)), 255, -1)
    for finger in np.linspace(-0.38, 0.38, 4):
        base = palm + across * finger * eyes
        tip = (
            base
            - along * eyes * generator.uniform(0.8, 1.3)
            + across * finger * eyes * generator.uniform(0, 1)
        )
        ends = (tuple(int(v) for v in base), tuple(int(v) for v in tip))
        cv2.line(cover, *ends, 255, max(2, int(eyes * generator.uniform(0.16, 0.24))), cv2.LINE_AA)


def _cut(image: U8, points: F32, eyes: float, generator: np.random.Generator) -> U8:
    """Black beyond a vertical or horizontal line through the face: a face that leaves the picture."""
    cut, side = image.copy(), int(generator.integers(4))
    reach = eyes * generator.uniform(0.2, 1.0)
    x, y = points.mean(0)
    if side == 0:
        cut[:, : max(0, int(x - reach))] = 0
    elif side == 1:
        cut[:, max(0, int(x + reach)) :] = 0
    elif side == 2:
        cut[: max(0, int(y - reach)), :] = 0
    else:
        cut[max(0, int(y + reach)) :, :] = 0
    return cut
