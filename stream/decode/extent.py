"""What a container says about its own size: tells a file that was cut from one that is whole.

Sources: ISO/IEC 14496-12 (box = size, type; §8.6 and §8.7 for the tables of an index), RFC 8794 and RFC 9559
(EBML, Matroska), Microsoft's AVI RIFF reference. Only lengths and places are read, never the contents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx", b"uuid"}
_NESTED = {b"mdia", b"minf", b"stbl"}
_MAX_BOXES = 200_000
_MAX_TABLE_BYTES = 1 << 25  # of eight million frames
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


@dataclass(frozen=True, slots=True)
class Extent:
    """kind: of container. missing_bytes: how many the file lacks of what it declares, 0 when whole.

    has_index: False when an MP4's `moov` is absent, without which no frame can be found. frames: so many have
    a time in the index of an MP4's longest track; unplaced: so many of them no size or place within the file.
    """

    kind: str
    missing_bytes: int
    has_index: bool = True
    frames: int = 0
    unplaced: int = 0


Place = tuple[int, int]
"""First byte of something in the file, and the byte behind it."""


def extent(file: BinaryIO, size_bytes: int) -> Extent | None:
    """Reads a seekable file's outermost structure; None when it has none that declares a length."""
    file.seek(0)
    head = file.read(12)
    if head[4:8] in _BOXES:
        return _iso(file, size_bytes)
    if head[:4] == _EBML:
        return _matroska(file, size_bytes)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _riff(file, size_bytes)
    return None


def _iso(file: BinaryIO, size_bytes: int) -> Extent:
    index: Place | None = None
    for kind, (start, end) in _boxes(file, (0, size_bytes)):
        if end > size_bytes:
            return Extent("MP4", end - size_bytes, index is not None)
        if kind == b"moov":
            index = start, end
    if index is None:
        return Extent("MP4", 0, has_index=False)
    frames = placed = 0
    for kind, track in _boxes(file, index):
        if kind == b"trak":
            found = _timed_and_placed(file, _leaves(file, track), size_bytes)
            frames, placed = max((frames, placed), found)  # of the longest, if there are several
    return Extent("MP4", 0, frames=frames, unplaced=max(0, frames - placed))


def _boxes(file: BinaryIO, within: Place) -> Iterator[tuple[bytes, Place]]:
    """Type and contents of the boxes side by side; the last may declare an end beyond theirs."""
    at, last = within
    for _ in range(_MAX_BOXES):
        if last - at < 8:
            return
        file.seek(at)
        head = file.read(16)
        length, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = last - at  # up to the end of the file
        if length < 8 or not kind.isalnum():
            return  # not a box: something was appended
        yield kind, (at + header, at + length)
        at += length


def _leaves(file: BinaryIO, within: Place, depth: int = len(_NESTED)) -> dict[bytes, Place]:
    """The first box of each type in a track; QuickTime has a second handler (hdlr) below the first."""
    found: dict[bytes, Place] = {}
    for kind, (start, end) in _boxes(file, within):
        place = start, min(end, within[1])
        nested = depth and kind in _NESTED  # no deeper, however deep a hostile file goes
        found = (_leaves(file, place, depth - 1) if nested else {kind: place}) | found
    return found


def _timed_and_placed(file: BinaryIO, boxes: dict[bytes, Place], size_bytes: int) -> tuple[int, int]:
    """How many frames of a track have a time, and how many a size and a chunk in the file; none of sound."""
    if _contents(file, boxes.get(b"hdlr"))[8:12] != b"vide":
        return 0, 0
    timed = int(_table(file, boxes.get(b"stts"), ">u4", 2)[:, 0].sum(dtype=np.int64))
    return timed, min(_sized(file, boxes, size_bytes), _in_chunks(file, boxes, size_bytes))


def _sized(file: BinaryIO, boxes: dict[bytes, Place], size_bytes: int) -> int:
    if b"stz2" in boxes:  # fields of 4, 8 or 16 bits, which cannot be large
        return int.from_bytes(_contents(file, boxes[b"stz2"])[8:12], "big")
    found = _contents(file, boxes.get(b"stsz"))
    alike, count = int.from_bytes(found[4:8], "big"), int.from_bytes(found[8:12], "big")
    if alike:
        return count if alike <= size_bytes else 0
    sizes = np.frombuffer(found, ">u4", max(0, min(count, len(found) // 4 - 3)), min(12, len(found)))
    return int(((sizes > 0) & (sizes <= size_bytes)).sum())


def _in_chunks(file: BinaryIO, boxes: dict[bytes, Place], size_bytes: int) -> int:
    starts = _table(file, boxes.get(b"co64", boxes.get(b"stco")), ">u8" if b"co64" in boxes else ">u4", 1)
    runs = _table(file, boxes.get(b"stsc"), ">u4", 3)  # first chunk from 1 on, frames in each, description
    if not len(runs):
        return 0
    run = np.searchsorted(runs[:, 0], np.arange(1, len(starts) + 1), side="right") - 1
    return int(runs[run, 1][(run >= 0) & (starts[:, 0] < size_bytes)].sum(dtype=np.int64))


def _table(file: BinaryIO, place: Place | None, kind: str, columns: int) -> npt.NDArray[np.unsignedinteger]:
    """(n, columns) of a box that counts its rows: as many as it counts, if it has as many."""
    found, row_bytes = _contents(file, place), columns * np.dtype(kind).itemsize
    rows = max(0, min(int.from_bytes(found[4:8], "big"), (len(found) - 8) // row_bytes))
    return np.frombuffer(found, kind, rows * columns, min(8, len(found))).reshape(rows, columns)


def _contents(file: BinaryIO, place: Place | None) -> bytes:
    if place is None:
        return b""
    file.seek(place[0])
    return file.read(min(place[1] - place[0], _MAX_TABLE_BYTES))


def _vint(data: bytes) -> tuple[int | None, int]:
    """(value, length) of an EBML data size; the value is None where the size is not known."""
    if not data or not data[0]:
        return None, 1
    length = 9 - data[0].bit_length()
    value = int.from_bytes(data[:length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), length


def _matroska(file: BinaryIO, size_bytes: int) -> Extent | None:
    file.seek(4)
    header, width = _vint(file.read(8))
    if header is None:
        return None
    at = 4 + width + header
    file.seek(at)
    segment = file.read(12)
    if segment[:4] != _SEGMENT:
        return None
    length, width = _vint(segment[4:])
    if length is None:
        return None
    return Extent("Matroska", max(0, at + 4 + width + length - size_bytes))


def _riff(file: BinaryIO, size_bytes: int) -> Extent | None:
    at = 0
    while size_bytes - at >= 12:
        file.seek(at)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or not length:
            break  # never finalised, or something was appended
        at += 8 + length + length % 2
    return Extent("AVI", max(0, at - size_bytes - 1)) if at else None
