"""Many cameras, one set of networks: each camera's pipeline in a thread of its own, events as they happen."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping

from ..errors import ConfigError
from ..pipeline import Pipeline
from ..ports import Clock, Closing
from ..types import TrackResult
from .events import Message, Moment
from .governor import Governor
from .histogram import Binned, StageTimes
from .lane import Identify, Lane, Parts
from .narrator import Narrator
from .plan import CameraPlan
from .report import CameraReport, Look

_TOLD = 256


class Service(Closing):
    """Serves cameras until it is closed.

    pipeline: made with ahead=False and hz=0, of parts that may be used by several threads (shared.py); the
    cadence is the camera's. emit: takes every message, from many threads; what it raises is logged and
    costs that message only. identify: see Identify; one call at a time. on_cameras: told how many cameras
    there are. boot: names this run in every event. chips: whether events carry the aligned faces too.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        emit: Callable[[Message], None],
        *,
        clock: Clock,
        boot: str,
        rng: random.Random,
        identify: Identify | None = None,
        on_cameras: Callable[[int], None] = lambda number: None,
        chips: bool = False,
    ) -> None:
        self._parts = Parts(pipeline, emit, clock, boot, rng, _serially(identify), chips, StageTimes())
        self._on_cameras = on_cameras
        self._lanes: dict[str, Lane] = {}
        self._told: dict[str, tuple[int, int]] = {}  # of cameras that left: sessions and states
        self._told_most = 0, 0  # of those that left long ago
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._governor = threading.Thread(target=self._govern, name="facesieve-governor", daemon=True)
        self._governor.start()

    @property
    def boot(self) -> str:
        """Names this run in every event."""
        return self._parts.boot

    @property
    def stages(self) -> Mapping[str, Binned]:
        """How long each stage took so far, over all cameras; see STAGES."""
        return self._parts.stages.read()

    def cameras(self) -> Mapping[str, CameraReport]:
        """How all cameras fare, by name."""
        with self._lock:
            lanes = dict(self._lanes)
        return {name: lane.report() for name, lane in sorted(lanes.items())}

    def look(self, camera: str) -> Look | None:
        """The newest frame of a camera that was looked at; None if there is none. KeyError if not known."""
        return self._lane(camera).look

    def add(self, plan: CameraPlan, *, paused: bool = False) -> None:
        """Begin to serve a camera; paused: only once resume is called. Raises ConfigError if one of that name
        is served."""
        with self._lock:
            if self._closing.is_set():
                raise ConfigError("the service is shutting down")
            if plan.name in self._lanes:
                raise ConfigError(f"a camera named {plan.name!r} is served already")
            sessions, states = self._told.get(plan.name, self._told_most)
            lane = Lane(plan, self._parts, sessions=sessions, states=states)
            self._lanes[plan.name] = lane
            number = len(self._lanes)
        self._on_cameras(number)
        lane.start(paused=paused)

    def pause(self, camera: str) -> None:
        """Hang up and end its tracks; resume begins again. KeyError if not known."""
        self._lane(camera).pause()

    def resume(self, camera: str) -> None:
        """Serve a paused camera again. KeyError if not known."""
        self._lane(camera).resume()

    def remove(self, camera: str) -> None:
        """Serve it no longer. KeyError if not known."""
        with self._lock:
            lane = self._lanes.pop(camera)
            number = len(self._lanes)
        lane.stop()
        self._remember(camera, lane.camera.status.sessions, lane.states)
        self._on_cameras(number)

    def close(self) -> None:
        """Hang up on all cameras and end all tracks; every terminal event is emitted before it returns."""
        self._closing.set()
        with self._lock:
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.ask_to_stop()
        for lane in lanes:
            lane.stop()
        self._governor.join(5)

    def _lane(self, camera: str) -> Lane:
        with self._lock:
            return self._lanes[camera]

    def _remember(self, camera: str, sessions: int, states: int) -> None:
        """So that its numbers go on should it come back; of the oldest names only the highest stay."""
        self._told[camera] = sessions, states
        if len(self._told) > _TOLD:
            oldest = self._told.pop(next(iter(self._told)))
            self._told_most = max(self._told_most[0], oldest[0]), max(self._told_most[1], oldest[1])

    def _govern(self) -> None:
        governor = Governor()
        while not self._closing.wait(governor.EVERY_S):
            with self._lock:
                lanes = list(self._lanes.values())
            for lane in lanes:
                changed = governor.hz(lane.camera, lane.plan.settings.hz)
                if changed is not None:
                    lane.camera.hz = changed
                    lane.tell_state(lane.camera.status)


def _serially(identify: Identify | None) -> Identify | None:
    """One track at a time, whichever camera it comes from."""
    if identify is None:
        return None
    lock = threading.Lock()

    def one_by_one(result: TrackResult, narrator: Narrator, at: Moment) -> tuple[TrackResult, list[Message]]:
        with lock:
            return identify(result, narrator, at)

    return one_by_one
