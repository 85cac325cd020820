from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.stream.decode import VideoSource
from facesieve.stream.decode.layout import layout
from facesieve.stream.decode.orientation import Orientation
from facesieve.stream.decode.picture import Converter, FramePicture

EXACT = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)
FORMATS = tuple(
    """
    yuv420p yuvj420p yuv422p yuv444p yuv410p yuv411p yuv440p yuva420p yuv420p10le yuv420p10be yuv422p12le
    yuv444p16le nv12 nv21 nv16 p010le yuyv422 uyvy422 gray gray10le gray16be ya8 rgb24 bgr24 rgba bgra gbrp
    gbrp10le gbrap rgb48be rgb565le pal8 monow x2rgb10le gbrpf32le
    """.split()  # noqa: SIM905
)


def natural(width: int, height: int) -> np.ndarray:
    """Smooth colours, as video has them."""
    shape = (max(2, height // 30), max(2, width // 30), 3)
    noise = np.random.default_rng(1).integers(60, 196, shape, np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def frame_of(form: str, width: int = 224, height: int = 160) -> av.VideoFrame:
    source = av.VideoFrame.from_ndarray(natural(width, height), "rgb24")
    if form == "pal8":
        frame = av.VideoFrame(width, height, "pal8")
        for plane in frame.planes:
            plane.update(np.random.default_rng(2).integers(0, 256, plane.buffer_size, np.uint8).tobytes())
        return frame
    return source.reformat(format=form, threads=1)


def whole(frame: av.VideoFrame, colorspace: int | None = None) -> np.ndarray:
    made = VideoReformatter().reformat(
        frame,
        format="rgb24",
        interpolation=EXACT,
        src_colorspace=colorspace,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return made.to_ndarray()


@pytest.mark.parametrize("form", FORMATS)
def test_every_pixel_format(form: str) -> None:
    """A region holds the very pixels that converting the whole frame gives, and the rest is consistent."""
    frame = frame_of(form)
    picture = FramePicture(frame, Converter())
    full = whole(frame, None if frame.format.is_rgb else 5)
    for x0, y0, x1, y1 in ((0, 0, 224, 160), (100, 50, 131, 77), (33, 21, 34, 22), (150, 100, 224, 160)):
        assert np.array_equal(picture.region(x0, y0, x1, y1), full[y0:y1, x0:x1]), (x0, y0, x1, y1)
    assert picture.scaled(224, 160).astype(int) == pytest.approx(full.astype(int), abs=1)
    small = cv2.resize(full, (60, 40), interpolation=cv2.INTER_AREA).astype(int)
    difference = np.abs(picture.scaled(60, 40) - small)
    assert difference.mean() < (12 if form in ("pal8", "monow") else 3), difference.mean()
    assert np.array_equal(picture.scaled(60, 40, "bgr")[:, :, ::-1], picture.scaled(60, 40))
    grey = picture.luma(3)
    assert grey.shape == (54, 75)
    assert grey.dtype == np.uint8
    if form not in ("pal8", "monow"):
        bright = cv2.cvtColor(full, cv2.COLOR_RGB2GRAY)[::3, ::3].ravel()
        assert np.corrcoef(grey.ravel(), bright)[0, 1] > 0.8


def test_common_formats_are_cut_without_converting_the_frame() -> None:
    for form in set(FORMATS) - {"pal8", "monow", "gbrpf32le"}:
        assert layout(form) is not None, form
    assert layout("pal8") is layout("monow") is layout("uyyvyy411") is layout("gbrpf32le") is None


def test_a_still_of_floats() -> None:
    """A TIFF of 32-bit floats: swscale reads such pixels and makes none."""
    pixels = natural(256, 160).astype(np.float32) / 255
    frame = av.VideoFrame(256, 160, "rgbf32le")
    assert frame.planes[0].line_size == pixels[0].nbytes
    frame.planes[0].update(pixels.tobytes())
    picture = FramePicture(frame, Converter())
    np.testing.assert_array_equal(picture.region(10, 11, 30, 27), whole(frame)[11:27, 10:30])


@pytest.mark.parametrize("aspect", [2.0, 0.5, 16 / 11])
@pytest.mark.parametrize("orientation", [Orientation(), Orientation(transpose=True, mirror_x=True)])
def test_pixels_that_are_not_square_are_stretched(aspect: float, orientation: Orientation) -> None:
    frame = frame_of("yuv420p", 90, 64)
    picture = FramePicture(frame, Converter(), orientation, aspect)
    shown = (round(90 * aspect), 64) if aspect >= 1 else (90, round(64 / aspect))
    assert (picture.width, picture.height) == orientation.size(*shown)
    stretched = cv2.resize(whole(frame, 5), shown, interpolation=cv2.INTER_LINEAR)
    full = orientation.upright(stretched).astype(int)
    for x0, y0, x1, y1 in ((0, 0, picture.width, picture.height), (7, 11, 40, 38), (50, 60, 51, 61)):
        region = picture.region(x0, y0, x1, y1)
        assert region.shape == (y1 - y0, x1 - x0, 3)
        assert np.abs(region - full[y0:y1, x0:x1]).max() <= 2, (x0, y0, x1, y1)
    assert not picture.region(picture.width, 0, picture.width + 5, 5).any()
    grey = picture.luma(3)
    assert grey.shape == (-(-picture.height // 3), -(-picture.width // 3))
    bright = cv2.cvtColor(full.astype(np.uint8), cv2.COLOR_RGB2GRAY)[::3, ::3]
    assert np.corrcoef(grey.ravel(), bright.ravel())[0, 1] > 0.98
    assert picture.scaled(20, 30).shape == (30, 20, 3)
    small = cv2.resize(full.astype(np.uint8), (20, 30), interpolation=cv2.INTER_AREA)
    assert np.abs(picture.scaled(20, 30) - small.astype(int)).mean() < 4


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 5), (17, 2), (63, 65), (129, 31)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    frame = frame_of("yuv420p", *size)
    picture = FramePicture(frame, Converter())
    assert (picture.width, picture.height) == size
    assert picture.region(0, 0, *size).shape == (size[1], size[0], 3)
    assert picture.luma(2).shape == (-(-size[1] // 2), -(-size[0] // 2))
    assert picture.scaled(7, 3).shape == (3, 7, 3)


@pytest.mark.parametrize("form", ["yuv420p", "yuv410p", "yuv422p10le", "nv12", "yuyv422", "gbrp"])
@pytest.mark.parametrize("size", [(221, 157), (222, 158), (223, 159)])
def test_a_pixel_is_the_same_whichever_region_is_asked_for(form: str, size: tuple[int, int]) -> None:
    """Also at the edges of odd sizes, whose last chroma sample serves fewer pixels than the others."""
    frame = frame_of(form, *size)
    picture = FramePicture(frame, Converter())
    full = picture.region(0, 0, *size)
    for x0, y0, x1, y1 in ((5, 3, 6, 4), (100, 50, 131, 77), (150, 100, *size), (size[0] - 1, 0, *size)):
        assert np.array_equal(picture.region(x0, y0, x1, y1), full[y0:y1, x0:x1])
    reference = whole(frame, None if frame.format.is_rgb else 5)
    assert np.abs(reference.astype(int) - full).mean() < 3


def test_of_many_sizes_of_windows_few_are_kept() -> None:
    """Each holds a frame and a scaler: with one camera a few megabytes, with many cameras many."""
    frame, converter = frame_of("yuv420p", 224, 160), Converter(windows=3)
    picture = FramePicture(frame, converter)
    full = picture.region(0, 0, 224, 160)
    gc.collect()
    before = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
    for side in (*range(10, 150, 8), *range(10, 150, 8)):
        assert np.array_equal(picture.region(3, 5, 3 + side, 5 + side), full[5 : 5 + side, 3 : 3 + side])
    assert sum(type(thing) is av.VideoFrame for thing in gc.get_objects()) <= before + 3


@settings(max_examples=40, deadline=None)
@given(
    x=st.integers(-300, 500), y=st.integers(-300, 400), w=st.integers(0, 300), h=st.integers(0, 300),
    turned=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)  # fmt: skip
def test_any_region_any_orientation(x: int, y: int, w: int, h: int, turned: tuple[bool, bool, bool]) -> None:
    orientation = Orientation(*turned)
    picture = FramePicture(FRAME, Converter(), orientation)
    upright = orientation.upright(FULL)
    assert (picture.height, picture.width) == upright.shape[:2]
    expected = np.pad(upright, ((700, 700), (700, 700), (0, 0)))[700 + y : 700 + y + h, 700 + x : 700 + x + w]
    found = picture.region(x, y, x + w, y + h)
    assert np.array_equal(found, expected)
    assert found.flags.c_contiguous


FRAME = frame_of("yuv420p", 301, 203)
FULL = FramePicture(FRAME, Converter()).region(0, 0, 301, 203)


@pytest.mark.parametrize("form", ["yuv420p", "yuv444p", "yuv422p10le", "nv12", "p010le"])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    ("tag", "size", "kr", "kb"),
    [
        (1, (64, 48), 0.2126, 0.0722),  # BT.709
        (5, (1280, 720), 0.299, 0.114),  # BT.470BG = BT.601
        (6, (1280, 720), 0.299, 0.114),  # SMPTE 170M = BT.601
        (9, (64, 48), 0.2627, 0.0593),  # BT.2020
        (2, (64, 48), 0.299, 0.114),  # untagged and small: BT.601
        (2, (1280, 720), 0.2126, 0.0722),  # untagged and HD: BT.709
    ],
)
def test_matrices_and_ranges(
    form: str, full_range: bool, tag: int, size: tuple[int, int], kr: float, kb: float
) -> None:
    """Against the defining equations, ITU-R BT.601-7 2.5, BT.709-6 3, BT.2020-2 table 4."""
    flat = av.VideoFrame(*size, "yuv444p")
    luma, blue, red = 120, 90, 170
    for plane, value in zip(flat.planes, (luma, blue, red), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    codes = ColorRange.JPEG if full_range else ColorRange.MPEG
    frame = flat.reformat(format=form, src_color_range=codes, dst_color_range=codes)
    frame.colorspace, frame.color_range = tag, codes
    y, chroma = (luma, 255) if full_range else ((luma - 16) / 219 * 255, 224)
    cb, cr = (blue - 128) / chroma * 255, (red - 128) / chroma * 255
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    expected = (r, (y - kr * r - kb * b) / (1 - kr - kb), b)
    picture = FramePicture(frame, Converter())
    assert picture.region(20, 20, 24, 24)[1, 1].astype(int) == pytest.approx(expected, abs=2.5)
    # The quick path that feeds detectors rounds more coarsely.
    assert picture.scaled(size[0] // 3, size[1] // 3)[5, 5].astype(int) == pytest.approx(expected, abs=4)
    assert picture.luma(4)[3, 3] == luma


def test_real_video_agrees_with_a_full_conversion(shared: Path) -> None:
    for frame in VideoSource(shared / "videos" / "walking_crowd_1080p.mp4"):
        if frame.index % 30:
            continue
        picture = frame.picture
        assert isinstance(picture, FramePicture)
        full = whole(picture._frame, 1)
        for x, y in ((0, 0), (701, 333), (1720, 880)):
            assert np.array_equal(picture.region(x, y, x + 200, y + 200), full[y : y + 200, x : x + 200])
        small = cv2.resize(full, (640, 352), interpolation=cv2.INTER_AREA)
        assert cv2.PSNR(small, picture.scaled(640, 352)) > 40


def test_no_result_depends_on_threads_or_on_what_was_asked_before(shared: Path) -> None:
    with VideoSource(shared / "videos" / "short_hamilton_clip.mp4") as source:
        pictures = [f.picture for f in source if f.index % 40 == 0]
    jobs: list[Callable[[], np.ndarray]] = []
    for p in pictures:
        jobs += [
            lambda p=p: p.scaled(320, 192, "bgr"),
            lambda p=p: p.region(100, 50, 260, 300),
            lambda p=p: p.luma(16),
        ]
    alone = [job() for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: job(), jobs[::-1] * 3))
    for i, found in enumerate(together):
        assert np.array_equal(found, alone[::-1][i % len(alone)])


def test_asking_for_nonsense() -> None:
    picture = FramePicture(FRAME, Converter())
    with pytest.raises(ValueError, match="at least 1×1"):
        picture.scaled(0, 10)
    with pytest.raises(ValueError, match="x0 ≤ x1"):
        picture.region(5, 0, 4, 10)
    with pytest.raises(ValueError, match="at least 1"):
        picture.luma(0)
