"""dlib's network: its block arithmetic, its file format, and the student that starts from it."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from facesieve.fiqa.student.dlib_resnet import Block, DlibResNet, load_dlib, read_dlib_tensors
from facesieve.fiqa.student.network import Student
from facesieve.fiqa.student.resample import OFFSET_X, OFFSET_Y, SCALE, DlibChip
from facesieve.stream.errors import SourceMissing, WeightsCorrupt


def _tensor(values: np.ndarray) -> bytes:
    sizes = b"".join(struct.pack("<BB", 1, size) for size in (values.size, 1, 1, 1))
    return b"\x01\x02" + sizes + values.astype("<f4").tobytes()


def test_layers_are_read_in_order(tmp_path: Path) -> None:
    weights, affine = np.arange(6.0), np.arange(4.0) + 10
    data = b"\x05con_4" + _tensor(weights) + b"\x07affine_" + _tensor(affine) + b"tail"
    path = tmp_path / "network.dat"
    path.write_bytes(data)
    layers = read_dlib_tensors(path, hashlib.sha256(data).hexdigest())
    assert [name for name, _ in layers] == ["con_4", "affine_"]
    assert layers[0][1].ravel().tolist() == weights.tolist()
    assert layers[1][1].ravel().tolist() == affine.tolist()


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.dat"
    path.write_bytes(b"something else")
    with pytest.raises(WeightsCorrupt, match=r"network\.dat"):
        load_dlib(path)
    with pytest.raises(SourceMissing, match="absent"):
        load_dlib(tmp_path / "absent.dat")


@pytest.mark.parametrize(("size", "expected"), [(35, 17), (17, 8), (8, 4), (4, 2)])
def test_the_smaller_branch_goes_on_with_zeros(size: int, expected: int) -> None:
    block = Block(4, 6, stride=2)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    x = torch.rand(1, 4, size, size)
    y = block(x)
    assert y.shape == (1, 6, expected, expected)
    assert torch.equal(y[:, :4], torch.nn.functional.avg_pool2d(x, 2, 2))
    assert not y[:, 4:].any()


def test_resampling_puts_a_point_where_the_similarity_says() -> None:
    chip = torch.zeros(1, 1, 112, 112)
    chip[0, 0, 60, 50] = 1.0
    warped = DlibChip()(chip)[0, 0]
    row, column = divmod(int(warped.argmax()), 150)
    assert abs(column - (SCALE * 50 + OFFSET_X)) <= 1
    assert abs(row - (SCALE * 60 + OFFSET_Y)) <= 1


def test_student_starts_as_dlib() -> None:
    torch.manual_seed(0)
    dlib, student = DlibResNet().eval(), Student().eval()
    student.start_from(dlib, torch.zeros(128))
    chips = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    quality, embedding = student(chips)
    expected = dlib(student.chip(chips.permute(0, 3, 1, 2).float()))
    assert quality.shape == (2,)
    assert torch.allclose(embedding, torch.nn.functional.normalize(expected, dim=1), atol=1e-4)


def test_body_and_tail_are_the_whole() -> None:
    torch.manual_seed(0)
    student = Student().eval()
    pixels = torch.rand(2, 3, 112, 112) * 255
    whole = student.features(pixels)
    for blocks in (0, 3, 9):
        parts = student.tail(*student.body(pixels, blocks), blocks)
        assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
