"""One camera kept alive: connected for ever, watched, its frames put into a buffer."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

from ..decode.picture import Converter
from .address import Address
from .buffer import Arrived, SessionEnded
from .live import ConnectionFailed, LiveStream, StreamStalled
from .reader import CameraStatus, ReaderParts, State
from .reading import Reading, Watchdog

_LOG = logging.getLogger("facesieve.serve")
_THUMB_PX = 48
_WINDOWS = 16  # sizes kept ready: of 950 faces in a film of 33 sizes, a twelfth were cut at one that was not


class Camera:
    """Reads one camera in a thread of its own until it is stopped, whatever the camera does.

    Frames go into the buffer under a session number; a session ends, with SessionEnded in the buffer, when
    the connection breaks, the picture's size changes or the camera's clock jumps, so that nobody tracks
    across. Times of frames start anew with each session. given: frames put into the buffer.
    """

    def __init__(self, address: Address, parts: ReaderParts) -> None:
        self.name, self.buffer = parts.name, parts.buffer
        self._address, self._settings, self._parts = address, parts.settings, parts
        self._clock, self._backoff, self._status = parts.clock, parts.backoff(), parts.stopped()
        self._lock = threading.Lock()
        self._stopping, self._anew = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._stream: LiveStream | None = None
        self._hz = parts.settings.hz
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
        reason = ""
        while not self._stopping.is_set():
            self._to(State.CONNECTING, f"again, after: {reason}" if reason else "")
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
        watch = Watchdog(self._settings)
        try:
            with LiveStream(
                self._address,
                self._settings.options,
                on_packet=watch.check,
                on_decoded=self._parts.on_decoded,
            ) as stream:
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

    def _read(self, stream: LiveStream, watch: Watchdog) -> None:
        reading: Reading | None = None
        converter, before = Converter(windows=_WINDOWS), self._status
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
                if broken:
                    _LOG.info("camera %s: %s: its tracks end", self.name, broken)
                reading = Reading(self.name, stream.rate, converter, stream.aspect)
                self._set(sessions=self._status.sessions + 1)
                if not renewed:
                    self._to(State.LIVE, broken)
            watch.frame(now, sent_s)
            frame = reading.due(decoded, sent_s, now, wall_s, self._hz)
            self._set(
                frames=self._status.frames + 1,
                undecodable=before.undecodable + stream.undecodable,
                damaged=before.damaged + stream.damaged,
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
        self._parts.on_state(status)

    def _set(
        self,
        *,
        sessions: int | None = None,
        frames: int | None = None,
        undecodable: int | None = None,
        damaged: int | None = None,
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
                damaged=was.damaged if damaged is None else damaged,
                last_frame_s=was.last_frame_s if last_frame_s is None else last_frame_s,
                width=width,
                height=height,
                codec=codec or was.codec,
            )
