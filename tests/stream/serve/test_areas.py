"""Zones and masks: which faces are processed, and that masked pixels leave nowhere."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from patience import until

from facesieve.build import Built, Sharing, build
from facesieve.config import parse_config
from facesieve.stream.decode.video import VideoSource
from facesieve.stream.serve.address import camera_address
from facesieve.stream.serve.areas import GREY, Areas, MaskedPicture, Polygon, check_polygon, inside
from facesieve.stream.serve.events import Message, TrackEnded, TrackStarted
from facesieve.stream.serve.live import LiveOptions
from facesieve.stream.serve.reader import CameraSettings
from facesieve.stream.serve.service import CameraPlan, Service
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import U8, Frame

SQUARE: Polygon = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
share = st.floats(0, 1, allow_nan=False, width=32)


@st.composite
def stars(draw: st.DrawFn) -> Polygon:
    """Simple polygons, seldom convex: corners at rising angles around a centre."""
    n = draw(st.integers(3, 12))
    turn = draw(st.floats(0, 1))
    radii = draw(st.lists(st.floats(0.05, 0.49), min_size=n, max_size=n))
    angles = [2 * math.pi * (i + turn) / n for i in range(n)]
    return tuple((0.5 + r * math.cos(a), 0.5 + r * math.sin(a)) for r, a in zip(radii, angles, strict=True))


class TestPolygons:
    @given(stars(), st.lists(st.tuples(share, share), min_size=1, max_size=20))
    def test_inside_is_what_opencv_says(self, polygon: Polygon, points: list[tuple[float, float]]) -> None:
        contour = np.array(polygon, np.float32)
        told = inside(np.array(points), polygon)
        for point, is_in in zip(points, told.tolist(), strict=True):
            distance = cv2.pointPolygonTest(contour, point, measureDist=True)
            if abs(distance) > 1e-5:
                assert is_in == (distance > 0), (point, distance)

    @given(stars())
    def test_a_star_is_accepted_whichever_way_round(self, polygon: Polygon) -> None:
        check_polygon(polygon)
        check_polygon(polygon[::-1])

    @given(st.lists(st.tuples(share, share), min_size=4, max_size=4, unique=True))
    def test_of_the_three_orders_of_four_points_at_most_the_uncrossed_pass(
        self, p: list[tuple[float, float]]
    ) -> None:
        """Four points in convex position have one order that does not cross; the other two do."""
        hull = cv2.convexHull(np.array(p, np.float32))
        assume(len(hull) == 4)
        assume(cv2.contourArea(hull) > 1e-2)
        assume(all(_area(*three) > 1e-3 for three in itertools.combinations(p, 3)))
        passed = 0
        for order in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2)):
            try:
                check_polygon([p[i] for i in order])
                passed += 1
            except ValueError:
                pass
        assert passed == 1

    @pytest.mark.parametrize(
        ("points", "told"),
        [
            (((0.1, 0.1), (0.2, 0.2)), "at least 3"),
            (((0.1, 0.1), (1.2, 0.2), (0.3, 0.9)), "0 to 1"),
            (((0.1, 0.1), (math.nan, 0.2), (0.3, 0.9)), "0 to 1"),
            (((0, 0), (1, 1), (1, 0), (0, 1)), "cross itself"),
            (((0, 0), (1, 0), (0.5, 0)), "folds back"),
            (((0, 0), (0, 0), (1, 0), (1, 1)), "twice in a row"),
            (((0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)), "cross itself"),  # touches its first edge
        ],
    )
    def test_what_is_no_polygon_is_refused(self, points: Polygon, told: str) -> None:
        with pytest.raises(ValueError, match=told):
            Areas(zones=[points])


def _area(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


class TestMasks:
    @given(stars(), st.integers(5, 90), st.integers(5, 90), st.data())
    def test_no_pixel_with_its_middle_in_a_mask_is_seen(
        self, mask: Polygon, width: int, height: int, data: st.DataObject
    ) -> None:
        rgb = np.full((height, width, 3), 7, np.uint8)
        hidden = MaskedPicture(ArrayPicture(rgb), Areas(masks=[mask]))
        whole = hidden.region(0, 0, width, height)
        x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
        covered = inside(np.stack([x.ravel(), y.ravel()], 1), mask).reshape(height, width)
        assert (whole[covered] == GREY).all()
        x0, y0 = data.draw(st.integers(-9, width - 1)), data.draw(st.integers(-9, height - 1))
        x1, y1 = data.draw(st.integers(x0 + 1, width + 9)), data.draw(st.integers(y0 + 1, height + 9))
        padded = np.zeros((height + 18, width + 18, 3), np.uint8)
        padded[9 : 9 + height, 9 : 9 + width] = whole
        np.testing.assert_array_equal(hidden.region(x0, y0, x1, y1), padded[y0 + 9 : y1 + 9, x0 + 9 : x1 + 9])

    def test_nothing_of_a_mask_bleeds_into_a_smaller_picture(self) -> None:
        rgb = np.zeros((480, 640, 3), np.uint8)
        areas = Areas(masks=[SQUARE])
        rgb[areas.masked(640, 480)] = 255  # the secret
        hidden = MaskedPicture(ArrayPicture(rgb), areas)
        for size in ((640, 480), (320, 240), (213, 160), (100, 31), (7, 5)):
            assert hidden.scaled(*size).max() == GREY
            assert hidden.scaled(*size, "bgr").max() == GREY
        assert hidden.luma(7).max() == GREY

    def test_what_lies_elsewhere_is_untouched(self) -> None:
        rgb = np.random.default_rng(0).integers(0, 255, (100, 120, 3)).astype(np.uint8)
        picture = ArrayPicture(rgb)
        hidden = Areas(masks=[SQUARE]).hide(picture)
        np.testing.assert_array_equal(hidden.region(0, 0, 120, 23), rgb[:23])
        assert Areas(zones=[SQUARE]).hide(picture) is picture


@pytest.fixture(scope="module")
def built(shared: Path) -> Iterator[Built]:
    detector = {"kind": "yunet", "weights": str(shared / "models" / "yunet_n_dynamic.onnx"), "hz": 8}
    config = parse_config({"detector": detector, "selection": {"min_face_px": 16}}, "test")
    sharing = Sharing(detectors=1, max_batch=16, max_wait_s=0.0)
    with closing(build(config, sharing=sharing)) as parts:
        yield parts


@pytest.fixture(scope="module")
def crowd(shared: Path) -> Frame:
    with closing(VideoSource(shared / "videos" / "walking_crowd_1080p.mp4")) as source:
        return next(frame for frame in source if frame.index == 60)


def test_faces_outside_the_zone_and_in_masks_are_not_attended(built: Built, crowd: Frame) -> None:
    found = built.detector.detect(crowd)
    assert len(found) >= 3
    middle = (found.boxes[:, 0] + found.boxes[:, 2]) / 2 / crowd.picture.width
    cut = float(np.median(middle)) + 1e-4
    left: Polygon = ((0, 0), (cut, 0), (cut, 1), (0, 1))
    in_zone = Areas(zones=[left]).attend(crowd, found)
    assert 0 < in_zone.sum() < len(found)
    np.testing.assert_array_equal(in_zone, middle < cut)
    np.testing.assert_array_equal(Areas(masks=[left]).attend(crowd, found), ~in_zone)
    assert Areas(zones=[left, SQUARE], masks=[left]).attend(crowd, found).sum() <= (~in_zone).sum()
    assert Areas().attend(crowd, found).all()


class Wall:
    def now_s(self) -> float:
        return time.time()


def watch(built: Built, clip: Path, areas: Areas) -> list[Message]:
    """All that is told of one pass over a film of a camera with those areas."""
    messages: list[Message] = []
    options = LiveOptions(realtime=False)
    with Service(built.pipeline, messages.append, clock=Wall(), boot="b", rng=random.Random(0)) as service:
        settings = CameraSettings(options=options, hz=4.0, backoff_first_s=600.0, backoff_most_s=600.0)
        service.add(CameraPlan("gate", camera_address(str(clip)), settings, "block", 4, areas=areas))
        until(lambda: str(service.cameras()["gate"].status.state) == "backing_off", service.cameras)
        assert service.cameras()["gate"].errors == 0
    return messages


def test_a_camera_tells_of_the_faces_in_its_zone_only(built: Built, shared: Path) -> None:
    clip = shared / "videos" / "walking_crowd_1080p.mp4"
    half: Polygon = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))
    every = [m.event for m in watch(built, clip, Areas())]
    zoned = [m.event for m in watch(built, clip, Areas(zones=[half]))]

    def middles(events: list) -> list[float]:
        boxes = [e.box for e in events if isinstance(e, TrackStarted)]
        boxes += [s.box for e in events if isinstance(e, TrackEnded) for s in e.shots]
        return [(box[0] + box[2]) / 2 / 1920 for box in boxes]

    assert max(middles(every)) > 0.5 > min(middles(every))
    assert middles(zoned)
    assert max(middles(zoned)) < 0.5
    starts = sum(isinstance(e, TrackStarted) for e in zoned)
    assert starts == sum(isinstance(e, TrackEnded) and e.final for e in zoned)


def test_no_portrait_shows_what_a_mask_covers(built: Built, crowd: Frame) -> None:
    """A mask over the upper half of every face's surroundings: portraits are grey there."""
    found = built.detector.detect(crowd)
    x0, y0, x1, y1 = found.boxes[0].tolist()
    width, height = crowd.picture.width, crowd.picture.height
    # A window right beside the best face, within its portrait's margin.
    mask: Polygon = tuple(
        (min(x / width, 1.0), y / height)
        for x, y in ((x1 + 4, y0), (x1 + 200, y0), (x1 + 200, y1), (x1 + 4, y1))
    )
    areas = Areas(masks=[mask])
    hidden = areas.hide(crowd.picture)
    region: U8 = hidden.region(int(x0) - 40, int(y0), int(x1) + 40, int(y1))
    assert (region[2:-2, -32:] == GREY).all()
    left, right = int(x0) - 40, int(x1)
    shown = crowd.picture.region(left, int(y0), right, int(y1))
    np.testing.assert_array_equal(region[:, : right - left], shown)
