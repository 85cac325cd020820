"""Where in a camera's picture faces are processed, and what nobody may see of it.

Polygons are in shares of the picture's width and height, so that they hold for every resolution: (0, 0) is
the top left corner of the picture, (1, 1) the bottom right one.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Final

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from ..ports import Order, Picture
from ..types import U8, Detections, Frame

Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y) in order, each in [0, 1]; the last is joined to the first."""
Bools = npt.NDArray[np.bool_]

GREY: Final = 128
_SUBPIXEL_BITS: Final = 8
_KEPT_SIZES: Final = 4


def check_polygon(points: Sequence[tuple[float, float]]) -> None:
    """Raises ValueError unless it has three corners or more, all in [0, 1], an area, and no edges that meet
    but at the corner they share."""
    if len(points) < 3:
        raise ValueError(f"expected a polygon of at least 3 points, got {len(points)}")
    for x, y in points:
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ValueError(f"expected points in shares of the picture, 0 to 1, got [{x:g}, {y:g}]")
    n = len(points)
    edges = [(points[i], points[(i + 1) % n]) for i in range(n)]
    for (i, first), (j, second) in itertools.combinations(enumerate(edges), 2):
        if first[0] == first[1] or second[0] == second[1]:
            raise ValueError("expected a polygon without a point that comes twice in a row")
        if j - i == 1 or (i == 0 and j == n - 1):
            if _folds(first, second):
                raise ValueError(f"expected a polygon with an area, it folds back at edge {i + 1}")
        elif _meet(first, second):
            raise ValueError(f"expected a polygon that does not cross itself, edges {i + 1} and {j + 1} meet")


def _checked(points: Polygon) -> Polygon:
    check_polygon(points)
    return points


CheckedPolygon = Annotated[Polygon, Field(max_length=64), AfterValidator(_checked)]
"""A polygon of a configuration or a request: [[x, y], …]."""


def inside(points: npt.NDArray[np.floating], polygon: Polygon) -> Bools:
    """(n, 2) points → (n,): whether each lies in the polygon, by the parity of the edges that a ray to the
    right crosses. A point on the very edge may count either way."""
    x, y = points[:, 0, None].astype(np.float64), points[:, 1, None].astype(np.float64)
    a = np.asarray(polygon, np.float64)
    b = np.roll(a, -1, 0)
    spans = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(a[:, 1] == b[:, 1], 1.0, b[:, 1] - a[:, 1])
    crossing = a[:, 0] + (y - a[:, 1]) / rise * (b[:, 0] - a[:, 0])
    return np.asarray((spans & (x < crossing)).sum(1) % 2 == 1, np.bool_)


class Areas:
    """Zones and masks of one camera; for several threads.

    A face is processed if the centre of its box lies in a zone (or there are none), and in no mask. Masked
    pixels are grey in every picture, whatever part of it is asked for and at whatever scale.
    """

    def __init__(self, zones: Sequence[Polygon] = (), masks: Sequence[Polygon] = ()) -> None:
        for polygon in (*zones, *masks):
            check_polygon(polygon)
        self.zones, self.masks = tuple(zones), tuple(masks)
        self._painted: OrderedDict[tuple[int, int], Bools] = OrderedDict()
        self._lock = threading.Lock()

    def __eq__(self, other: object) -> bool:
        """Whether the same is processed and hidden, by the same polygons in the same order."""
        if not isinstance(other, Areas):
            return NotImplemented
        return (self.zones, self.masks) == (other.zones, other.masks)

    def __hash__(self) -> int:
        return hash((self.zones, self.masks))

    def attend(self, frame: Frame, found: Detections) -> Bools:
        """(n,): which of the frame's faces are processed."""
        size = np.array([frame.picture.width, frame.picture.height], np.float64)
        centres = (found.boxes[:, :2].astype(np.float64) + found.boxes[:, 2:]) / 2 / size
        kept = np.full(len(found), not self.zones)
        for zone in self.zones:
            kept |= inside(centres, zone)
        for mask in self.masks:
            kept &= ~inside(centres, mask)
        return kept

    def hide(self, picture: Picture) -> Picture:
        """The picture with its masks painted."""
        return MaskedPicture(picture, self) if self.masks else picture

    def masked(self, width: int, height: int) -> Bools:
        """(height, width): the pixels that a mask touches, and those beside them, of a picture of that size.

        One pixel more on each side, as scaling mixes neighbours.
        """
        with self._lock:
            if (width, height) not in self._painted:
                self._painted[width, height] = self._paint(width, height)
                if len(self._painted) > _KEPT_SIZES:
                    self._painted.popitem(last=False)
            self._painted.move_to_end((width, height))
            return self._painted[width, height]

    def _paint(self, width: int, height: int) -> Bools:
        canvas = np.zeros((height, width), np.uint8)
        for mask in self.masks:
            corners = np.asarray(mask, np.float64) * (width, height) - 0.5  # a pixel's centre is its number
            fixed = np.round(corners * (1 << _SUBPIXEL_BITS)).astype(np.int32)
            cv2.fillPoly(canvas, [fixed], 1, shift=_SUBPIXEL_BITS)
        return np.asarray(cv2.dilate(canvas, np.ones((3, 3), np.uint8)), np.bool_)


class MaskedPicture:
    """A picture whose masked pixels nobody sees. See Picture."""

    __slots__ = ("_areas", "_picture")

    def __init__(self, picture: Picture, areas: Areas) -> None:
        self._picture, self._areas = picture, areas

    @property
    def width(self) -> int:
        return self._picture.width

    @property
    def height(self) -> int:
        return self._picture.height

    def scaled(self, width: int, height: int, order: Order = "rgb") -> U8:
        """See Picture; masks grey."""
        return _grey(self._picture.scaled(width, height, order), self._areas.masked(width, height))

    def region(self, x0: int, y0: int, x1: int, y1: int) -> U8:
        """See Picture; masks grey."""
        pixels = self._picture.region(x0, y0, x1, y1)
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, self.width), min(y1, self.height)
        if left >= right or top >= bottom:
            return pixels
        masked = np.zeros(pixels.shape[:2], np.bool_)
        whole = self._areas.masked(self.width, self.height)
        masked[top - y0 : bottom - y0, left - x0 : right - x0] = whole[top:bottom, left:right]
        return _grey(pixels, masked)

    def luma(self, step: int) -> U8:
        """See Picture; masks grey."""
        samples = self._picture.luma(step)
        return _grey(samples, self._areas.masked(self.width, self.height)[::step, ::step])


def _grey(pixels: U8, masked: Bools) -> U8:
    if not masked.any():
        return pixels
    hidden = pixels.copy()
    hidden[masked] = GREY
    return hidden


_Point = tuple[float, float]
_Edge = tuple[_Point, _Point]


def _turn(a: _Point, b: _Point, c: _Point) -> float:
    """Twice the area of the triangle; its sign is the side of a → b that c lies on."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _within(a: _Point, b: _Point, c: _Point) -> bool:
    """Whether c, on the line through a and b, lies between them."""
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def _meet(first: _Edge, second: _Edge) -> bool:
    """Whether two edges have a point in common."""
    (a, b), (c, d) = first, second
    one, two, three, four = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if one * two < 0 and three * four < 0:
        return True
    return (
        (one == 0 and _within(a, b, c))
        or (two == 0 and _within(a, b, d))
        or (three == 0 and _within(c, d, a))
        or (four == 0 and _within(c, d, b))
    )


def _folds(first: _Edge, second: _Edge) -> bool:
    """Whether two edges that share a corner lie on one another."""
    (a, b), (c, d) = (first, second) if first[1] == second[0] else (second, first)
    along = (b[0] - a[0]) * (d[0] - c[0]) + (b[1] - a[1]) * (d[1] - c[1])
    return _turn(a, b, d) == 0 and along < 0
