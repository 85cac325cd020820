"""Interlaced frames made whole: half of their rows were taken at another moment."""

from __future__ import annotations

from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame

_Key = tuple[str, int, int]


class Deinterlacer:
    """FFmpeg's bwdif on those frames that are flagged interlaced; the others pass untouched.

    Nothing is set up before the first flagged frame. From then on frames come out one frame late, one for
    one, with their own times.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._key: _Key | None = None

    def feed(self, frame: VideoFrame | None) -> list[VideoFrame]:
        """The frames that are ready after this one; None after the last."""
        if frame is None:
            return self._finish()
        if self._graph is None and not frame.interlaced_frame:
            return [frame]
        key = (frame.format.name, frame.width, frame.height)
        ready = [] if self._key == key else self._finish()
        if self._graph is None:
            if not frame.interlaced_frame:
                return [*ready, frame]
            self._graph, self._key = _bwdif(frame), key
        self._graph.push(frame)
        return ready + _drain(self._graph)

    def _finish(self) -> list[VideoFrame]:
        """The frames still held."""
        if self._graph is None:
            return []
        self._graph.push(None)
        ready = _drain(self._graph)
        self._graph = self._key = None
        return ready


def _bwdif(frame: VideoFrame) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _drain(graph: Graph) -> list[VideoFrame]:
    ready: list[VideoFrame] = []
    while True:
        try:
            ready.append(graph.vpull())
        except (BlockingIOError, EOFError, FFmpegError):
            return ready
