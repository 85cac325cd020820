"""Packed sets: what insightface writes is read, and nothing in a pickle is ever run."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from facesieve.fiqa.evaluate.packed import read_packed
from facesieve.stream.errors import SourceMissing, SourceUnreadable

IMAGES = [bytes([0xFF, 0xD8, i, 0, 255, 10, 39, 92]) * 40 for i in range(4)]
SAME = [True, False]


def packed(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_reads_every_protocol(tmp_path: Path, protocol: int) -> None:
    images, same = read_packed(packed(tmp_path / "lfw.bin", (IMAGES, SAME), protocol))
    assert images == IMAGES
    assert same.tolist() == SAME


@pytest.mark.parametrize(
    "content",
    [
        ([np.frombuffer(image, np.uint8) for image in IMAGES], SAME),  # cv2.imencode without tobytes
        (IMAGES, np.array(SAME)),
        (IMAGES, [np.bool_(same) for same in SAME]),
        (IMAGES, [1, 0]),
        [IMAGES, SAME],
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_reads_arrays_and_numbers(tmp_path: Path, content: object, protocol: int) -> None:
    images, same = read_packed(packed(tmp_path / "cfp_fp.bin", content, protocol))
    assert images == IMAGES
    assert same.tolist() == SAME


def test_reads_strings_of_python_2(tmp_path: Path) -> None:
    """What Python 2 wrote under protocol 2: images as BINSTRING, booleans as NEWTRUE and NEWFALSE."""
    strings = b"".join(b"T" + struct.pack("<i", len(image)) + image for image in IMAGES)
    data = b"\x80\x02](" + strings + b"e](\x88\x89e\x86."
    path = tmp_path / "agedb_30.bin"
    path.write_bytes(data)
    images, same = read_packed(path)
    assert images == IMAGES
    assert same.tolist() == SAME


class Attack:
    """Unpickling it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_runs_nothing(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "made by the pickle"
    path = packed(tmp_path / "hostile.bin", ([Attack(target), *IMAGES[1:]], SAME), protocol)
    with pytest.raises(SourceUnreadable, match=r"hostile\.bin.*the name"):
        read_packed(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())  # noqa: S301 — the attack would have worked
    assert target.exists()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "the name os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "the name builtins.eval"),
        (b"cnumpy\nload\n.", "the name numpy.load"),
        (b"\x80\x02}q\x00.", "EMPTY_DICT"),
        (b"\x80\x02P0\n.", "PERSID"),
        (b"\x80\x02]]\x86.", "0 images for 0 pairs"),
        (b"\x80\x02K\x01.", "something other than a pair"),
        (b"\x80\x02e.", "a list without a beginning"),
        (b"\x80\x02\x86.", "an empty stack"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\n.", "the name os.system"),
    ],
)
def test_refuses_what_is_not_a_set(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(data)
    with pytest.raises(SourceUnreadable, match=what) as refused:
        read_packed(path)
    assert str(path) in str(refused.value)


def test_refuses_arrays_of_objects_and_false_shapes(tmp_path: Path) -> None:
    objects = packed(tmp_path / "o.bin", (IMAGES, np.array(["a", None], object)))
    with pytest.raises(SourceUnreadable):
        read_packed(objects)
    array = np.frombuffer(IMAGES[0], np.uint8)
    data = pickle.dumps(([array, *IMAGES[1:]], SAME), 2)
    bent = data.replace(struct.pack("<BH", ord("M"), array.size), struct.pack("<BH", ord("M"), 60000))
    assert bent != data
    (tmp_path / "s.bin").write_bytes(bent)
    with pytest.raises(SourceUnreadable, match="an array of shape"):
        read_packed(tmp_path / "s.bin")


def test_damage_names_the_file(tmp_path: Path) -> None:
    whole = pickle.dumps((IMAGES, SAME))
    for length in range(0, len(whole) - 1, 97):
        path = tmp_path / "cut.bin"
        path.write_bytes(whole[:length])
        with pytest.raises(SourceUnreadable, match=r"cut\.bin"):
            read_packed(path)
    with pytest.raises(SourceMissing, match=r"none\.bin"):
        read_packed(tmp_path / "none.bin")
    with pytest.raises(SourceUnreadable, match="4 images for 1 pairs"):
        read_packed(packed(tmp_path / "odd.bin", (IMAGES, [True])))
