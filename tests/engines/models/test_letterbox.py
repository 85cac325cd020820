"""Frames to inputs and back, to the fraction of a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.engines.models.letterbox import FaceSized, Letterbox
from facesieve.stream.testing import ArrayPicture

SIZES = st.integers(1, 8192)


@pytest.mark.parametrize(
    ("frame", "long_side", "content", "input_size"),
    [
        ((1920, 1080), 640, (640, 352), (640, 352)),  # squeezed by 2.2 % instead of padded
        ((1080, 1920), 640, (352, 640), (352, 640)),
        ((640, 480), 640, (640, 480), (640, 480)),
        ((1920, 1080), 320, (320, 180), (320, 192)),  # 180 → 192 or 160 is more than 5 %: padded
        ((176, 144), 640, (176, 144), (192, 160)),  # never enlarged
        ((1, 1), 640, (1, 1), (32, 32)),
        ((8192, 16), 640, (640, 1), (640, 32)),
    ],
)
def test_known_sizes(
    frame: tuple[int, int], long_side: int, content: tuple[int, int], input_size: tuple[int, int]
) -> None:
    box = Letterbox.fit(*frame, long_side)
    assert (box.content_width, box.content_height) == content
    assert (box.width, box.height) == input_size


@given(SIZES, SIZES, st.integers(32, 2048))
def test_fit_invariants(width: int, height: int, long_side: int) -> None:
    box = Letterbox.fit(width, height, long_side)
    assert box.width % 32 == 0
    assert box.height % 32 == 0
    assert 1 <= box.content_width <= min(width, box.width)
    assert 1 <= box.content_height <= min(height, box.height)
    shrink = min(1.0, long_side / max(width, height))
    for content, frame in ((box.content_width, width), (box.content_height, height)):
        wanted = frame * shrink
        assert content == 1 or abs(content - wanted) <= max(0.5, 0.05 * wanted) + 1e-6


@given(SIZES, SIZES, st.integers(32, 2048), st.lists(st.floats(-100, 9000), min_size=4, max_size=4))
def test_edges_and_centres_come_back(width: int, height: int, long_side: int, box: list[float]) -> None:
    for letterbox in (Letterbox.fit(width, height, long_side), Letterbox.centred(width, height, 192)):
        scale = np.array([letterbox.content_width / width, letterbox.content_height / height])
        origin = np.array([letterbox.left, letterbox.top])
        inside = (np.reshape(box, (2, 2)) * scale + origin).reshape(1, 4)
        tolerance = 1e-3 * max(1.0, np.abs(box).max())
        np.testing.assert_allclose(letterbox.boxes(inside)[0], box, atol=tolerance)
        centres = letterbox.points(inside.reshape(1, 2, 2))
        np.testing.assert_allclose(centres.reshape(4), np.subtract(box, 0.5), atol=tolerance)


@pytest.mark.parametrize("size", [(1280, 704), (640, 352), (333, 77)])
def test_a_dot_is_found_where_it_was(size: tuple[int, int]) -> None:
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    y, x = height // 3, width // 4
    image[y - 8 : y + 9, x - 8 : x + 9] = 255
    letterbox = Letterbox.fit(width, height, 320)
    weight = letterbox.pixels(ArrayPicture(image), "rgb")[0, ..., 0].astype(np.float64)
    rows, columns = np.indices(weight.shape)
    # The middle of a pixel is half a pixel from its edge.
    centre = [np.average(columns + 0.5, weights=weight), np.average(rows + 0.5, weights=weight)]
    np.testing.assert_allclose(letterbox.points(np.array([[centre]]))[0, 0], [x, y], atol=0.15)


def test_only_the_small_picture_is_asked_for() -> None:
    class Recording(ArrayPicture):
        asked: list[tuple[int, int, str]] = []  # noqa: RUF012

        def scaled(self, width: int, height: int, order: str = "rgb") -> np.ndarray:
            self.asked.append((width, height, order))
            return super().scaled(width, height, order)

    picture = Recording(np.zeros((1080, 1920, 3), np.uint8))
    Letterbox.fit(1920, 1080, 640).pixels(picture, "bgr")
    assert picture.asked == [(640, 352, "bgr")]
    assert picture.regions == []


@pytest.mark.parametrize(
    ("face_px", "size", "side"),
    [
        (40, (640, 360), 320),  # 256 would do; never below 320
        (40, (1280, 720), 512),
        (40, (1920, 1080), 640),  # 768 would be asked for; never above 640
        (40, (720, 1280), 512),
        (20, (640, 480), 512),
        (0, (640, 480), 640),  # every face is wanted
        (200, (3840, 2160), 320),
    ],
)
def test_an_input_is_as_large_as_the_smallest_wanted_face_needs(
    face_px: float, size: tuple[int, int], side: int
) -> None:
    assert FaceSized(face_px).long_side(*size) == side
