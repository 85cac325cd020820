"""Chooses the frames to look at before anything is decoded, and leaves undecoded what nobody will look at."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from av.packet import Packet
from av.video.stream import VideoStream

from ..cadence import Cadence
from .timeline import Timeline

# Containers whose packets hold one whole frame each and say when it is shown.
_FORMATS = {"mov", "matroska"}
_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE
_REORDERED = 16  # the most frames sent before one that is shown before them (H.264, max_num_reorder_frames)
_MOST_HELD = 256  # more wait only behind a packet whose time is wrong: it is decoded then in any case
_SLICES = {1, 2, 5}  # nal_unit_type of what holds (the first part of) a picture
_MOST_UNITS = 64  # looked at for the first slice: the others before it are few


class _Due(NamedTuple):
    """A frame that is due, and until when another may be taken for it."""

    pts: int
    at_s: float
    latest_s: float


class Lookahead:
    """Which packets of a stream are to be decoded and looked at, and the place of their frames among all.

    Packets are held back until that is certain. Of the frames near each moment that a cadence of this rate
    has, the first is chosen that other frames refer to: it must be decoded in any case, and encoders spend
    more bits on it. Where there is none, it is the first. The last frame of all is always decoded.
    """

    def __init__(self, hz: float, timeline: Timeline, stream: VideoStream) -> None:
        """timeline: a fresh one, which places packets as the frames themselves will be placed."""
        self._cadence = Cadence(hz=hz)
        self._timeline = timeline
        self._is_reference = reference_test(stream.codec_context.extradata)
        self._times: list[tuple[int, float, bool]] = []  # heap of (pts, seconds, is reference), undecided
        self._due: _Due | None = None
        self._shown: deque[int] = deque()  # pts of decided packets, as shown, from the last frame given out
        self._wanted: set[int] = set()
        self._chosen: set[int] = set()  # of frames not given out yet
        self._next_index = 0

    @staticmethod
    def suits(stream: VideoStream, format_name: str) -> bool:
        """Whether frames of the stream can be left out, and it may hold such.

        H.264 says of every frame whether others refer to it (nal_ref_idc), and one that nothing refers to
        leaves no trace when it is skipped. FFmpeg's HEVC decoder cannot skip these alone.
        """
        codec = stream.codec_context
        return (
            codec.name == "h264"
            and codec.field_order == _PROGRESSIVE
            and bool(codec.has_b_frames)
            and not _FORMATS.isdisjoint(format_name.split(","))
        )

    def decided(self, packets: Iterable[Packet[VideoStream]]) -> Iterator[tuple[Packet[VideoStream], bool]]:
        """The packets in their order, each with whether its frame is wanted."""
        held: deque[Packet[VideoStream]] = deque()
        for packet in packets:
            held.append(packet)
            if packet.pts is not None and packet.time_base is not None and not packet.is_discard:
                at_s = float(packet.pts * packet.time_base)
                heappush(self._times, (packet.pts, at_s, self._is_reference(packet)))
            if len(self._times) > _REORDERED:
                self._decide()
            while held and (len(held) > _MOST_HELD or not self._is_open(held[0])):
                packet = held.popleft()
                yield packet, self._is_open(packet) or self._is_wanted(packet)
        while self._times:
            pts = self._decide()
            if not self._times:
                self._wanted.add(pts)
        if self._due is not None:
            self._choose(self._due.pts, self._due.at_s)
        for packet in held:
            yield packet, self._is_wanted(packet)

    def given_out(self, pts: int | None) -> tuple[int, bool | None]:
        """Of the next frame that the decoder gave out: its index among all frames of the source, and whether
        it was chosen (None: it has no time by which it could be)."""
        while self._shown and pts is not None and self._shown[0] < pts:
            self._chosen.discard(self._shown.popleft())
            self._next_index += 1
        chosen = None if pts is None else pts in self._chosen
        if self._shown and self._shown[0] == pts:
            self._chosen.discard(self._shown.popleft())
        self._next_index += 1
        return self._next_index - 1, chosen

    def _decide(self) -> int:
        pts, seconds, is_reference = heappop(self._times)
        self._shown.append(pts)
        at_s = self._timeline.place(seconds)
        if self._due is not None and at_s > self._due.latest_s:
            self._choose(self._due.pts, self._due.at_s)
        if self._due is not None or self._cadence.is_due(at_s):
            if is_reference:
                self._choose(pts, at_s)
            elif self._due is None:
                self._due = _Due(pts, at_s, self._cadence.latest_s(at_s))
        return pts

    def _choose(self, pts: int, at_s: float) -> None:
        self._cadence.take(at_s)
        self._wanted.add(pts)
        self._chosen.add(pts)
        self._due = None

    def _is_open(self, packet: Packet[VideoStream]) -> bool:
        undecided = self._due.pts if self._due is not None else self._times[0][0] if self._times else None
        return (
            undecided is not None
            and packet.pts is not None
            and not packet.is_discard
            and packet.pts >= undecided
        )

    def _is_wanted(self, packet: Packet[VideoStream]) -> bool:
        if packet.pts is None or packet.is_discard:
            return True
        wanted = packet.pts in self._wanted
        self._wanted.discard(packet.pts)
        return wanted


def reference_test(extradata: bytes | None) -> Callable[[Packet[VideoStream]], bool]:
    """Tells of a packet of H.264 in its length-prefixed form (ISO/IEC 14496-15) whether other frames may
    refer to its own: nal_ref_idc of its first slice. Of other forms, all count as such."""
    if not extradata or extradata[0] != 1 or len(extradata) < 5:
        return lambda packet: True
    length_bytes = (extradata[4] & 3) + 1

    def is_reference(packet: Packet[VideoStream]) -> bool:
        data, at = memoryview(packet), 0
        for _ in range(_MOST_UNITS):
            start = at + length_bytes
            if start >= len(data):
                break
            header = data[start]
            if header & 0x1F in _SLICES:
                return header & 0x60 != 0
            at = start + int.from_bytes(data[at:start], "big")
        return True

    return is_reference
