"""One connection to a camera: opened with timeouts that hold, read until it fails."""

from __future__ import annotations

import errno
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from av.codec.context import ThreadType
from av.container import InputContainer
from av.error import EOFError, ExitError, FFmpegError, InvalidDataError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..decode.aspect import pixel_aspect
from ..decode.container import choose_video
from ..decode.media import open_media
from ..decode.timeline import Timeline
from ..errors import SourceError
from ..ports import Closing
from .address import Address, Transport
from .damage import Damage, heard

_PROTOCOLS: dict[Transport, str] = {
    "rtsp": "rtsp,rtsps,rtp,udp,tcp,tls,crypto",
    "http": "http,https,tcp,tls,crypto,hls",
    "rtmp": "rtmp,rtmps,tcp,tls,crypto",
    "v4l2": "file",
    "file": "file",
    "folder": "none",
}
_FORMATS: dict[Transport, str] = {
    "rtsp": "rtsp,rtp,sdp",
    "http": "hls,mpjpeg,mjpeg,mpegts,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,live_flv,h264,hevc",
    "rtmp": "flv,live_flv",
    "v4l2": "video4linux2,v4l2",
    "file": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,h264,hevc,mjpeg,mpjpeg",
    "folder": "none",
}
_PROBE_S = 1.0
_POLL_S = 0.005
# AVFMT_FLAG_NONBLOCK, which fflags has no name for: else FFmpeg waits in the driver for the next picture of a
# device, where neither its interrupt callback nor we can call it back.
_NONBLOCK = 4
_SILENT = "connected, and then nothing came"
_DEVICE_HINTS = {
    errno.EACCES: "who runs this must be in the group that owns it, mostly `video`",
    errno.EBUSY: "another program uses it",
    errno.EINVAL: "does it offer that device_format and device_size? `v4l2-ctl --list-formats-ext` tells",
    errno.ENOTTY: "not a camera; the second node of a USB camera is for metadata",
}


class ConnectionFailed(SourceError):
    """A camera cannot be reached, or its connection broke. The message is free of secrets."""


class StreamStalled(ConnectionFailed):
    """A camera is connected and gives nothing: no data, no frame, no time or no change."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How a connection is made.

    connect_s: to open it and learn what it carries. read_s: silence that ends it. rtsp_transport: of the
    media. max_pixels: larger frames end it. verify_tls: refuse certificates that do not check out.
    skip_damaged: frames that a lost packet may have smeared are left out, see Damage; None: over UDP.
    realtime: a file is given out at its own pace; loop: and over again. device_size (WIDTHxHEIGHT),
    device_fps, device_format (mjpeg, yuyv422 …): what a USB camera is asked for; None is its own choice.
    """

    connect_s: float = 10.0
    read_s: float = 10.0
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    max_pixels: int = 8192 * 8192
    verify_tls: bool = True
    realtime: bool = True
    loop: bool = False
    device_size: str | None = None
    device_fps: float | None = None
    device_format: str | None = None
    skip_damaged: bool | None = None


class LiveStream(Closing):
    """The decoded frames of one connection, each with its time as sent.

    on_packet: called for each packet that comes, decodable or not; what it raises ends the iteration.
    on_decoded: told how many seconds each packet took to decode.
    Raises ConnectionFailed when it cannot be opened, and from the iteration when it breaks or, as
    StreamStalled, when nothing came for read_s. The end of a file ends the iteration.
    """

    def __init__(
        self,
        address: Address,
        options: LiveOptions,
        *,
        on_packet: Callable[[], None] = lambda: None,
        on_decoded: Callable[[float], None] = lambda took_s: None,
    ) -> None:
        self._address, self._options = address, options
        self._on_packet, self._on_decoded = on_packet, on_decoded
        self._left = threading.Event()
        self._container = self._opened()
        try:
            self._stream = choose_video(self._container, address.shown)
        except SourceError as error:
            self._container.close()
            raise ConnectionFailed(str(error)) from error
        codec = self._stream.codec_context
        codec.thread_count = 1  # cameras share the cores among themselves; frame threads would add delay
        codec.thread_type = ThreadType.SLICE
        self.codec = codec.name
        self.rate = self._stream.average_rate or self._stream.guessed_rate
        self.undecodable = 0
        skips = options.rtsp_transport == "udp" if options.skip_damaged is None else options.skip_damaged
        self._damage = Damage(codec.name) if skips and address.transport != "file" else None

    @property
    def aspect(self) -> float:
        """Of the pixels, see pixel_aspect; some streams tell it with their first frame only."""
        return pixel_aspect(self._stream)

    @property
    def damaged(self) -> int:
        """Frames left out because they may be smeared."""
        return 0 if self._damage is None else self._damage.frames

    def __iter__(self) -> Iterator[tuple[VideoFrame, float | None]]:
        """(frame, seconds as the camera has them) in presentation order; damaged frames are left out."""
        pace = _Pace(self._left) if self._address.transport == "file" and self._options.realtime else None
        clock = Timeline(self.rate) if pace else None
        while True:
            for frame in self._decoded():
                if frame.width * frame.height > self._options.max_pixels:
                    raise ConnectionFailed(
                        f"{self._address.shown}: frames of {frame.width}×{frame.height} are beyond the limit "
                        f"of {self._options.max_pixels} pixels (max_pixels)"
                    )
                at_s = frame.time
                if pace is not None and clock is not None:
                    at_s = clock.place(at_s)
                    if not pace.wait_until(at_s):
                        return
                yield frame, at_s
            if not (self._options.loop and self._address.transport == "file") or self._left.is_set():
                return
            self._container.seek(0)

    def leave(self) -> None:
        """From any thread: end the iteration with the next packet, or within read_s when none comes."""
        self._left.set()

    def close(self) -> None:
        """Hang up."""
        self._left.set()
        self._container.close()

    def _decoded(self) -> Iterator[VideoFrame]:
        damage = self._damage
        if damage is None:
            yield from (frame for frame in self._frames() if self._is_whole(frame))
            return
        with heard() as told:
            for frame in self._frames():
                damage.hear(told)
                if not damage.spoils(frame):
                    yield frame

    def _is_whole(self, frame: VideoFrame) -> bool:
        self.undecodable += frame.is_corrupt
        return not frame.is_corrupt

    def _frames(self) -> Iterator[VideoFrame]:
        """All frames of all packets, damaged or not."""
        is_file = self._address.transport == "file"
        for packet in self._packets():
            self._on_packet()
            if not packet.size and not is_file:
                continue
            began = time.perf_counter()
            try:
                frames = packet.decode()
            except FFmpegError:  # a run of them means no frames, which the watchdog sees
                self.undecodable += 1
                continue
            self._on_decoded(time.perf_counter() - began)
            yield from frames

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        asked = time.monotonic()
        while not self._left.is_set():
            try:
                for packet in self._container.demux(self._stream):
                    # Interrupted, FFmpeg first gives the frame that its parser held back, as if it came now.
                    self._check_end(asked)
                    yield packet
                    if packet.size:  # empty ones come with the end
                        asked = time.monotonic()
            except InvalidDataError:
                self.undecodable += 1
            except BlockingIOError:  # a device has no picture yet
                if time.monotonic() - asked >= self._options.read_s:
                    raise StreamStalled(f"{self._address.shown}: {_SILENT}") from None
                self._left.wait(_POLL_S)
            except EOFError:
                return self._check_end(asked)
            except (FFmpegError, OSError) as error:
                failed = StreamStalled if isinstance(error, ExitError) else ConnectionFailed
                raise failed(self._explained(error)) from None
            else:
                return self._check_end(asked)

    def _check_end(self, asked: float) -> None:
        """Raises StreamStalled where an end, or a packet, is none: demuxers tell an interrupt as one. asked:
        monotonic time at which the last packet was waited for."""
        waited_s = time.monotonic() - asked
        if self._address.transport != "file" and waited_s >= self._options.read_s and not self._left.is_set():
            raise StreamStalled(f"{self._address.shown}: {_SILENT}")

    def _opened(self) -> InputContainer:
        options, address, began = self._options, self._address, time.monotonic()
        if address.transport == "file" and not Path(address.url).is_file():
            raise ConnectionFailed(f"{address.shown}: no such file")
        target = f"file:{address.url}" if address.transport == "file" else address.url
        try:
            return open_media(
                target,
                mode="r",
                format="video4linux2" if address.transport == "v4l2" else None,
                options={"max_pixels": str(options.max_pixels)},
                container_options=self._container_options(),
                # FFmpeg turns in circles while it looks into a device that gives no picture: we wait instead.
                timeout=(_PROBE_S if address.transport == "v4l2" else options.connect_s, options.read_s),
            )
        except (FFmpegError, OSError, ValueError) as error:
            if time.monotonic() - began >= options.connect_s:  # some demuxers report an interrupt as bad data
                raise ConnectionFailed(f"{address.shown}: {_SILENT}") from None
            hint = _DEVICE_HINTS.get(getattr(error, "errno", 0)) if address.transport == "v4l2" else None
            raise ConnectionFailed(self._explained(error) + (f" ({hint})" if hint else "")) from None

    def _container_options(self) -> dict[str, str]:
        transport, options = self._address.transport, self._options
        made = {
            "protocol_whitelist": _PROTOCOLS[transport],
            "format_whitelist": _FORMATS[transport],
            "analyzeduration": str(round(_PROBE_S * 1e6)),
        }
        if transport == "rtsp":
            made["rtsp_transport"] = options.rtsp_transport
        if self._address.url.startswith(("https:", "rtsps:", "rtmps:")):
            made["tls_verify"] = "1" if options.verify_tls else "0"
            authorities = ssl.get_default_verify_paths().cafile
            if options.verify_tls and authorities:
                made["ca_file"] = authorities
        if transport == "v4l2":
            wanted = {
                "video_size": options.device_size,
                "framerate": None if options.device_fps is None else f"{options.device_fps:g}",
                "input_format": options.device_format,
            }
            made |= {name: value for name, value in wanted.items() if value is not None}
        if transport != "file":
            made["fflags"] = "nobuffer+discardcorrupt"
        if transport == "v4l2":
            made["fflags"] += f"+{_NONBLOCK}"
        return made

    def _explained(self, error: Exception) -> str:
        """Why, without secrets. PyAV's own message holds the whole URL, so only the cause is taken."""
        cause = getattr(error, "strerror", None) or type(error).__name__
        if isinstance(error, ExitError):
            cause = _SILENT
        return f"{self._address.shown}: {self._address.redacted(str(cause))}"


class _Pace:
    """Holds frames back until their time has come, counted from the first."""

    def __init__(self, left: threading.Event) -> None:
        self._left = left
        self._start: float | None = None

    def wait_until(self, pts_s: float) -> bool:
        """False when told to leave meanwhile."""
        if self._start is None:
            self._start = time.monotonic() - pts_s
        wait = self._start + pts_s - time.monotonic()
        return not (self._left.wait(wait) if wait > 0 else self._left.is_set())
