from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.stream.decode import ImageSource
from facesieve.stream.decode.images import declared_size, natural_order
from facesieve.stream.errors import FrameTooLarge, NoFrames, SourceEmpty, SourceError, SourceMissing

WIDTH, HEIGHT = 120, 80
COLOURS = {"r": (250, 0, 0), "g": (0, 250, 0), "b": (0, 0, 250), "y": (250, 250, 0)}


def painted() -> np.ndarray:
    """Red top left, green top right, blue bottom left, yellow bottom right; RGB."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    h, w = HEIGHT // 2, WIDTH // 2
    image[:h, :w], image[:h, w:], image[h:, :w], image[h:, w:] = COLOURS.values()
    return image


def encoded(suffix: str, image: np.ndarray | None = None) -> bytes:
    rgb = painted() if image is None else image
    done, data = cv2.imencode(
        suffix, rgb[:, :, ::-1] if rgb.ndim == 3 else rgb, [cv2.IMWRITE_JPEG_QUALITY, 95]
    )
    assert done
    return data.tobytes()


def exif(orientation: int, order: str) -> bytes:
    """A TIFF header with the orientation tag alone."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def with_exif(data: bytes, orientation: int, order: str) -> bytes:
    tiff = exif(orientation, order)
    if data.startswith(b"\xff\xd8"):
        body = b"Exif\0\0" + tiff
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    chunk = b"eXIf" + tiff
    return data[:33] + struct.pack(">I", len(tiff)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def corners(source: ImageSource) -> str:
    """The colours top left, top right, bottom left, bottom right."""
    picture = next(iter(source)).picture
    w, h = picture.width, picture.height
    found = ""
    for x, y in ((5, 5), (w - 6, 5), (5, h - 6), (w - 6, h - 6)):
        pixel = picture.region(x, y, x + 1, y + 1)[0, 0].astype(int)
        found += min(COLOURS, key=lambda c: int(np.abs(pixel - COLOURS[c]).sum()))
        assert pixel == pytest.approx(COLOURS[found[-1]], abs=25)
    return found


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


Save = Callable[[str, bytes], Path]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm"])
def test_formats(save: Save, suffix: str) -> None:
    path = save("image" + suffix, encoded(suffix))
    with ImageSource([path], name="one") as source:
        assert corners(source) == "rgby"
    picture = next(iter(ImageSource([path], name="one"))).picture
    assert (picture.width, picture.height) == (WIDTH, HEIGHT)
    assert picture.scaled(60, 40)[5, 5].astype(int) == pytest.approx(COLOURS["r"], abs=20)
    assert picture.luma(10).shape == (8, 12)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tiff", ".ppm"])
def test_images_larger_than_what_ffmpeg_probes(save: Save, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    path = save("large" + suffix, encoded(suffix, noise))
    picture = next(iter(ImageSource([path], name="one"))).picture
    assert (picture.width, picture.height) == (800, 600)


# EXIF 2.32 table 6: what is seen once the stored picture is put upright.
SEEN = {1: "rgby", 2: "gryb", 3: "ybgr", 4: "byrg", 5: "rbgy", 6: "bryg", 7: "ygbr", 8: "gyrb"}


@pytest.mark.parametrize("orientation", SEEN)
@pytest.mark.parametrize(("suffix", "order"), [(".jpg", ">"), (".jpg", "<"), (".png", ">")])
def test_exif_orientation(save: Save, orientation: int, suffix: str, order: str) -> None:
    path = save("turned" + suffix, with_exif(encoded(suffix), orientation, order))
    source = ImageSource([path], name="turned")
    assert corners(source) == SEEN[orientation]
    picture = next(iter(ImageSource([path], name="turned"))).picture
    assert (picture.width, picture.height) == ((HEIGHT, WIDTH) if orientation > 4 else (WIDTH, HEIGHT))


def test_depths_and_channels(save: Save) -> None:
    deep = (painted().astype(np.uint16) * 257)[:, :, ::-1]
    grey16 = np.full((HEIGHT, WIDTH), 30000, np.uint16)
    grey8 = np.full((HEIGHT, WIDTH), 99, np.uint8)
    alpha = np.dstack([painted()[:, :, ::-1], np.full((HEIGHT, WIDTH), 128, np.uint8)])
    pixels = {}
    for name, image in {"deep": deep, "grey16": grey16, "grey8": grey8, "alpha": alpha}.items():
        done, data = cv2.imencode(".png", image)
        assert done
        picture = next(iter(ImageSource([save(name + ".png", data.tobytes())], name=name))).picture
        pixels[name] = picture.region(5, 5, 6, 6)[0, 0].tolist()
        assert picture.luma(4).shape == (20, 30)
    assert pixels == {"deep": [251, 0, 0], "grey16": [117] * 3, "grey8": [99] * 3, "alpha": [250, 0, 0]}


def test_cmyk(save: Save) -> None:
    """An 8×8 Adobe CMYK JPEG of pure red, made by hand: DC coefficients only."""
    path = save("cmyk.jpg", cmyk_jpeg())
    picture = next(iter(ImageSource([path], name="cmyk"))).picture
    assert picture.region(3, 3, 4, 4)[0, 0].astype(int) == pytest.approx((255, 0, 0), abs=4)


def cmyk_jpeg() -> bytes:
    """Four components, quantisation 1 everywhere, one DC and one AC Huffman table of a few codes each."""

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    # DC categories 11 (code 0) and 10 (code 10), AC end of block (code 0).
    tables = segment(0xC4, b"\x00" + bytes([1, 1] + [0] * 14) + bytes([11, 10]))
    tables += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + bytes([0]))
    bits = ""
    for value in (255, 0, 0, 255):  # Adobe stores CMYK inverted: 255 = no ink
        level = (value - 128) * 8  # DC of a flat block
        bits += "10" + format(level, "010b") if level > 0 else "0" + format(level + 2047, "011b")
        bits += "0"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    components = b"".join(bytes([i, 0x11, 0]) for i in range(1, 5))
    return (
        b"\xff\xd8"
        + segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0))
        + segment(0xDB, b"\0" + b"\1" * 64)
        + segment(0xC0, struct.pack(">BHHB", 8, 8, 8, 4) + components)
        + tables
        + segment(0xDA, b"\4" + b"".join(bytes([i, 0]) for i in range(1, 5)) + b"\0\x3f\0")
        + scan
        + b"\xff\xd9"
    )


def huge_png() -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def test_what_cannot_be_read_is_skipped_and_told(save: Save) -> None:
    good, noise = encoded(".jpg"), np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    long = encoded(".jpg", noise)
    paths = [
        save("a.jpg", good),
        save("cut.jpg", long[: len(long) // 2]),
        save("cut.png", encoded(".png", noise)[:9000]),
        save("text.jpg", b"not an image at all"),
        save("empty.png", b""),
        save("huge\n.png", huge_png()),
        save("large.bmp", encoded(".bmp", noise)),
        save("z.jpg", good).with_name("gone.jpg"),
        save("b.png", encoded(".png")),
    ]
    source = ImageSource(paths, name="mixed", max_pixels=20_000)
    frames = list(source)
    assert [(f.index, f.pts_s) for f in frames] == [(0, 0.0), (8, 8.0)]
    assert (
        source.damage
        == "images skipped: 7, first cut.jpg (200×200 is beyond the limit of 20000 pixels (max_pixels))"
    )
    causes = {}
    for path in paths[1:8]:
        with pytest.raises(SourceError) as caught:
            list(ImageSource([path], name="x", max_pixels=30_000 if "large" in path.name else 1 << 26))
        causes[path.name] = (type(caught.value), str(caught.value).rsplit(": ", 1)[-1])
        assert "\n" not in str(caught.value)
    assert {name: error for name, (error, _) in causes.items()} == {
        "cut.jpg": NoFrames,
        "cut.png": NoFrames,
        "text.jpg": NoFrames,
        "empty.png": SourceEmpty,
        "huge\n.png": FrameTooLarge,
        "large.bmp": FrameTooLarge,
        "gone.jpg": SourceMissing,
    }
    assert causes["cut.jpg"][1] == "truncated JPEG"
    assert causes["huge\n.png"][1].startswith("60000×60000 is beyond")


def test_none_left(save: Save) -> None:
    bad = [save("a.jpg", b"nothing"), save("b.jpg", b"")]
    with pytest.raises(NoFrames, match=r"folder: none of 2 images can be read \(.*a\.jpg: not an image"):
        list(ImageSource(bad, name="folder"))
    with pytest.raises(SourceEmpty, match="none of 2"):
        list(ImageSource([bad[1], bad[1]], name="folder"))
    with pytest.raises(SourceMissing):
        ImageSource([], name="folder")


def test_stills_and_sequences(save: Save) -> None:
    paths = [save(f"{i}.png", encoded(".png")) for i in range(4)]
    stills = ImageSource(paths, name="s")
    assert (stills.stills, stills.duration_s) == (True, 4.0)
    assert [f.pts_s for f in stills] == [0, 1, 2, 3]
    sequence = ImageSource(paths, name="s", fps=10)
    assert (sequence.stills, sequence.duration_s) == (False, 0.4)
    assert [f.pts_s for f in sequence] == pytest.approx([0, 0.1, 0.2, 0.3])
    with pytest.raises(RuntimeError, match="once"):
        iter(sequence)
    with pytest.raises(ValueError, match="fps"):
        ImageSource(paths, name="s", fps=0)


def test_sizes_by_header() -> None:
    for suffix in (".jpg", ".png"):
        assert declared_size(encoded(suffix)) == (WIDTH, HEIGHT)
        for cut in range(0, 400, 7):
            assert declared_size(encoded(suffix)[:cut]) in (None, (WIDTH, HEIGHT))
    assert declared_size(b"\xff\xd8" + b"\xff" * 100) is None
    assert declared_size(huge_png()) == (60000, 60000)


def test_natural_order() -> None:
    names = ["img10.png", "img2.png", "IMG1.png", "a.png", "img02.png", "b12x3", "b12x21", "7"]
    assert sorted(names, key=natural_order) == [
        "a.png", "b12x3", "b12x21", "IMG1.png", "img02.png", "img2.png", "img10.png", "7",
    ]  # fmt: skip
