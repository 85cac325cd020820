"""Cut a face out of a frame: the aligned 112×112 chip and a portrait, both from one region of the frame."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from .geometry import ARCFACE_POINTS
from .types import CHIP_PX, U8, Crop, Detections, Frame, Rejection

MAX_OUTSIDE = 0.5
"""A chip with more than this share outside the frame is refused."""
MIN_SIDE_PX = 8.0
"""A chip whose side is less than this many frame pixels is refused: the five points (nearly) coincide."""
_EVEN_SAMPLES = 4
_MAX_SAMPLES = 8


def align(
    frame: Frame,
    detections: Detections,
    index: int,
    track: int,
    *,
    margin: float = 0.4,
    portrait: bool = True,
) -> Crop | Rejection:
    """Cut detection `index` out of its frame, or say why it cannot be.

    portrait: whether to keep one. margin: share of the box's width and height added to it on each side, as
    far as the frame reaches, ≥ 0.

    The picture's region is fetched once and never reaches over the frame, so no landmarks, however wrong,
    make it larger than the frame. Refused are, as TRUNCATED: a box or landmarks that are not finite, a box
    without a pixel inside the frame, a chip more than MAX_OUTSIDE of which lies outside the frame (landmarks
    far away, a face larger than the frame). As SMALL: an empty box, points that coincide, a chip of fewer
    than MIN_SIDE_PX frame pixels a side.
    """
    box, points = detections.boxes[index].tolist(), detections.landmarks[index].tolist()
    width, height = frame.picture.width, frame.picture.height
    placed = _place(box, points, width, height)
    if isinstance(placed, Rejection):
        return placed
    to_frame, outside, (x0, y0, x1, y1) = placed
    if portrait:
        shown = _portrait_bounds(box, margin, width, height)
        x0, y0, x1, y1 = min(x0, shown[0]), min(y0, shown[1]), max(x1, shown[2]), max(y1, shown[3])
    region = frame.picture.region(x0, y0, x1, y1)
    picture = None
    if portrait:
        # A copy: a view would hold the whole region in memory as long as the portrait lives.
        picture = region[shown[1] - y0 : shown[3] - y0, shown[0] - x0 : shown[2] - x0].copy()
    return Crop(
        track=track,
        frame_index=frame.index,
        pts_s=frame.pts_s,
        wall_s=frame.wall_s,
        chip=resample(region, to_frame - ((0, 0, x0), (0, 0, y0))),
        portrait=picture,
        portrait_origin=(shown[0], shown[1]) if portrait else (0, 0),
        box=detections.boxes[index].copy(),
        landmarks=detections.landmarks[index].copy(),
        detection_score=float(detections.scores[index]),
        eye_distance_px=math.dist(points[0], points[1]),
        truncated=outside,
    )


def _place(
    box: list[float], points: list[list[float]], width: int, height: int
) -> tuple[npt.NDArray[np.float64], float, tuple[int, int, int, int]] | Rejection:
    """Where the chip lies in the frame: (2, 3) chip to frame, the share outside, the bounds to fetch."""
    if not all(map(math.isfinite, itertools.chain(box, *points))):
        return Rejection.TRUNCATED
    if box[2] <= box[0] or box[3] <= box[1]:
        return Rejection.SMALL
    if box[2] <= 0 or box[3] <= 0 or box[0] >= width or box[1] >= height:
        return Rejection.TRUNCATED
    turn = _chip_turn(points)
    if all(point == points[0] for point in points) or abs(turn) * MIN_SIDE_PX > CHIP_PX:
        return Rejection.SMALL
    if abs(turn) * 1e9 < 1:
        return Rejection.TRUNCATED
    back = 1 / turn
    origin = _mean(points) - back * _CHIP_MEAN
    corners = [back * corner + origin for corner in _CORNERS]
    outside = outside_share([(corner.real, corner.imag) for corner in corners], width, height)
    if outside > MAX_OUTSIDE:
        return Rejection.TRUNCATED
    to_frame = np.array([[back.real, -back.imag, origin.real], [back.imag, back.real, origin.imag]])
    return to_frame, outside, _chip_bounds(corners, width, height)


def _chip_turn(points: list[list[float]]) -> complex:
    """Rotation and scale from frame to chip as one complex number: geometry.similarity for a single face,
    where plain numbers are ten times as fast as arrays of five."""
    middle = _mean(points)
    across = [complex(x, y) - middle for x, y in points]
    spread = sum(abs(z) ** 2 for z in across)
    return sum(z.conjugate() * t for z, t in zip(across, _CHIP_POINTS, strict=True)) / (spread or 1.0)


def _mean(points: list[list[float]]) -> complex:
    return complex(sum(x for x, _ in points), sum(y for _, y in points)) / len(points)


_CHIP_MEAN = _mean(ARCFACE_POINTS.tolist())
_CHIP_POINTS = [complex(x, y) - _CHIP_MEAN for x, y in ARCFACE_POINTS.tolist()]
_CORNERS = [complex(x, y) for x, y in itertools.product((-0.5, CHIP_PX - 0.5), repeat=2)]
_CORNERS[2:] = _CORNERS[:1:-1]  # in order around the chip


def resample(image: U8, to_image: npt.NDArray[np.float64]) -> U8:
    """(112, 112, 3) chip of an image (h, w, 3) in one resampling, black outside.

    to_image: (2, 3), a similarity from chip to image pixels; s is its scale, image pixels a chip pixel. s ≤
    1 is plain bilinear. For s > 1 a chip pixel is the image, taken as a field of unit squares, averaged over
    a square of side s. A bilinear sample is that average over a unit square, so n² of them, n = ⌈s⌉, cover
    the large one; spaced √((s²−1)/(n²−1)) they have the second moment (s²+1)/12 of the exact average for
    every s (and are the tiling itself at whole s), so sharpness does not jump where shrinking begins. From n
    = 4 on (an eye distance of 105 px) even spacing, s/n, is as good within 2 % of the kernel's width, and
    one warp makes all samples. n ends at 8 (280 px): 64 spread samples leave little to alias.
    """
    # OpenCV warps four channels twice as fast as three, to the same values.
    rgba = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), np.uint8)
    return np.asarray(cv2.cvtColor(_resample(rgba, to_image), cv2.COLOR_RGBA2RGB), np.uint8)


def _resample(image: U8, to_image: npt.NDArray[np.float64]) -> U8:
    s = math.hypot(to_image[0, 0], to_image[1, 0])
    n = min(max(math.ceil(s - 1e-6), 1), _MAX_SAMPLES)
    if n == 1:
        return _bilinear(image, to_image, CHIP_PX)
    if n >= _EVEN_SAMPLES:
        finer = to_image / (n, n, 1)
        finer[:, 2] += to_image[:, :2].sum(1) * (1 / n - 1) / 2
        samples = _bilinear(image, finer, CHIP_PX * n)
        return np.asarray(cv2.resize(samples, (CHIP_PX, CHIP_PX), interpolation=cv2.INTER_AREA), np.uint8)
    total = np.zeros((CHIP_PX, CHIP_PX, 4), np.float32)
    offsets = (np.arange(n) - (n - 1) / 2) * math.sqrt((s * s - 1) / (n * n - 1)) / s
    for dy in offsets:
        for dx in offsets:
            shifted = to_image.copy()
            shifted[:, 2] += to_image[:, :2] @ (dx, dy)
            cv2.accumulate(_bilinear(image, shifted, CHIP_PX), total)
    return np.asarray(cv2.convertScaleAbs(total, alpha=1 / (n * n)), np.uint8)


def _bilinear(image: U8, to_image: npt.NDArray[np.float64], side: int) -> U8:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, to_image, (side, side), flags=flags, borderValue=0), np.uint8)


def outside_share(corners: Sequence[tuple[float, float]], width: int, height: int) -> float:
    """Share, in [0, 1], of a convex quadrilateral's area that lies outside a width × height frame.

    corners: four (x, y) px in order around it. Exact: clipped to the frame edge by edge (Sutherland and
    Hodgman, "Reentrant polygon clipping", 1974).
    """
    xs, ys = zip(*corners, strict=True)
    if min(*xs, *ys) >= -0.5 and max(xs) <= width - 0.5 and max(ys) <= height - 0.5:
        return 0.0
    polygon = list(corners)
    whole = _area(polygon)
    for axis, edge, sign in ((0, -0.5, 1.0), (0, width - 0.5, -1.0), (1, -0.5, 1.0), (1, height - 0.5, -1.0)):
        inside = [sign * (point[axis] - edge) for point in polygon]
        if all(depth >= 0 for depth in inside):
            continue
        kept: list[tuple[float, float]] = []
        for i, (x, y) in enumerate(polygon):
            before, now = inside[i - 1], inside[i]
            if (before >= 0) != (now >= 0):
                px, py = polygon[i - 1]
                t = before / (before - now)
                kept.append((px + t * (x - px), py + t * (y - py)))
            if now >= 0:
                kept.append((x, y))
        polygon = kept
        if not polygon:
            return 1.0
    return min(max(1.0 - _area(polygon) / whole, 0.0), 1.0) if whole > 0 else 0.0


def _area(polygon: list[tuple[float, float]]) -> float:
    # Relative to one corner: a polygon far from the origin would lose its area to rounding.
    ox, oy = polygon[0]
    shifted = [(x - ox, y - oy) for x, y in polygon]
    return abs(sum(shifted[i - 1][0] * y - x * shifted[i - 1][1] for i, (x, y) in enumerate(shifted))) / 2


def _portrait_bounds(box: list[float], margin: float, width: int, height: int) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box
    pad_x, pad_y = margin * (x1 - x0), margin * (y1 - y0)
    return (
        math.floor(max(x0 - pad_x, 0)),
        math.floor(max(y0 - pad_y, 0)),
        math.ceil(min(x1 + pad_x, width)),
        math.ceil(min(y1 + pad_y, height)),
    )


def _chip_bounds(corners: list[complex], width: int, height: int) -> tuple[int, int, int, int]:
    # One pixel more all around for the bilinear neighbours.
    xs, ys = [corner.real for corner in corners], [corner.imag for corner in corners]
    return (
        math.floor(max(min(xs) - 1, 0)),
        math.floor(max(min(ys) - 1, 0)),
        math.ceil(min(max(xs) + 2, width)),
        math.ceil(min(max(ys) + 2, height)),
    )
