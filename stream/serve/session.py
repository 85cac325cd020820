"""The frames of one session of a camera, as a source of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Protocol

from ..types import Frame
from .buffer import Arrived, FrameBuffer, SessionEnded
from .plan import CameraPlan

POLL_S: Final = 0.25


class Taker(Protocol):
    """Who has the frames processed."""

    plan: CameraPlan

    @property
    def is_stopping(self) -> bool:
        """Whether no more are wanted."""

    def begun(self, arrived: Arrived) -> None:
        """The pipeline gets a frame."""

    def done(self, arrived: Arrived) -> None:
        """The pipeline has finished with a frame."""

    def ends(self, ended: SessionEnded) -> None:
        """The session has no more frames; the pipeline has still to end its tracks."""


class SessionFrames:
    """The frames of one session as a source: ends when the session does."""

    stills = False
    duration_s: float | None = None
    damage: str | None = None

    def __init__(self, taker: Taker, first: Arrived, buffer: FrameBuffer) -> None:
        self._taker, self._session, self._buffer = taker, first.session, buffer
        self._first: Arrived | None = first

    @property
    def name(self) -> str:
        return self._taker.plan.name

    def __iter__(self) -> Iterator[Frame]:
        arrived, self._first = self._first, None  # else it is held for as long as the session lasts
        while arrived is not None:
            self._taker.begun(arrived)
            frame = arrived.frame
            yield replace(frame, picture=self._taker.plan.areas.hide(frame.picture))
            self._taker.done(arrived)
            self._buffer.processed = arrived
            arrived = self._next()

    def close(self) -> None:
        """Nothing is held."""

    def _next(self) -> Arrived | None:
        """The next frame of the session; None when it is over."""
        while not self._taker.is_stopping:
            item = self._buffer.take(POLL_S)
            if isinstance(item, Arrived):
                return item
            if item is not None and item.session >= self._session:
                self._taker.ends(item)
                return None
            if item is None and self._buffer.is_closed:
                return None
        return None
