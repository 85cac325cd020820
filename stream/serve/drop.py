"""A folder that files drop into, as a camera: each finished video is processed once, in full, in order."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ..cadence import Cadence
from ..decode.names import printable
from ..decode.video import VideoSource
from ..types import Frame
from .address import Address
from .buffer import Arrived, SessionEnded
from .drop_files import DONE, FAILED, Progress, Settling, away, forget, note, noted, opened, version
from .reader import CameraStatus, ReaderParts, State

_LOG = logging.getLogger("facesieve.serve")
_NOTE_EVERY_S = 1.0
_SCAN_S = 1.0
_LEAVE_S = 1.0
_POLL_S = 0.1


@dataclass(slots=True)
class _Read:
    """What became of a file. frames: given on. failure: why it could not be used; damage: what part could not
    be."""

    frames: int = 0
    failure: str = ""
    damage: str | None = None


class DropFolder:
    """Reads the videos of one folder in a thread of its own until it is stopped; see Reader.

    A file is finished when size, time and inode have stayed for settings.settle_s; hidden ones and those
    named like a download that goes on are left alone, and so is all that is no regular file: links are not
    followed. Files go by their time, oldest first, each as a session at full speed. What the pipeline is done
    with is moved to done/ in the folder, what cannot be used to failed/; nothing there is overwritten. A note
    in the folder tells how far the present file is: after a restart it goes on from there, at most the last
    second of work is done twice after a crash, and nothing after a clean end.

    Its buffer must be of the policy block. Frames have the file's times; wall_s is when they were read.
    """

    def __init__(self, address: Address, parts: ReaderParts) -> None:
        self.name, self.buffer, self.hz, self.given = parts.name, parts.buffer, parts.settings.hz, 0
        self._folder, self._shown = Path(address.url), address.shown
        self._settings, self._clock, self._parts = parts.settings, parts.clock, parts
        self._backoff, self._status = parts.backoff(), parts.stopped()
        self._settling = Settling(self._folder, self._settings.settle_s)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def status(self) -> CameraStatus:
        """As it is now."""
        return self._status

    def renew(self) -> None:
        """A file is not cut: what was wrong with a part of it is wrong with the whole, see settle."""

    def start(self) -> None:
        """Begin; does nothing if it has begun."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=f"folder-{self.name}", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the session, and note how far it came. False if it takes longer than timeout_s."""
        self._stopping.set()
        self.buffer.close()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
            self._thread = None
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._to(State.CONNECTING, "")
            try:
                self._serve()
            except OSError as error:
                reason = f"{self._shown}: {error.strerror or error}"
                if error.filename is not None:
                    reason += f" ({printable(str(error.filename))})"
                wait_s = self._backoff.next_s()
                self._to(State.LOST, reason)
                self._to(State.BACKING_OFF, f"{reason}; next try in {wait_s:.1f} s")
                self._stopping.wait(wait_s)
        self._to(State.STOPPED, "")

    def _serve(self) -> None:
        """Wait for files and process them. Raises OSError when the folder cannot be used."""
        progress = self._tidied()
        self._backoff.reset()
        self._to(State.LIVE, "waiting for files")
        while not self._stopping.is_set():
            name = self._settling.finished(time.monotonic())
            if name is None:
                self._stopping.wait(min(_SCAN_S, self._settings.settle_s / 2))
                continue
            self._process(name, progress if progress is not None and progress.name == name else None)
            progress = None

    def _tidied(self) -> Progress | None:
        """See to the folders, and to a file that only had to be moved; how far another one came."""
        for made in (DONE, FAILED):
            path = self._folder / made
            if not self._folder.is_dir():
                raise FileNotFoundError(2, "no such folder", str(self._folder))
            path.mkdir(mode=0o700, exist_ok=True)
            if not stat.S_ISDIR(path.lstat().st_mode):
                raise NotADirectoryError(20, "expected a folder, not a link to one", str(path))
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "files cannot be moved within it", str(self._folder))
        progress = noted(self._folder)
        if progress is None or progress.verdict is None:
            return progress
        if version(self._folder / progress.name) == progress.version:
            away(self._folder, progress.name, progress.verdict)
        forget(self._folder)
        return None

    def _process(self, name: str, progress: Progress | None) -> None:
        path, of = self._folder / name, version(self._folder / name)
        self._to(State.LIVE, f"reading {printable(name)}")
        try:
            with opened(path) as (file, of):
                first = progress.next_index if progress is not None and progress.version == of else 0
                read = self._read(file, Progress(name, of, first))
        except PermissionError as error:
            read = _Read(failure=f"cannot be read ({error.strerror})")
        if self._stopping.is_set():
            return
        if of is None or version(path) != of:
            self._to(State.LIVE, f"{printable(name)} changed while it was read, and is read again")
            _LOG.warning("camera %s: %s", self.name, self._status.reason)
            return
        verdict = FAILED if read.failure else DONE
        note(self._folder, Progress(name, of, 0, verdict))
        kept = away(self._folder, name, verdict)
        forget(self._folder)
        told = read.failure or read.damage
        at = f"{printable(name)} is in {verdict}/{printable(kept) if kept != name else ''}"
        _LOG.log(logging.WARNING if told else logging.INFO, "camera %s: %s%s", self.name, at, _because(told))
        self._to(State.LIVE, f"waiting for files; {at}{_because(told)}" if told else "waiting for files")

    def _read(self, file: BinaryIO, progress: Progress) -> _Read:
        """One file, from its first frame that is due to what the pipeline made of its last."""
        read, session = _Read(), self._status.sessions + 1
        try:
            self._give_all(file, progress, session, read)
        except Exception as error:  # noqa: BLE001  one film that fails must not stop the others
            read.failure = printable(str(error)) or type(error).__name__
        finally:
            if read.frames:
                self.buffer.end(SessionEnded(session, "the end of the file"))
        if read.frames:
            read.failure = self._settled(session) or read.failure
            if self._stopping.is_set():
                self._note(progress, session)
        return read

    def _give_all(self, file: BinaryIO, progress: Progress, session: int, read: _Read) -> None:
        noted_at = time.monotonic()
        with self._source(file, progress.name) as source:
            for counted in Cadence(hz=self.hz).due(self._decoded(source)):
                if self._stopping.is_set():
                    return
                if counted.frame.index < progress.next_index:
                    continue
                if not self._give(counted.frame, session):
                    return
                read.frames += 1
                if time.monotonic() - noted_at > _NOTE_EVERY_S:
                    noted_at = time.monotonic()
                    self._note(progress, session)
            read.damage = source.damage

    def _decoded(self, source: VideoSource) -> Iterator[Frame]:
        """The source's frames, timed."""
        frames = iter(source)
        while True:
            began = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                return
            self._parts.on_decoded(time.perf_counter() - began)
            yield frame

    def _source(self, file: BinaryIO, name: str) -> VideoSource:
        limit = self._settings.options.max_pixels
        return VideoSource(file, name=name, threads=1, max_pixels=limit, hz=self.hz)

    def _give(self, frame: Frame, session: int) -> bool:
        now_s = self._clock.now_s()
        width, height = frame.picture.width, frame.picture.height
        self._status = replace(
            self._status,
            sessions=session,
            frames=self._status.frames + 1,
            last_frame_s=now_s,
            width=width,
            height=height,
        )
        self.given += 1
        placed = replace(frame, source=self.name, wall_s=now_s)
        return self.buffer.put(Arrived(session, placed, time.monotonic()))

    def _settled(self, session: int) -> str:
        """Wait until the pipeline is done with the session; why it failed, "" if it did not."""
        leave_at = None
        while True:
            failure = self.buffer.settled(session, _POLL_S)
            if failure is not None:
                return failure
            if self._stopping.is_set():
                leave_at = leave_at or time.monotonic() + _LEAVE_S
                if time.monotonic() > leave_at:
                    return ""

    def _note(self, progress: Progress, session: int) -> None:
        done = self.buffer.processed
        if done is not None and done.session == session:
            note(self._folder, replace(progress, next_index=done.frame.index + 1))

    def _to(self, state: State, reason: str) -> None:
        if (state, reason) == (self._status.state, self._status.reason):
            return
        tries, now_s = self._backoff.tries, self._clock.now_s()
        self._status = replace(self._status, state=state, reason=reason, since_s=now_s, tries=tries)
        self._parts.on_state(self._status)


def _because(told: str | None) -> str:
    return f": {told}" if told else ""
