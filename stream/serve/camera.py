"""One camera kept alive: connected for ever, watched, its frames put into a buffer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from typing import Protocol

import numpy as np
from av.video.frame import VideoFrame

from ..cadence import Cadence
from ..decode.orientation import Orientation, of_frame
from ..decode.picture import Converter, FramePicture
from ..decode.timeline import Timeline
from ..ports import Clock
from ..types import U8, Frame
from .address import Address
from .backoff import Backoff
from .buffer import Arrived, FrameBuffer, SessionEnded
from .live import ConnectionFailed, LiveOptions, LiveStream, StreamStalled
from .wall import WallClock

_THUMB_PX = 48


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
    were damaged. last_frame_s: Unix time of the newest frame. unmatched: frames of a sub-stream that had no
    counterpart in the main stream.
    """

    camera: str
    state: State
    since_s: float
    reason: str = ""
    sessions: int = 0
    tries: int = 0
    frames: int = 0
    undecodable: int = 0
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


class Camera:
    """Reads one camera in a thread of its own until it is stopped, whatever the camera does.

    Frames go into the buffer under a session number; a session ends, with SessionEnded in the buffer, when
    the connection breaks, the picture's size changes or the camera's clock jumps, so that nobody tracks
    across. Times of frames start anew with each session. on_state: told of every change, from the camera's
    thread. sessions: of this camera before, which are not counted again. given: frames put into the buffer.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        settings: CameraSettings,
        buffer: FrameBuffer,
        *,
        clock: Clock,
        rng: random.Random,
        on_state: Callable[[CameraStatus], None] = lambda status: None,
        sessions: int = 0,
    ) -> None:
        self.name, self.buffer = name, buffer
        self._address, self._settings, self._clock = address, settings, clock
        self._on_state = on_state
        self._backoff = Backoff(settings.backoff_first_s, settings.backoff_most_s, rng)
        self._status = CameraStatus(name, State.STOPPED, clock.now_s(), sessions=sessions)
        self._lock = threading.Lock()
        self._stopping, self._anew = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._stream: LiveStream | None = None
        self._hz = settings.hz
        self.given = 0

    @property
    def status(self) -> CameraStatus:
        """As it is now."""
        return self._status

    @property
    def hz(self) -> float:
        """Frames a second that are given on; may be set at any time."""
        return self._hz

    @hz.setter
    def hz(self, hz: float) -> None:
        self._hz = hz

    def renew(self) -> None:
        """From any thread: begin another session with the next frame."""
        self._anew.set()

    def start(self) -> None:
        """Begin reading; does nothing if it has begun."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=f"camera-{self.name}", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Hang up and end the session. False if a system call held the thread for longer than timeout_s."""
        self._stopping.set()
        with self._lock:
            if self._stream is not None:
                self._stream.leave()
        self.buffer.close()
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                return False
            self._thread = None
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._to(State.CONNECTING, "")
            began = time.monotonic()
            reason = self._session()
            if time.monotonic() - began > self._settings.good_s:
                self._backoff.reset()
            if self._stopping.is_set():
                break
            self._to(State.LOST, reason)
            wait_s = self._backoff.next_s()
            self._to(State.BACKING_OFF, f"{reason}; next try in {wait_s:.1f} s")
            self._stopping.wait(wait_s)
        self._to(State.STOPPED, "")

    def _session(self) -> str:
        """One connection, from the first try to its end; why it ended, in words."""
        watch = _Watch(self._settings)
        try:
            with LiveStream(self._address, self._settings.options, on_packet=watch.check) as stream:
                with self._lock:
                    self._stream = stream
                self._set(codec=stream.codec)
                watch.begin()
                self._read(stream, watch)
            reason = "the camera ended the stream"
        except StreamStalled as error:
            reason = str(error)
            self._to(State.STALLED, reason)
        except ConnectionFailed as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  whatever its data made fail ends a session, never the camera
            reason = f"{self._address.shown}: {self._address.redacted(str(error)) or type(error).__name__}"
        finally:
            with self._lock:
                self._stream = None
            self._end_session("the connection ended")
        return reason

    def _read(self, stream: LiveStream, watch: _Watch) -> None:
        reading: _Reading | None = None
        converter, before = Converter(), self._status.undecodable
        for decoded, sent_s in stream:
            if self._stopping.is_set():
                return
            now, wall_s = time.monotonic(), self._clock.now_s()
            broken = reading.broken(decoded, sent_s, now, self._settings.jump_s) if reading else ""
            renewed = self._anew.is_set() and reading is not None and not broken
            self._anew.clear()
            if reading is None or broken or renewed:
                if reading is not None:
                    self._end_session(broken or "it was asked for")
                reading = _Reading(self.name, stream.rate, converter)
                self._set(sessions=self._status.sessions + 1)
                if not renewed:
                    self._to(State.LIVE, broken)
            watch.frame(now, sent_s)
            frame = reading.due(decoded, sent_s, now, wall_s, self._hz)
            self._set(
                frames=self._status.frames + 1,
                undecodable=before + stream.undecodable,
                last_frame_s=wall_s,
                size=(decoded.width, decoded.height),
            )
            if frame is not None:
                step = max(1, min(frame.picture.width, frame.picture.height) // _THUMB_PX)
                watch.picture(now, frame.picture.luma(step))
                self.given += 1
                self.buffer.put(Arrived(self._status.sessions, frame, now))

    def _end_session(self, reason: str) -> None:
        self.buffer.end(SessionEnded(self._status.sessions, reason))

    def _to(self, state: State, reason: str) -> None:
        with self._lock:
            self._status = replace(
                self._status,
                state=state,
                reason=reason,
                since_s=self._clock.now_s(),
                tries=self._backoff.tries,
            )
            status = self._status
        self._on_state(status)

    def _set(
        self,
        *,
        sessions: int | None = None,
        frames: int | None = None,
        undecodable: int | None = None,
        last_frame_s: float | None = None,
        size: tuple[int, int] | None = None,
        codec: str | None = None,
    ) -> None:
        """Note what is given; the rest stays."""
        with self._lock:
            was = self._status
            width, height = size or (was.width, was.height)
            self._status = replace(
                was,
                sessions=was.sessions if sessions is None else sessions,
                frames=was.frames if frames is None else frames,
                undecodable=was.undecodable if undecodable is None else undecodable,
                last_frame_s=was.last_frame_s if last_frame_s is None else last_frame_s,
                width=width,
                height=height,
                codec=codec or was.codec,
            )


class _Reading:
    """One session: the times of its frames, which are due, and whether the next still belongs to it."""

    def __init__(self, name: str, rate: Fraction | None, converter: Converter) -> None:
        self._name, self._converter = name, converter
        self._timeline, self._wall = Timeline(rate), WallClock()
        self._cadence, self._hz = Cadence(hz=0.0), 0.0
        self._orientations: dict[int, Orientation] = {}
        self._size: tuple[int, int] | None = None
        self._sent_s: float | None = None
        self._least_lag_s = float("inf")
        self._index = 0

    def broken(self, frame: VideoFrame, sent_s: float | None, now: float, jump_s: float) -> str:
        """Why this frame does not follow the one before; "" when it does."""
        if self._size is not None and self._size != (frame.width, frame.height):
            return f"the picture changed from {self._size[0]}×{self._size[1]} to {frame.width}×{frame.height}"
        if self._sent_s is None or sent_s is None:
            return ""
        step_s = sent_s - self._sent_s
        # After a gap in the network the camera is ahead of its frame before, but not of our clock.
        ahead_s = self._least_lag_s - (now - sent_s)
        if step_s < -jump_s or (step_s > jump_s and ahead_s > jump_s):
            return f"the camera's clock jumped by {step_s:+.1f} s"
        return ""

    def due(
        self, decoded: VideoFrame, sent_s: float | None, now: float, wall_s: float, hz: float
    ) -> Frame | None:
        """Place the next frame in time; it is given if its turn has come."""
        self._size = decoded.width, decoded.height
        if sent_s is not None:
            self._sent_s, self._least_lag_s = sent_s, min(self._least_lag_s, now - sent_s)
        at_s, index = self._timeline.place(sent_s), self._index
        shown_s = self._wall.place(at_s, wall_s)
        self._index += 1
        if hz != self._hz:
            self._cadence, self._hz = Cadence(hz=hz), hz
        if not self._cadence.takes(at_s):
            return None
        angle = decoded.rotation
        if angle not in self._orientations:
            self._orientations[angle] = of_frame(decoded)
        picture = FramePicture(decoded, self._converter, self._orientations[angle])
        return Frame(self._name, index, at_s, shown_s, picture)


class _Watch:
    """Gives up on a connection that is alive and useless. Silence is not its business: no packet, no look."""

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        self._sent_s: float | None = None
        self._thumb: U8 | None = None
        self.begin()

    def begin(self) -> None:
        """The connection is open: count from now."""
        self._frame_at = self._moved_at = self._changed_at = time.monotonic()

    def frame(self, now: float, sent_s: float | None) -> None:
        """A frame was decoded. sent_s: its time by the camera."""
        self._frame_at = now
        if sent_s is None or sent_s != self._sent_s:
            self._moved_at = now
        self._sent_s = sent_s

    def picture(self, now: float, thumb: U8) -> None:
        """What a frame looks like."""
        if self._thumb is None or not np.array_equal(thumb, self._thumb):
            self._changed_at = now
        self._thumb = thumb

    def check(self) -> None:
        """Raises StreamStalled."""
        now, stall_s, frozen_s = time.monotonic(), self._settings.stall_s, self._settings.frozen_s
        if now - self._frame_at > stall_s:
            raise StreamStalled(f"no frame could be decoded for {stall_s:g} s")
        if now - self._moved_at > stall_s:
            raise StreamStalled(f"its times have stood still for {stall_s:g} s")
        if frozen_s is not None and now - self._changed_at > frozen_s:
            raise StreamStalled(f"its picture has been frozen for {frozen_s:g} s")
