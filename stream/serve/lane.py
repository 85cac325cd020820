"""One camera on its way through the pipeline."""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import FacesieveError
from ..pipeline import Pipeline
from ..ports import Clock
from ..progress import Progress
from ..types import UNCONFIRMED, Detections, Frame, ShotRevision, TrackEnd, Tracking, TrackResult
from .buffer import Arrived, FrameBuffer, SessionEnded
from .events import Message, Moment
from .histogram import LATENCY_BOUNDS_S, Histogram, StageTimes
from .narrator import Narrator, camera_state
from .plan import CameraPlan, new_reader
from .reader import CameraStatus, Reader, ReaderParts, State
from .report import CameraReport, Look
from .session import POLL_S, SessionFrames
from .state_log import StateLog

_LOG = logging.getLogger("facesieve.serve")
_LATENCIES = 1024
_RETRY_S = 1.0

Identify = Callable[[TrackResult, Narrator, Moment], tuple[TrackResult, list[Message]]]
"""Gives a finished track its identity, and tells what that changed."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What all lanes of a service work with; see Service."""

    pipeline: Pipeline
    emit: Callable[[Message], None]
    clock: Clock
    boot: str
    rng: random.Random
    identify: Identify | None
    chips: bool
    stages: StageTimes


class Lane:
    """One camera on its way through the pipeline: its reader, its buffer, its thread."""

    def __init__(self, plan: CameraPlan, parts: Parts, *, sessions: int = 0, states: int = 0) -> None:
        """sessions, states: how many of this camera were told of before."""
        self.plan, self._parts = plan, parts
        self.look: Look | None = None
        self.errors = self.processed = self.faces = 0
        self.tracks_started = self.tracks_ended = self.shots = 0
        self.states = states
        self._state_lock, self._state_log = threading.Lock(), StateLog(plan.name)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._latency = Histogram(LATENCY_BOUNDS_S)
        self._quality: float | None = None
        self._stopping = threading.Event()
        self._dropped_before = 0
        self._newest_track = UNCONFIRMED
        self._failure = ""  # of the present session
        self._over: SessionEnded | None = None
        self._broken: int | None = None
        self.camera = self._new_camera(sessions)
        self._thread = threading.Thread(target=self._run, name=f"lane-{plan.name}", daemon=True)

    def start(self, *, paused: bool = False) -> None:
        """Begin to read and to process; paused: as if pause had been called."""
        if paused:
            self.camera.stop()
            self.tell_state(self.camera.status)
        else:
            self.camera.start()
        self._thread.start()

    def pause(self) -> None:
        """Hang up; the tracks end."""
        self.camera.stop()

    def resume(self) -> None:
        """Connect again, where it was paused."""
        if self.camera.status.state is State.STOPPED and not self._stopping.is_set():
            self._dropped_before += self.camera.buffer.dropped
            before = self.camera.status
            self.camera = self._new_camera(before.sessions, before)
            self.camera.start()

    @property
    def is_stopping(self) -> bool:
        """Whether the lane is on its way out."""
        return self._stopping.is_set()

    def ask_to_stop(self) -> None:
        """Begin to stop; stop() waits for it."""
        self._stopping.set()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Hang up, end the tracks, wait until both are done."""
        self._stopping.set()
        self._thread.join(timeout_s)
        self.camera.stop()

    def report(self) -> CameraReport:
        """How the camera fares."""
        wanted, hz = self.plan.settings.hz, self.camera.hz
        return CameraReport(
            status=self.camera.status,
            areas=self.plan.areas,
            sub_stream=self.plan.sub is not None,
            hz=hz,
            degraded=hz != wanted,
            processed=self.processed,
            dropped=self._dropped_before + self.camera.buffer.dropped,
            faces=self.faces,
            tracks_started=self.tracks_started,
            tracks_ended=self.tracks_ended,
            shots=self.shots,
            errors=self.errors,
            latencies_s=tuple(self._latencies),
            latency=self._latency.read(),
            queued=len(self.camera.buffer),
            quality=self._quality,
        )

    def _tell(self, message: Message) -> None:
        try:
            with self._parts.stages["spool"].timed():
                self._parts.emit(message)
        except Exception:  # noqa: BLE001  whoever takes events must not stop the camera
            _LOG.exception("event %s was not taken", message.event.id)

    def tell_state(self, status: CameraStatus) -> None:
        """Emit a camera_state event, and log what has turned."""
        hz, degraded = self.camera.hz, self.camera.hz != self.plan.settings.hz
        with self._state_lock:
            self.states += 1
            number = self.states
            self._state_log.tell(status, hz=hz, degraded=degraded, now=time.monotonic())
        self._tell(
            camera_state(status, self._parts.boot, number, degraded=degraded, monotonic_s=time.monotonic())
        )

    def offer(self, frame: Frame, found: Detections, tracking: Tracking) -> None:
        """What the detector saw: a new number is a new track."""
        self.look = Look(frame, found, tracking)
        self.faces += len(found)
        for track, index in sorted((track, i) for i, track in enumerate(tracking.ids.tolist())):
            if track > self._newest_track:  # numbers of tracks ascend
                self._newest_track = track
                self.tracks_started += 1
                box, score = found.boxes[index].tolist(), float(found.scores[index])
                self._tell(self._narrator.started(track, box, score, self._moment(frame)))

    def _new_camera(self, sessions: int, before: CameraStatus | None = None) -> Reader:
        parts = self._parts
        return new_reader(
            self.plan,
            ReaderParts(
                name=self.plan.name,
                settings=self.plan.settings,
                buffer=self.plan.buffer(),
                clock=parts.clock,
                rng=parts.rng,
                on_state=self.tell_state,
                sessions=sessions,
                on_decoded=parts.stages["decode"].add,
                before=before,
            ),
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            buffer = self.camera.buffer
            item = buffer.take(POLL_S)
            if isinstance(item, SessionEnded):
                self._settle(buffer, item)
                continue
            if not isinstance(item, Arrived):
                if buffer.is_closed:  # paused
                    self._stopping.wait(POLL_S)
                continue
            if item.session == self._broken:
                continue
            self._newest_track = UNCONFIRMED
            self._over = None
            self._narrator = Narrator(self.plan.name, self._parts.boot, item.session, chips=self._parts.chips)
            self._last = item.frame
            frames, session = SessionFrames(self, item, buffer), item.session
            del item
            try:
                self._serve(frames)
            except FacesieveError as error:
                self._failed(session, "camera %s: %s", self.plan.name, error)
            except Exception:  # noqa: BLE001  the other cameras go on, and so does this one
                told = "camera %s: a session failed\n%s"
                self._failed(session, told, self.plan.name, traceback.format_exc())
            if self._over is not None:
                self._settle(buffer, self._over)

    def ends(self, ended: SessionEnded) -> None:
        """The session has no more frames; the pipeline has still to end its tracks."""
        self._over = ended

    def _settle(self, buffer: FrameBuffer, ended: SessionEnded) -> None:
        """All is done for a session."""
        buffer.settle(ended.session, self._failure)
        self._failure = ""

    def _failed(self, session: int, text: str, *args: object) -> None:
        # Numbers of tracks begin anew with the next frame, so that has to be of another session.
        self.errors, self._broken = self.errors + 1, session
        self.camera.renew()
        self._failure = "processing it failed, see the log"
        _LOG.error(text, *args)
        self._stopping.wait(_RETRY_S)

    def _serve(self, source: SessionFrames) -> None:
        """One session, from its first frame to its end."""
        progress = Progress(on_stage=self._parts.stages.add)
        for result in self._parts.pipeline.run(
            source,
            progress=progress,
            stop=self._stopping.is_set,
            boxes=self,
            on_revision=self._revised,
            attend=self.plan.areas.attend,
        ):
            self._ended(result)

    def _revised(self, revision: ShotRevision) -> None:
        self.shots += 1
        with self._parts.stages["encode"].timed():
            message = self._narrator.revised(revision, self._moment(self._last))
        self._tell(message)

    def _ended(self, result: TrackResult) -> None:
        at, others = self._moment(self._last), list[Message]()
        if self._parts.identify is not None:
            try:
                with self._parts.stages["identify"].timed():
                    result, others = self._parts.identify(result, self._narrator, at)
            except Exception:  # noqa: BLE001  the track is worth more than its name
                _LOG.exception("camera %s: a track got no identity", self.plan.name)
        with self._parts.stages["encode"].timed():
            message = self._narrator.ended(result, at)
        self.tracks_ended += result.summary.end is not TrackEnd.WINDOW
        for shot in result.shots[:1]:
            value = shot.quality.calibrated if shot.quality.calibrated is not None else shot.quality.score
            self._quality = value if self._quality is None else 0.9 * self._quality + 0.1 * value
        self._tell(message)
        for other in others:
            self._tell(other)

    def done(self, arrived: Arrived) -> None:
        """The pipeline has finished with a frame."""
        self.processed += 1
        took_s = time.monotonic() - arrived.monotonic_s
        self._latencies.append(took_s)
        self._latency.add(took_s)

    def begun(self, arrived: Arrived) -> None:
        """The pipeline gets a frame."""
        self._last = arrived.frame
        self._parts.stages.add("queue", time.monotonic() - arrived.monotonic_s)

    def _moment(self, frame: Frame) -> Moment:
        return Moment(
            pts_s=round(frame.pts_s, 6),
            wall_s=None if frame.wall_s is None else round(frame.wall_s, 3),
            monotonic_s=round(time.monotonic(), 6),
        )
