"""Folders and lists of images as frame sources, through the same decoders as video."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import S_ISREG

from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..errors import (
    FrameTooLarge,
    NoFrames,
    NotVideo,
    NoVideoStream,
    SourceEmpty,
    SourceError,
    SourceMissing,
    SourceUnreadable,
)
from ..ports import Closing
from ..types import Frame
from .container import Reader, check_size, choose_video, open_container
from .losses import Losses
from .names import printable
from .orientation import of_image
from .picture import Converter, FramePicture
from .video import MAX_PIXELS

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .dib .webp .tif .tiff .pgm .ppm .pnm".split()  # noqa: SIM905
)
_MAX_BYTES = 1 << 30
_PNG = b"\x89PNG\r\n\x1a\n"


def natural_order(path: str | os.PathLike[str]) -> tuple[tuple[int, str], ...]:
    """Sort key that counts: img2 before img10. Numbers compare as numbers, the rest without case."""
    parts = re.findall(r"[0-9]+|[^0-9]+", os.fspath(path))
    return (*((int(p), "") if p.isdigit() else (-1, p.casefold()) for p in parts), (-2, os.fspath(path)))


class ImageSource(Closing):
    """Images in the given order, one frame each.

    fps None: unrelated stills, one a second of the source's time, nothing is tracked between them. Otherwise
    a sequence at that rate. A frame's index and time are those of its place in the list, whether or not the
    images before it could be read. EXIF orientation is applied, 16-bit and grey images become 8-bit RGB, an
    alpha channel is dropped, CMYK is converted without its colour profile.

    An image that is corrupt, cut, missing or beyond max_pixels (told by its header, before it is decoded) is
    skipped and counted in `damage`. When not one is left the iteration raises what they fell to, if it was
    the same for all (SourceMissing, SourceEmpty, SourceUnreadable, FrameTooLarge), else NoFrames.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        name: str,
        fps: float | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if fps is not None and not 0 < fps < float("inf"):
            raise ValueError(f"expected fps > 0 or None, got {fps}")
        self._paths = tuple(Path(p) for p in paths)
        self._name = printable(name)
        if not self._paths:
            raise SourceMissing(f"{self._name}: no image")
        self._fps = fps
        self._max_pixels = max_pixels
        self._losses = Losses()
        self._damage: str | None = None
        self._started = self._closed = False

    @property
    def name(self) -> str:
        """Short and printable."""
        return self._name

    @property
    def pictures(self) -> list[str]:
        """Their file names, printable, in the order of the frames' indices."""
        return [printable(path.name) for path in self._paths]

    @property
    def stills(self) -> bool:
        """True without a frame rate."""
        return self._fps is None

    @property
    def duration_s(self) -> float | None:
        """Images over rate; one second each for stills."""
        return len(self._paths) / (self._fps or 1.0)

    @property
    def damage(self) -> str | None:
        """After iteration: which images were skipped, else None."""
        return self._damage

    def close(self) -> None:
        """End the iteration; no file stays open between frames."""
        self._closed = True

    def __iter__(self) -> Iterator[Frame]:
        if self._started or self._closed:
            raise RuntimeError(f"{self._name}: a source can be iterated once, and not after close")
        self._started = True
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        converter, came = Converter(), False
        fell: dict[type[SourceError], SourceError] = {}
        for index, path in enumerate(self._paths):
            try:
                picture = _picture(path, self._max_pixels, converter)
            except SourceError as error:
                fell.setdefault(type(error), error)
                why = str(error).removeprefix(f"{printable(path)}: ")
                self._losses.skipped(printable(path.name), why)
                continue
            came = True
            yield Frame(self._name, index, index / (self._fps or 1.0), None, picture)
            if self._closed:
                return
        if not came:
            raise self._no_frames(list(fell.values()))
        self._damage = self._losses.summary(None)

    def _no_frames(self, fell: list[SourceError]) -> SourceError:
        if len(fell) == 1 and len(self._paths) == 1:
            return fell[0]
        message = f"{self._name}: none of {len(self._paths)} images can be read ({fell[0]})"
        return type(fell[0])(message) if len(fell) == 1 else NoFrames(message)


def _picture(path: Path, max_pixels: int, converter: Converter) -> FramePicture:
    """Raises SourceMissing, SourceUnreadable, SourceEmpty, FrameTooLarge, NoFrames; `path: …`."""
    shown = printable(path)
    return picture_of(_bytes(path, shown), shown, max_pixels=max_pixels, converter=converter)


def picture_of(
    data: bytes, shown: str, *, max_pixels: int = MAX_PIXELS, converter: Converter | None = None
) -> FramePicture:
    """An image file's contents, decoded; shown: how errors name it. Raises FrameTooLarge, NoFrames."""
    size = declared_size(data)
    if size is not None and size[0] * size[1] > max_pixels:
        raise _too_large(shown, *size, max_pixels)
    if data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise NoFrames(f"{shown}: truncated JPEG")  # which decodes, with invented grey where data is missing
    try:
        # No suffix: it would make FFmpeg take a JPEG of some size for a numbered sequence of files.
        with open_container(Reader(io.BytesIO(data), "", owned=False), max_pixels, shown) as container:
            stream = choose_video(container, shown)
            check_size(stream, max_pixels, shown)
            frame = _first(container, stream, max_pixels, shown)
    except (NotVideo, NoVideoStream) as error:
        raise NoFrames(f"{shown}: not an image that FFmpeg can read") from error
    return FramePicture(frame, converter or Converter(), of_image(data))


def _bytes(path: Path, shown: str) -> bytes:
    try:
        found = path.stat()
        if not S_ISREG(found.st_mode):  # a pipe may be silent for ever
            raise SourceUnreadable(f"{shown}: not a regular file")
        if found.st_size > _MAX_BYTES:
            raise FrameTooLarge(f"{shown}: an image of more than {_MAX_BYTES} bytes")
        data = path.read_bytes()
    except FileNotFoundError as missing:
        raise SourceMissing(f"{shown}: no such file") from missing
    except (OSError, ValueError) as error:
        raise SourceUnreadable(f"{shown}: cannot be read ({getattr(error, 'strerror', error)})") from error
    if not data:
        raise SourceEmpty(f"{shown}: the file is empty (0 bytes)")
    return data


def _first(container: InputContainer, stream: VideoStream, max_pixels: int, shown: str) -> VideoFrame:
    codec = stream.codec_context
    codec.options = {"max_pixels": str(max_pixels)}
    codec.thread_type = ThreadType.NONE
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise NoFrames(f"{shown}: damaged image")
            return frame
    except (FFmpegError, ValueError) as error:
        if codec.width * codec.height > max_pixels:
            raise _too_large(shown, codec.width, codec.height, max_pixels) from error
        why = getattr(error, "strerror", None) or error
        raise NoFrames(f"{shown}: damaged, or beyond the limit of {max_pixels} pixels ({why})") from error
    raise NoFrames(f"{shown}: no picture in it")


def _too_large(shown: str, width: int, height: int, max_pixels: int) -> FrameTooLarge:
    return FrameTooLarge(f"{shown}: {width}×{height} is beyond the limit of {max_pixels} pixels (max_pixels)")


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) by the header of a PNG, BMP or JPEG; None for other formats, or where it is damaged."""
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if data.startswith(b"BM") and len(data) >= 26:
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(width), abs(height)
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # padding
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # SOF: start of frame
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + length
    return None
