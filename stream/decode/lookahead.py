"""Leaves undecoded what nobody will look at: packets are held back until it is certain which those are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from av.packet import Packet
from av.video.stream import VideoStream

from ..cadence import Cadence
from .timeline import Timeline

# Containers whose packets hold one whole frame each and say when it is shown.
_FORMATS = {"mov", "matroska"}
_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE
_REORDERED = 16  # the most frames sent before one that is shown before them (H.264, max_num_reorder_frames)


class Lookahead:
    """Which packets of a stream a cadence wants decoded, and the place of their frames among all.

    The frames wanted are exactly those that a Cadence of this rate takes out of all frames, and the last one.
    """

    def __init__(self, hz: float, timeline: Timeline) -> None:
        """timeline: a fresh one, which places packets as the frames themselves will be placed."""
        self._cadence = Cadence(hz=hz)
        self._timeline = timeline
        self._times: list[tuple[int, float]] = []  # heap of (pts, seconds), of packets not yet decided on
        self._shown: deque[int] = deque()  # pts of decided packets, as shown, from the last frame given out
        self._wanted: set[int] = set()
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
                heappush(self._times, (packet.pts, float(packet.pts * packet.time_base)))
            if len(self._times) > _REORDERED:
                self._decide()
            while held and not (self._times and self._is_open(held[0])):
                yield held[0], self._is_wanted(held.popleft())
        while self._times:
            pts = self._decide()
            if not self._times:
                self._wanted.add(pts)
        for packet in held:
            yield packet, self._is_wanted(packet)

    def index_of(self, pts: int | None) -> int:
        """The index, among all frames of the source, of the next frame that the decoder gave out."""
        while self._shown and pts is not None and self._shown[0] < pts:
            self._shown.popleft()
            self._next_index += 1
        if self._shown and self._shown[0] == pts:
            self._shown.popleft()
        self._next_index += 1
        return self._next_index - 1

    def _decide(self) -> int:
        pts, seconds = heappop(self._times)
        self._shown.append(pts)
        if self._cadence.takes(self._timeline.place(seconds)):
            self._wanted.add(pts)
        return pts

    def _is_open(self, packet: Packet[VideoStream]) -> bool:
        return packet.pts is not None and not packet.is_discard and packet.pts >= self._times[0][0]

    def _is_wanted(self, packet: Packet[VideoStream]) -> bool:
        if packet.pts is None or packet.is_discard:
            return True
        wanted = packet.pts in self._wanted
        self._wanted.discard(packet.pts)
        return wanted
