"""Pictures smeared by lost packets, which no flag of FFmpeg's frames tells: its log does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av.logging
from av.video.frame import VideoFrame

Told = tuple[int, str, str]
"""Level, who tells (a protocol's or a codec's name), text."""

_lock = threading.Lock()
_ears = 0


@contextmanager
def heard() -> Iterator[list[Told]]:
    """What FFmpeg warns of in this thread, for as long as the block lasts; whoever reads it empties it.

    Its log is one for the process: while anybody listens, PyAV's callback takes the GIL for each warning, so
    there must be no decoder with threads of its own, which could wait for the GIL while it is waited for.
    """
    global _ears
    with _lock:
        if not _ears:
            silent = logging.getLogger("libav")  # of threads that do not listen; may show a URL's password
            silent.propagate, silent.handlers[:] = False, [logging.NullHandler()]
            av.logging.set_level(av.logging.WARNING)
        _ears += 1
    try:
        with av.logging.Capture() as told:
            yield told
    finally:
        with _lock:
            _ears -= 1
            if not _ears:
                av.logging.set_level(None)


class Damage:
    """Which frames show what was lost: from a lost packet, an error of the decoder or a frame that it marks
    on, all up to the next key frame that is whole, as each is predicted from those before.

    codec: name of the decoder. frames: left out so far.
    """

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._hit = self._suspect = False
        self.frames = 0

    def hear(self, told: list[Told]) -> None:
        """Take in what FFmpeg told since the last time; told is emptied."""
        self._hit |= any(
            text.startswith("RTP: missed") or (level <= av.logging.ERROR and name == self._codec)
            for level, name, text in told
        )
        told.clear()

    def spoils(self, frame: VideoFrame) -> bool:
        """Whether the next frame may be smeared."""
        if self._hit or frame.is_corrupt:
            self._suspect = True
        elif frame.key_frame:
            self._suspect = False
        self._hit = False
        self.frames += self._suspect
        return self._suspect
