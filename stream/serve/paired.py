"""A camera read twice: its sub-stream for detection, its main stream for the crops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ..types import Frame
from .address import Address
from .buffer import Arrived, FrameBuffer, SessionEnded
from .camera import Camera
from .offset import StreamOffset, thumb
from .pairing import PairedPicture, PairingSettings, Pairs, same_aspect
from .reader import CameraSettings, CameraStatus, ReaderParts, State

_MEASURE_EVERY_S = 1.0
_MAIN, _SUB = "main stream", "sub-stream"


class PairedCamera:
    """Two streams of one camera as one: each is kept alive by itself, see Camera; the buffer gets pairs.

    The frames have the sub-stream's times and a PairedPicture. A session lasts while both streams do; the
    camera is live while pairs are made, and its status tells else which stream is missing, and why. A frame
    of the sub-stream without a main frame of its moment is left out and counted as unmatched. The constant
    offset between the streams is measured in what they show, see StreamOffset; what was measured outlives a
    connection.

    Its settings are of both streams; hz is the sub-stream's.
    """

    def __init__(self, main: Address, sub: Address, pairing: PairingSettings, parts: ReaderParts) -> None:
        self.name, self.buffer, self._settings = parts.name, parts.buffer, parts.settings
        self._pairing, self._parts, self._status = pairing, parts, parts.stopped()
        self._told = threading.Lock()  # held while a change is told, so that changes are told in order
        self._lock = threading.Lock()
        self._pairs, self._offset = Pairs(pairing), StreamOffset()
        self._open = False
        self._both_since: float | None = None
        self._measured_at = self._paired_at = 0.0
        self._waiting = self._mismatch = ""
        self.given = 0

        def reader(what: str, address: Address, own: CameraSettings, tap: FrameBuffer) -> Camera:
            name = f"{parts.name} ({what})"
            of_one = replace(parts, name=name, settings=own, buffer=tap, on_state=self._changed, sessions=0)
            if (was := parts.before) is not None:  # what status adds up is counted once
                mine = replace(was, frames=0) if what == _MAIN else replace(was, undecodable=0, damaged=0)
                of_one = replace(of_one, before=replace(mine, camera=name, sessions=0))
            return Camera(address, of_one)

        every = replace(parts.settings, hz=0.0)
        self._main = reader(_MAIN, main, every, _Tap(self._take_main, self._lost_main))
        self._sub = reader(_SUB, sub, parts.settings, _Tap(self._take_sub, self._lost_sub))
        self._unmatched_before = 0 if parts.before is None else parts.before.unmatched

    @property
    def status(self) -> CameraStatus:
        """As it is now: picture size, codec and damage of the main stream, frames of the sub-stream."""
        main, sub = self._main.status, self._sub.status
        return replace(
            self._status,
            tries=max(main.tries, sub.tries),
            frames=sub.frames,
            undecodable=main.undecodable + sub.undecodable,
            damaged=main.damaged + sub.damaged,
            unmatched=self._unmatched_before + self._pairs.unmatched,
            last_frame_s=sub.last_frame_s,
            width=main.width,
            height=main.height,
            codec=main.codec,
        )

    @property
    def hz(self) -> float:
        """Frames a second of the sub-stream that are given on; may be set at any time."""
        return self._sub.hz

    @hz.setter
    def hz(self, hz: float) -> None:
        self._sub.hz = hz

    @property
    def offset_s(self) -> float | None:
        """By which the main stream comes later than the sub-stream; None until the scene has told."""
        return self._offset.value_s

    def renew(self) -> None:
        """From any thread: begin another session with the next pair."""
        with self._lock:
            was_open, self._open = self._open, False
            if was_open:
                self.buffer.end(SessionEnded(self._status.sessions, "it was asked for"))

    def start(self) -> None:
        """Begin reading both; does nothing if it has begun."""
        self._main.start()
        self._sub.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Hang up both and end the session. False if a system call held a thread for longer than that."""
        self.buffer.close()
        self._main.stop(0.0)  # both are told before either is waited for
        ended = self._sub.stop(timeout_s)
        return self._main.stop(timeout_s) and ended

    def _take_main(self, arrived: Arrived) -> None:
        seen = thumb(arrived.frame.picture)
        with self._lock:
            self._pairs.main(arrived)
            self._offset.main(arrived.frame.wall_s or 0.0, seen)
            self._give()
        self._changed()

    def _take_sub(self, arrived: Arrived) -> None:
        seen = thumb(arrived.frame.picture)
        with self._lock:
            self._pairs.sub(arrived)
            self._offset.sub(arrived.frame.wall_s or 0.0, seen)
            self._give()
        self._changed()

    def _give(self) -> None:
        """Put the pairs that can be told into the buffer."""
        now = time.monotonic()
        if self._main.status.state is not State.LIVE or self._sub.status.state is not State.LIVE:
            self._pairs.clear()
            return
        if self._both_since is None:
            self._both_since = self._measured_at = self._paired_at = now
        if now - self._both_since < self._pairing.settle_s:
            self._waiting = "measuring how far its two streams are apart"
            self._pairs.expire(now)
            return
        if now - self._measured_at >= _MEASURE_EVERY_S or self._measured_at == self._both_since:
            self._measured_at = now
            self._offset.measure()
        for sub, main in self._pairs.ready(self._offset.value_s or 0.0, now):
            self._pair(sub, main, now)
        if now - self._paired_at > self._settings.stall_s and not self._mismatch:
            self._waiting = (
                f"no frame of the main stream was within {1000 * self._pairing.tolerance_s:g} ms of the "
                f"sub-stream's for {self._settings.stall_s:g} s"
            )

    def _pair(self, sub: Arrived, main: Arrived, now: float) -> None:
        large, small = main.frame.picture, sub.frame.picture
        if not same_aspect(large, small):
            self._pairs.unmatched += 1
            self._mismatch = (
                f"the main stream is {large.width}×{large.height} and the sub-stream {small.width}×"
                f"{small.height}: expected the same aspect ratio within 2 %"
            )
            return
        self._paired_at, self._waiting, self._mismatch = now, "", ""
        if not self._open:
            self._open = True
            self._status = replace(self._status, sessions=self._status.sessions + 1)
        at = sub.frame
        frame = Frame(self.name, at.index, at.pts_s, at.wall_s, PairedPicture(large, small))
        self.given += 1
        self.buffer.put(Arrived(self._status.sessions, frame, sub.monotonic_s))

    def _lost_main(self, ended: SessionEnded) -> None:
        self._lost(_MAIN, ended)

    def _lost_sub(self, ended: SessionEnded) -> None:
        self._lost(_SUB, ended)

    def _lost(self, what: str, ended: SessionEnded) -> None:
        """A stream's frames end, or go on unlike before."""
        with self._lock:
            self._pairs.clear()
            self._offset.begin()
            self._both_since, self._waiting, self._mismatch = None, "", ""
            was_open, self._open = self._open, False
            if was_open:
                self.buffer.end(SessionEnded(self._status.sessions, f"{what}: {ended.reason}"))

    def _changed(self, _of_one: CameraStatus | None = None) -> None:
        """Tell of it when what both streams are together has changed."""
        with self._told:
            state, reason = self._together()
            if (state, reason) == (self._status.state, self._status.reason):
                return
            with self._lock:
                self._status = replace(
                    self._status, state=state, reason=reason, since_s=self._parts.clock.now_s()
                )  # fmt: skip
            self._parts.on_state(self.status)

    def _together(self) -> tuple[State, str]:
        for what, stream in ((_MAIN, self._main), (_SUB, self._sub)):
            one = stream.status
            if one.state is not State.LIVE:
                known = f"{what}: {one.reason}" if one.reason else what
                return one.state, "" if one.state is State.STOPPED else known
        if self._mismatch:
            return State.STALLED, self._mismatch
        if self._open and not self._waiting:
            return State.LIVE, ""
        return (State.STALLED if self._open else State.CONNECTING), self._waiting


class _Tap(FrameBuffer):
    """Hands on what a stream's reader puts in, in the reader's thread; holds nothing."""

    def __init__(
        self, on_frame: Callable[[Arrived], None], on_end: Callable[[SessionEnded], None]
    ) -> None:  # fmt: skip
        super().__init__("latest")
        self._on_frame, self._on_end = on_frame, on_end

    def put(self, frame: Arrived) -> bool:
        """Hand a frame on; False once closed."""
        if not self.is_closed:
            self._on_frame(frame)
        return not self.is_closed

    def end(self, ended: SessionEnded) -> None:
        """Hand the end of a session on."""
        self._on_end(ended)
