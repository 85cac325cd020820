"""Opening untrusted media with FFmpeg: from bytes alone, and every failure under the error it deserves."""

from __future__ import annotations

import errno
import io
import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from ..errors import FrameTooLarge, NotVideo, NoVideoStream, SourceEmpty, SourceMissing, SourceUnreadable
from .extent import Extent, extent
from .media import open_media

_FORGETFUL = {"mjpeg", "mpeg4", "vp8", "vp9", "ffv1"}  # others (PNG) make a frame though told to skip it
_READ_BYTES = 1 << 16
_PEEK_BYTES = 4096
# Formats that name other files, addresses or devices to open, or that draw text as pictures.
_REFUSED = {
    "adf", "alsa", "android_camera", "avfoundation", "avisynth", "avs", "bin", "concat", "concatf", "dash",
    "decklink", "dshow", "dvdvideo", "fbdev", "ffmetadata", "gdigrab", "hls", "idf", "iec61883", "image2",
    "image2pipe", "imf", "jack", "kmsgrab", "lavfi", "libcdio", "mgsts", "openal", "oss", "pulse", "rtp",
    "rtsp", "sap", "sdp", "sndio", "svg_pipe", "tedcaptions", "tty", "v4l2", "vapoursynth", "video4linux2",
    "vobsub", "webm_dash_manifest", "x11grab", "xbin", "xcbgrab",
}  # fmt: skip
_PLAYLIST = re.compile(
    rb"\A(\xef\xbb\xbf)?\s*(#EXTM3U|ffconcat|v=0|<\?xml|<MPD|<smil|<ASX|\[playlist\])", re.I
)
_COVER = Disposition.attached_pic | Disposition.timed_thumbnails
_MOOV_HINT = "its index (moov) is missing"


class Reader:
    """What FFmpeg reads through: one open binary file, no path and no protocol.

    size_bytes: of a seekable file, else None. read_bytes: taken so far. failure: what a read died of; FFmpeg
    would otherwise hide an I/O error, or an interrupt, behind its own.
    """

    def __init__(self, file: BinaryIO, suffix: str, *, owned: bool) -> None:
        self.name = f"input{suffix}" if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", suffix) else "input"
        self.read_bytes = 0
        self.failure: BaseException | None = None
        self._file = file
        self._owned = owned
        self._seekable = file.seekable()
        self.size_bytes = file.seek(0, io.SEEK_END) if self._seekable else None
        if self._seekable:
            file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def read(self, size: int) -> bytes:
        if self.failure is not None:  # FFmpeg asks again, and a pipe would be waited for again
            return b""
        try:
            data = self._file.read(size) or b""
        except BaseException as failure:  # noqa: BLE001 - else an interrupt in FFmpeg's callback is lost
            self.failure = failure
            return b""
        self.read_bytes += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def raise_interrupt(self) -> None:
        """Let an interrupt that fell into a read go on its way."""
        if self.failure is not None and not isinstance(self.failure, Exception):
            raise self.failure

    def peek(self) -> bytes:
        """The first bytes of a seekable file, which stays at its beginning; nothing of a pipe."""
        if not self._seekable:
            return b""
        head = self._file.read(_PEEK_BYTES)
        self._file.seek(0)
        return head

    def extent(self) -> Extent | None:
        """The container's own account of its length; None for pipes and for formats without one."""
        if self.size_bytes is None:
            return None
        found = extent(self._file, self.size_bytes)
        self._file.seek(0)
        return found

    def release(self) -> None:
        """Close the file if it was opened here."""
        if self._owned:
            self._file.close()


def reader(source: str | os.PathLike[str] | BinaryIO, shown: str) -> Reader:
    """A file or stream to read from. Raises SourceMissing, SourceUnreadable, SourceEmpty, NotVideo."""
    if not isinstance(source, str | os.PathLike):
        made = Reader(source, "", owned=False)
    else:
        try:
            if Path(source).is_char_device():
                raise NotVideo(f"{shown}: a device, not a file (cameras are for `facesieve serve`)")
            made = Reader(_open_file(Path(source)), Path(source).suffix, owned=True)
        except (FileNotFoundError, NotADirectoryError) as missing:
            raise SourceMissing(f"{shown}: no such file") from missing
        except IsADirectoryError as folder:
            raise NotVideo(f"{shown}: expected a video file, got a folder") from folder
        except ValueError as invalid:  # a NUL in the name
            raise SourceMissing(f"{shown}: no file can have this name") from invalid
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
                raise SourceMissing(f"{shown}: no such file ({error.strerror})") from error
            raise SourceUnreadable(f"{shown}: cannot be read ({error.strerror})") from error
    if made.size_bytes == 0:
        made.release()
        raise SourceEmpty(f"{shown}: the file is empty (0 bytes)")
    return made


def _open_file(path: Path) -> BinaryIO:
    # Python's own buffer is left out: FFmpeg has one, and asks for _READ_BYTES at a time.
    return open(path, "rb", buffering=0 if path.is_file() else -1)  # noqa: PTH123


@cache
def _accepted_formats() -> str:
    return ",".join(sorted(f for f in av.formats_available if not _REFUSED & set(f.split(","))))


def open_container(source: Reader, max_pixels: int, shown: str) -> InputContainer:
    """FFmpeg's demuxer over the reader. Raises NotVideo, SourceEmpty, SourceUnreadable, FrameTooLarge."""
    head = source.peek()
    try:
        container = _opened(source, {"max_pixels": str(max_pixels)})
    except (FFmpegError, ValueError, OSError) as error:
        source.raise_interrupt()
        if source.failure is not None:
            raise SourceUnreadable(f"{shown}: cannot be read ({source.failure})") from source.failure
        if source.read_bytes == 0:
            raise SourceEmpty(f"{shown}: no data came") from error
        raise NotVideo(f"{shown}: {_why(source, head, error)}") from error
    if _unsized(container) and source.seekable():
        try:
            _check_unsized(source, max_pixels, shown)
        except BaseException:
            container.close()
            raise
    return container


def _opened(source: Reader, options: dict[str, str]) -> InputContainer:
    """options: of the decoders that look at the first packets."""
    return open_media(
        source,
        mode="r",
        options=options,
        # Custom I/O needs no protocol: whatever a demuxer would open besides is refused by this.
        container_options={"protocol_whitelist": "none", "format_whitelist": _accepted_formats()},
        buffer_size=_READ_BYTES,
    )


def _films(container: InputContainer) -> list[VideoStream]:
    """The video streams that are no cover art."""
    return [s for s in container.streams.video if not s.disposition & _COVER]


def _unsized(container: InputContainer) -> bool:
    """Whether no video stream has a size, because decoders forget one beyond the limit, and all are of
    decoders that can tell it without making a frame."""
    codecs = [s.codec_context for s in _films(container) if s.codec_context is not None]
    return bool(codecs) and all(c.name in _FORGETFUL and not c.width for c in codecs)


def _check_unsized(source: Reader, max_pixels: int, shown: str) -> None:
    """Looks a second time, without limit but without making a frame; the reader stays where it is. Raises
    FrameTooLarge."""
    at = source.tell()
    source.seek(0)
    with suppress(FFmpegError, ValueError, OSError), _opened(source, {"skip_frame": "all"}) as container:
        for stream in _films(container):
            if stream.codec_context is not None:
                check_size(stream, max_pixels, shown)
    source.seek(at)


def _why(source: Reader, head: bytes, error: Exception) -> str:
    if _PLAYLIST.match(head):
        return "a playlist or session description; files that name other files are not followed"
    found = source.extent()
    if found is None and not source.seekable():
        return (
            f"not a video that FFmpeg can read from a pipe ({_text(error)}); "
            f"an MP4 must have its index in front there (ffmpeg -movflags +faststart)"
        )
    if found is None:
        return f"not a video that FFmpeg knows ({_text(error)})"
    if not found.has_index:
        cut = f": the file ends {found.missing_bytes} bytes early" if found.missing_bytes else ""
        return f"truncated {found.kind}, {_MOOV_HINT}{cut}; no frame can be found without it"
    if found.missing_bytes:
        return f"truncated {found.kind}: the file ends {found.missing_bytes} bytes early ({_text(error)})"
    return f"damaged {found.kind} ({_text(error)})"


def _text(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def choose_video(container: InputContainer, shown: str) -> VideoStream:
    """The stream to decode: no cover art; marked default, then largest, then first. The rest is discarded."""
    streams = _films(container)
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        if streams:
            raise NotVideo(f"{shown}: its video codec is not one that FFmpeg decodes here")
        kinds = sorted({s.type for s in container.streams} - {"video"})
        covers = len(container.streams.video) - len(streams)
        held = ", ".join(kinds + ["cover art"] * bool(covers)) or "nothing"
        raise NoVideoStream(f"{shown}: no video stream in it (it holds: {held})")
    best = max(
        known,
        key=lambda s: (
            bool(s.disposition & Disposition.default),
            s.codec_context.width * s.codec_context.height,
            -s.index,
        ),
    )
    for stream in container.streams:
        if stream.index != best.index:
            with suppress(FFmpegError, AttributeError, ValueError):
                stream.discard = Discard.all
    return best


def check_size(stream: VideoStream, max_pixels: int, shown: str) -> None:
    """Raises FrameTooLarge where the stream's header declares frames beyond the limit."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > max_pixels:
        raise FrameTooLarge(
            f"{shown}: frames of {width}×{height} are beyond the limit of {max_pixels} pixels (max_pixels)"
        )
