"""What a container says about its own size: tells a file that was cut from one that is whole.

Sources: ISO/IEC 14496-12 (box = size, type), RFC 8794 and RFC 9559 (EBML, Matroska), Microsoft's AVI RIFF
reference. Only lengths are read, never the contents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx", b"uuid"}
_MAX_BOXES = 200_000
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


@dataclass(frozen=True, slots=True)
class Extent:
    """kind: of container. missing_bytes: how many the file lacks of what it declares, 0 when whole.

    has_index: False when an MP4's `moov` is absent, without which no frame can be found.
    """

    kind: str
    missing_bytes: int
    has_index: bool = True


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
    at, has_index = 0, False
    for _ in range(_MAX_BOXES):
        if size_bytes - at < 8:
            break
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = size_bytes - at  # up to the end of the file
        if length < 8 or not kind.isalnum():
            break  # not a box: something was appended
        at += length
        if at > size_bytes:
            return Extent("MP4", at - size_bytes, has_index)
        has_index |= kind == b"moov"
    return Extent("MP4", 0, has_index)


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
