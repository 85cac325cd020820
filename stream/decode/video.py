"""Video files and pipes as frame sources, through FFmpeg."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from threading import Lock
from typing import BinaryIO

from av.codec.context import ThreadType
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..errors import FrameTooLarge, NoFrames, SourceEmpty, SourceUnreadable
from ..ports import Closing
from ..types import Frame
from .aspect import pixel_aspect
from .container import check_size, choose_video, open_container, reader
from .deinterlace import Deinterlacer
from .lookahead import Lookahead
from .losses import Losses
from .names import printable
from .orientation import Orientation, of_frame
from .picture import Converter, FramePicture
from .timeline import DecodeOrder, Timeline

MAX_PIXELS = 8192 * 8192  # 8K passes; a hostile header that asks for gigabytes does not
_READ_RETRIES = 16  # demuxers step over one bad sample at a time
_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SLACK_S = 0.5  # a declared duration is a little off in many sound files


class VideoSource(Closing):
    """The frames of a video file, or of a binary stream that need not be seekable, in presentation order.

    Times are the stream's own presentation times, see Timeline. Frames flagged interlaced are deinterlaced.
    Rotation and mirroring of the container or the codec are applied, and pixels that are not square are
    stretched until they are (see pixel_aspect). Frames may differ in size.

    Damage: what decodes is yielded, packets that do not are skipped, and `damage` tells of it after the
    iteration. Frames that the decoder mended are yielded and counted; only in them, and in those predicted
    from them, may pixels depend on the number of threads. An undamaged stream decodes the same with any.

    path: a file, or anything with read(n) → bytes and seekable() (open streams are left open by close).
    threads: of the decoder, 0 for as many as there are cores. max_pixels: width × height at most. hz: the
    rate of the Cadence that will choose among the frames, 0 for none. Where the stream tells which of them
    others are predicted from, the source itself chooses (Frame.chosen), and frames that nobody needs may be
    missing. Those that come have the same pixels, times and indices, and the last frame comes always.

    Raises SourceMissing, SourceEmpty, SourceUnreadable, NotVideo, NoVideoStream, FrameTooLarge when made;
    NoFrames, SourceUnreadable or FrameTooLarge from the iteration when not one frame came.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        *,
        name: str | None = None,
        threads: int = 0,
        max_pixels: int = MAX_PIXELS,
        hz: float = 0.0,
    ) -> None:
        if threads < 0 or max_pixels < 1:
            raise ValueError(f"expected threads ≥ 0 and max_pixels ≥ 1, got {threads} and {max_pixels}")
        self._shown = printable(path) if isinstance(path, str | os.PathLike) else printable(name or "stream")
        self._name = printable(name) if name else self._shown.rsplit("/", 1)[-1] or self._shown
        self._max_pixels = max_pixels
        self._losses = Losses()
        self._damage: str | None = None
        self._started = False
        self._orientations: dict[int, Orientation] = {}
        self._reader = reader(path, self._shown)
        try:
            self._container = open_container(self._reader, max_pixels, self._shown)
            try:
                self._stream = self._prepare(threads, hz)
            except BaseException:
                self._container.close()
                raise
        except BaseException:
            self._reader.release()
            raise
        self._open, self._released = True, False
        self._decoding = Lock()  # held while the container is in use

    def _prepare(self, threads: int, hz: float) -> VideoStream:
        stream = choose_video(self._container, self._shown)
        check_size(stream, self._max_pixels, self._shown)
        codec = stream.codec_context
        codec.options = {"max_pixels": str(self._max_pixels)}
        codec.thread_count = threads
        codec.thread_type = ThreadType.AUTO
        rate = stream.average_rate or stream.guessed_rate
        self._aspect = pixel_aspect(stream)
        self._timeline = Timeline(rate)
        skips = hz and Lookahead.suits(stream, self._container.format.name)
        self._lookahead = Lookahead(hz, Timeline(rate), stream) if skips else None
        return stream

    @property
    def name(self) -> str:
        """Short and printable."""
        return self._name

    @property
    def stills(self) -> bool:
        """False: the frames follow each other in time."""
        return False

    @property
    def duration_s(self) -> float | None:
        """As the container says; None when unknown, and after close."""
        if not self._open:
            return None
        declared = self._declared_s()
        if declared is None and self._container.duration is not None:
            declared = self._container.duration / 1e6
        return declared if declared is not None and declared > 0 else None

    @property
    def damage(self) -> str | None:
        """After iteration: what kept part of the source from being read, else None."""
        return self._damage

    def close(self) -> None:
        """Release decoder and file; twice does no harm. Another thread that is just decoding releases them as
        soon as it has its frame, and its iteration ends."""
        self._open = False
        if self._decoding.acquire(blocking=False):
            try:
                if not self._released:
                    self._released = True
                    self._container.close()
                    self._reader.release()
            finally:
                self._decoding.release()

    def __iter__(self) -> Iterator[Frame]:
        if self._started or not self._open:
            raise RuntimeError(f"{self._shown}: a source can be iterated once, and not after close")
        self._started = True
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        converter, deinterlacer, place = Converter(), Deinterlacer(), self._timeline.place
        index, chosen = 0, None
        self._decoding.acquire()
        try:
            for decoded in self._decoded():
                for frame in deinterlacer.feed(decoded):
                    if frame.width * frame.height > self._max_pixels:
                        self._losses.oversized(frame.width, frame.height, self._timeline.last_s)
                        continue
                    at_s = place(frame.time)
                    if frame.is_corrupt:
                        self._losses.mended(at_s)
                    picture = FramePicture(frame, converter, self._orientation(frame), self._aspect)
                    if self._lookahead is not None:
                        index, chosen = self._lookahead.given_out(frame.pts)
                    self._decoding.release()
                    try:
                        yield Frame(self._name, index, at_s, None, picture, chosen)
                    finally:
                        self._decoding.acquire()
                    index += 1
                    if not self._open:
                        return
            if self._open:
                self._conclude(index)
        finally:
            self._decoding.release()
            self.close()

    def _conclude(self, frames: int) -> None:
        if not frames:
            self._raise_no_frames()
        self._note_losses(frames)
        self._damage = self._losses.summary(self._timeline.last_s)

    def _orientation(self, frame: VideoFrame) -> Orientation:
        # The matrix is looked at once for each angle that comes, which every frame tells by itself.
        angle = frame.rotation
        if angle not in self._orientations:
            self._orientations[angle] = of_frame(frame)
        return self._orientations[angle]

    def _decoded(self) -> Iterator[VideoFrame | None]:
        """Frames as the decoder gives them, with times; None after the last."""
        stream = self._stream
        # AVI stores no presentation times. Its decode times, sorted, are those of the frames as shown.
        order = DecodeOrder() if self._container.format.name == "avi" else None
        for packet in self._chosen_packets():
            if order:
                order.sent(packet.pts)
            try:
                frames = packet.decode()
            except (FFmpegError, ValueError) as error:
                self._losses.undecodable(self._seconds(packet), error)
                if order:
                    order.lost(packet.pts)
                if isinstance(error, BlockingIOError):
                    stream.codec_context.flush_buffers()
                continue
            for frame in frames:
                if order:
                    frame.pts = order.shown(frame.pts)
                yield frame
        try:
            held = stream.codec_context.decode(None)
        except (FFmpegError, ValueError) as error:
            self._losses.undecodable(None, error)
            held = []
        for frame in held:
            frame.time_base = stream.time_base
            if order:
                frame.pts = order.shown(frame.pts)
            yield frame
        yield None

    def _chosen_packets(self) -> Iterator[Packet[VideoStream]]:
        """The packets; as each comes, the decoder is told whether its frame may be left out."""
        if self._lookahead is None:
            yield from self._packets()
            return
        codec = self._stream.codec_context
        for packet, wanted in self._lookahead.decided(self._packets()):
            codec.skip_frame = "DEFAULT" if wanted else "NONREF"
            yield packet

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """The stream's packets that hold data; read errors are stepped over while packets still come."""
        failures, held = 0, None
        while self._open and failures < _READ_RETRIES:
            try:
                for packet in self._container.demux(self._stream):
                    self._reader.raise_interrupt()
                    # An empty packet would drain the decoder for good, and AVI has them for repeated frames.
                    if not packet.size:
                        continue
                    failures = 0
                    if held is not None:
                        yield held
                    # One that was cut short is held back: as the last, its error would cost the frames that
                    # the decoder's threads still hold.
                    held = packet if packet.is_corrupt else None
                    if held is None:
                        yield packet
                    if not self._open:
                        return
                break
            except (FFmpegError, ValueError) as error:
                failures += 1
                self._losses.unreadable(self._timeline.last_s, error)
        if held is not None:
            self._losses.undecodable(self._seconds(held), ValueError("it is cut short"))
        self._reader.raise_interrupt()
        if self._reader.failure is not None:
            self._losses.unreadable(self._timeline.last_s, self._reader.failure)

    def _seconds(self, packet: Packet[VideoStream]) -> float | None:
        at = packet.pts if packet.pts is not None else packet.dts
        return None if at is None or packet.time_base is None else float(at * packet.time_base)

    def _declared_s(self) -> float | None:
        """Duration of the video stream alone; None when only the whole container's is known, or nothing."""
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        tag = _TAG.match(stream.metadata.get("DURATION", ""))  # Matroska's statistics tags
        return None if tag is None else int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])

    def _note_losses(self, frames: int) -> None:
        """What the container declares and did not give; frames: so many came."""
        last_s, declared_s = self._timeline.last_s, self._declared_s()
        found = self._reader.extent()
        if found is not None:
            if found.missing_bytes:
                self._losses.truncated(f"the file ends {found.missing_bytes} bytes early", declared_s)
            elif frames < found.frames and found.unplaced:
                self._losses.unplaced(found.unplaced, found.frames)
            return
        if last_s is None or declared_s is None or self._container.format.name in ("mpegts", "mpeg"):
            return
        stream = self._stream
        start_s = (
            float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
        )
        missing_s = max(start_s, 0.0) + declared_s - last_s - self._timeline.interval_s
        if missing_s > _SLACK_S + 5 * self._timeline.interval_s:
            self._losses.truncated(f"{missing_s:.2f} s are missing at the end", declared_s)

    def _raise_no_frames(self) -> None:
        if self._reader.failure is not None:
            raise SourceUnreadable(f"{self._shown}: cannot be read ({self._reader.failure})")
        if self._reader.read_bytes == 0:
            raise SourceEmpty(f"{self._shown}: no data came")
        if self._losses.oversize is not None:
            raise FrameTooLarge(
                f"{self._shown}: frames of {self._losses.oversize} are beyond the limit of "
                f"{self._max_pixels} pixels (max_pixels)"
            )
        self._note_losses(0)
        why = self._losses.summary(None)
        if not self._stream.codec_context.width:  # a decoder that finds a size too large does not tell it
            why = f"{why or 'no packets'}; damaged, or frames beyond the limit of {self._max_pixels} pixels"
        hint = ""
        if not self._reader.seekable() and "mp4" in self._container.format.name.split(","):
            hint = (
                "; an MP4 whose index lies at its end cannot be read from a pipe: give the file itself, or "
                "write it with -movflags +faststart"
            )
        raise NoFrames(
            f"{self._shown}: its video stream ({self._stream.codec_context.name}) "
            f"holds no frame that can be decoded{f' ({why})' if why else ''}{hint}"
        )
