"""Tables of faces and their images, as they come from strangers."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.fiqa.evaluate.datasets import FaceImage
from facesieve.fiqa.faces import aligned_chips, decode_image, five_points, inside, read_faces, read_image
from facesieve.fiqa.label import FaceFolder
from facesieve.score import labelled_crops
from facesieve.stream.errors import FrameTooLarge, SourceError, SourceMissing, SourceUnreadable
from facesieve.stream.geometry import ARCFACE_POINTS

POINTS = [f"l{axis}{i}" for i in range(5) for axis in "xy"]
GOOD = ",".join(f"{v:.2f}" for v in ARCFACE_POINTS.ravel())


def folder(root: Path, *rows: str, head: str = "", encoding: str = "utf-8") -> Path:
    (root / "images").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / "images" / "a.png"), np.full((120, 130, 3), 90, np.uint8))
    text = "\n".join([head or ",".join(["file", "identity", *POINTS]), *rows]) + "\n"
    (root / "faces.csv").write_bytes(text.encode(encoding))
    return root


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(side: int) -> bytes:
    """A PNG of side × side grey pixels, a thousandth of that in bytes."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min((side + 1) * side, 1 << 24)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "/etc/passwd", "", ".", "a\0b"])
def test_names_that_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceUnreadable, match="expected the name of a file below"):
        inside(tmp_path, name)


def test_a_table_cannot_show_files_of_others(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "secret.png"), np.zeros((112, 112, 3), np.uint8))
    root = folder(tmp_path / "set", f"../../secret.png,p,{GOOD}", f"a.png,p,{GOOD}")
    (_, refused), (_, crop) = labelled_crops(root)
    assert "expected the name of a file below" in str(refused)
    assert not isinstance(crop, str)
    with pytest.raises(SourceUnreadable, match="below"):
        FaceFolder(root).chip(0)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e30", "-1e300", ""])
def test_landmarks_that_are_no_places_spoil_their_row_only(tmp_path: Path, value: str) -> None:
    root = folder(tmp_path, f"a.png,p,{value},{GOOD.split(',', 1)[1]}", f"a.png,p,{GOOD}")
    faces = read_faces(root)
    assert faces.landmarks is not None
    assert [five_points(points) for points in faces.landmarks] == [False, True]
    assert [isinstance(crop, str) for _, crop in labelled_crops(root)] == [True, False]
    assert FaceFolder(root).chip(1).shape == (112, 112, 3)
    with pytest.raises(SourceUnreadable, match="not five points"):
        FaceFolder(root).chip(0)
    with pytest.raises(SourceUnreadable, match=r"not five points.*a\.png"):
        aligned_chips(faces)


def test_a_table_from_a_spreadsheet(tmp_path: Path) -> None:
    """Excel's CSV UTF-8 starts with a byte order mark."""
    root = folder(tmp_path, f"a.png,Žiga,{GOOD}", encoding="utf-8-sig")
    assert read_faces(root).identities.tolist() == ["Žiga"]


def test_a_table_from_windows(tmp_path: Path) -> None:
    """Folders with backslashes, lines that end in CR LF; a name that really has a backslash goes first."""
    names = (r"deep\er\b.png", r"odd\name.png", r"..\..\c.png")
    root = folder(tmp_path / "set", *(f"{name},p,{GOOD}" for name in names))
    (root / "faces.csv").write_bytes((root / "faces.csv").read_bytes().replace(b"\n", b"\r\n"))
    (root / "images/deep/er").mkdir(parents=True)
    shutil.copy(root / "images/a.png", root / "images/deep/er/b.png")
    shutil.copy(root / "images/a.png", root / "images" / r"odd\name.png")
    shutil.copy(root / "images/a.png", tmp_path / "c.png")
    faces = read_faces(root)
    assert faces.files == names
    assert [faces.image(row).shape for row in (0, 1)] == [(120, 130, 3)] * 2
    with pytest.raises(SourceUnreadable, match="expected the name of a file below"):
        faces.image(2)


@pytest.mark.parametrize(
    ("rows", "head", "what"),
    [
        ((f",p,{GOOD}",), "", "a file and an identity in row 2"),
        ((f"a.png,p,{GOOD}", "a.png"), "", "a file and an identity in row 3"),
        (("a.png,p,1,2",), "", "numbers for the box and five landmarks"),
        ((f"a.png,p,{GOOD[:-5]}x",), "", "numbers for the box and five landmarks"),
        ((f"a.png,p,{GOOD.rsplit(',', 1)[0]}",), "", "got no such cell for ly4 in row 2"),
        (("a.png,p,10", "a.png,p,tall"), "file,identity,h", "got 'tall' for h in row 3"),
        (("a.png,p",), "File,identity", "columns file and identity .*got File, identity"),
        (("a.png;p",), "file;identity", "columns file and identity .*got file;identity"),
        (("a.png",), "file", "columns file and identity"),
        ((), "", "columns file and identity"),
        ((f'"{"x" * 200_000}",p,{GOOD}',), "", "field larger than field limit"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, rows: tuple[str, ...], head: str, what: str) -> None:
    root = folder(tmp_path, *rows, head=head)
    with pytest.raises(SourceUnreadable, match=what) as refused:
        read_faces(root)
    assert str(root / "faces.csv") in str(refused.value)


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"faces\.csv.*utf-8"):
        read_faces(folder(tmp_path, f"a.png,Žiga,{GOOD}", encoding="cp1250"))


def test_an_image_is_measured_before_it_is_decoded(tmp_path: Path) -> None:
    data = png_bomb(20_000)
    assert len(data) < 20_000
    with pytest.raises(FrameTooLarge, match=r"20000×20000.*bomb\.png"):
        decode_image(data, "bomb.png")
    path = tmp_path / "bomb.png"
    path.write_bytes(data)
    for read in (
        lambda: read_image(path),
        lambda: FaceImage(path).read("x"),
        lambda: FaceImage(data).read("x"),
    ):
        with pytest.raises(FrameTooLarge):
            read()


def test_the_size_of_rarer_formats_is_looked_at_too() -> None:
    """A TIFF header that promises 60,000 × 60,000 pixels."""
    tags = [(256, 60_000), (257, 60_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (279, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)
    with pytest.raises(SourceError, match=r"bomb\.tif"):
        decode_image(tiff, "bomb.tif")


@pytest.mark.parametrize("kind", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
def test_images_are_those_of_opencv(kind: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    coded = cv2.imencode(kind, picture)[1]
    expected = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decode_image(coded.tobytes(), f"x{kind}"), expected)


def test_missing_images_and_things_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"gone\.png"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(SourceMissing):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(SourceUnreadable, match=r"OpenCV cannot read.*empty\.png"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(SourceUnreadable, match=r"OpenCV cannot read.*text\.png"):
        read_image(tmp_path / "text.png")
