"""What all readers of cameras have in common: what they are told, what they tell, what they do."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from ..ports import Clock
from .backoff import Backoff
from .buffer import FrameBuffer
from .live import LiveOptions


class State(StrEnum):
    """Of a camera. It starts as STOPPED, and only stop() brings it back there."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    LOST = "lost"
    BACKING_OFF = "backing_off"


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """How a camera is read and watched.

    hz: frames a second that are given on, 0 = all. stall_s: without a frame, or with frames whose times stand
    still, for so long it counts as stalled and is connected anew. frozen_s: the same for a picture in which
    nothing changes at all; None never. jump_s: its clock jumped when its times and ours disagree by more
    over one frame; its tracks end, the connection stays. backoff_first_s, backoff_most_s: waits between
    tries. good_s: a connection that lasted so long starts the waits anew. settle_s: a file in a folder has
    been unchanged for so long before it counts as finished.
    """

    options: LiveOptions = field(default_factory=LiveOptions)
    hz: float = 8.0
    stall_s: float = 10.0
    frozen_s: float | None = 60.0
    jump_s: float = 2.0
    backoff_first_s: float = 1.0
    backoff_most_s: float = 60.0
    good_s: float = 30.0
    settle_s: float = 5.0


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """What is known of a camera. since_s: Unix time of the last change of state. reason: of it, in words.

    sessions: unbroken stretches of frames begun so far. frames: decoded; undecodable: packets and frames that
    were damaged; damaged: frames left out as a packet before them was lost. last_frame_s: Unix time of the
    newest frame. unmatched: frames of a sub-stream that had no counterpart in the main stream.
    """

    camera: str
    state: State
    since_s: float
    reason: str = ""
    sessions: int = 0
    tries: int = 0
    frames: int = 0
    undecodable: int = 0
    damaged: int = 0
    unmatched: int = 0
    last_frame_s: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None


class Reader(Protocol):
    """Whoever puts the frames of a camera into its buffer, in threads of its own, until it is stopped.

    given: frames put there. hz: frames a second that are given on; may be set at any time.
    """

    name: str
    buffer: FrameBuffer
    given: int

    @property
    def status(self) -> CameraStatus:
        """As it is now."""

    @property
    def hz(self) -> float: ...
    @hz.setter
    def hz(self, hz: float) -> None: ...
    def renew(self) -> None:
        """From any thread: begin another session with the next frame, where the source can be cut there."""

    def start(self) -> None:
        """Begin; does nothing if it has begun."""

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Hang up and end the session. False if it takes longer than timeout_s."""


def _untold(_status: CameraStatus) -> None:
    """Nobody asks."""


def _uncounted(_took_s: float) -> None:
    """Nobody counts."""


@dataclass(frozen=True, slots=True)
class ReaderParts:
    """What a reader works with, whatever its source.

    name: of the camera. buffer: that it fills. rng: of the waits between tries. on_state: told of every
    change, from the reader's threads. sessions: of this camera before, which are not counted again.
    before: how it was when it was paused; what was counted then goes on.
    on_decoded: told the seconds that each packet, or frame of a film, took to decode, from the reader's
    threads.
    """

    name: str
    settings: CameraSettings
    buffer: FrameBuffer
    clock: Clock
    rng: random.Random
    on_state: Callable[[CameraStatus], None] = _untold
    sessions: int = 0
    on_decoded: Callable[[float], None] = _uncounted
    before: CameraStatus | None = None

    def stopped(self) -> CameraStatus:
        """The camera's status before the beginning."""
        if self.before is not None:
            return replace(
                self.before, state=State.STOPPED, since_s=self.clock.now_s(), reason="", tries=0
            )  # fmt: skip
        return CameraStatus(self.name, State.STOPPED, self.clock.now_s(), sessions=self.sessions)

    def backoff(self) -> Backoff:
        """New waits between tries."""
        first_s, most_s = self.settings.backoff_first_s, self.settings.backoff_most_s
        return Backoff(first_s, most_s, self.rng)
