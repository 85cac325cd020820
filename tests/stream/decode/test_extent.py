from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from facesieve.stream.decode.extent import Extent, extent

Clip = Callable[..., Path]
FRAMES = 10


def of(data: bytes) -> Extent:
    found = extent(io.BytesIO(data), len(data))
    assert found is not None
    return found


def altered(data: bytes, box: bytes, at: int, new: bytes) -> bytes:
    """With other bytes at that place of a box's contents."""
    start = data.index(box) + 4 + at
    return data[:start] + new + data[start + len(new) :]


@pytest.mark.parametrize("name", ["whole.mp4", "whole.mov"])
def test_every_frame_of_a_whole_film_has_its_place(clip: Clip, name: str) -> None:
    data = clip(name, frames=FRAMES, with_audio=True).read_bytes()
    assert of(data) == Extent("MP4", 0, frames=FRAMES)


@pytest.mark.parametrize(
    ("box", "at", "new", "unplaced"),
    [
        (b"stsz", 8, (3).to_bytes(4, "big"), 7),  # fewer sizes than times
        (b"stsz", 12 + 4 * 5, b"\xff", 1),  # a frame larger than the file
        (b"stsz", 12 + 4 * 5, bytes(8), 2),  # two of no bytes
        (b"stsz", 4, b"\xff", 10),  # all of one size, larger than the file
        (b"stsz", -4, b"stsx", 10),  # no sizes at all
        (b"stco", 4, bytes(4), 10),  # no chunks
        (b"stco", 8, b"\xff", 10),  # the one chunk lies behind the end
    ],
)
def test_frames_that_a_broken_index_does_not_place(
    clip: Clip, box: bytes, at: int, new: bytes, unplaced: int
) -> None:
    data = altered(clip("c.mp4", frames=FRAMES).read_bytes(), box, at, new)
    assert of(data) == Extent("MP4", 0, frames=FRAMES, unplaced=unplaced)


def test_an_index_of_noise_is_read_without_harm(clip: Clip) -> None:
    data, dice = clip("n.mp4", frames=FRAMES).read_bytes(), random.Random(1)
    start = data.index(b"moov") + 4
    for _ in range(300):
        noisy = bytearray(data)
        for _ in range(8):
            noisy[dice.randrange(start, len(data))] = dice.choice((0, 255, dice.randrange(256)))
        found = of(bytes(noisy))
        assert 0 <= found.unplaced <= found.frames


def test_boxes_within_boxes_without_end() -> None:
    nested = b""
    for _ in range(5000):
        nested = (8 + len(nested)).to_bytes(4, "big") + b"mdia" + nested
    track = (8 + len(nested)).to_bytes(4, "big") + b"trak" + nested
    data = b"\0\0\0\x10ftypisom\0\0\0\0" + (8 + len(track)).to_bytes(4, "big") + b"moov" + track
    assert of(data) == Extent("MP4", 0)
