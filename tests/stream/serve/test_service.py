"""Cameras through a real pipeline: every track that starts ends once, cameras do not disturb each other."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_servers import film
from patience import until

from facesieve.stream.errors import ConfigError, EngineError
from facesieve.stream.pipeline import Pipeline
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.selection import TopKSelector
from facesieve.stream.serve.address import camera_address
from facesieve.stream.serve.events import CameraState, Message, Shot, TrackEnded, TrackStarted
from facesieve.stream.serve.live import LiveOptions
from facesieve.stream.serve.pairing import PairingSettings
from facesieve.stream.serve.reader import CameraSettings, State
from facesieve.stream.serve.service import CameraPlan, Service
from facesieve.stream.serve.shared import BatchingScorer, SharedDetector
from facesieve.stream.testing import ScriptedScorer
from facesieve.stream.types import Detections, Frame, Quality
from facesieve.trackers.bytetrack import ByteTrack

SETTINGS = CameraSettings(options=LiveOptions(loop=True), hz=8.0, backoff_first_s=0.2)


class Wall:
    def now_s(self) -> float:
        return time.time()


class OneFace:
    """A face that stands still for a second and a half, then is gone for two, and so on."""

    name = "one face"

    def __init__(self) -> None:
        self.fails: set[str] = set()

    def detect(self, frame: Frame) -> Detections:
        if frame.source in self.fails:
            raise EngineError("the device is gone")
        if frame.pts_s % 3.5 > 1.5:
            return Detections.empty()
        points = np.array([[[120, 90], [160, 90], [140, 110], [125, 130], [155, 130]]], np.float32)
        return Detections(np.array([[100, 60, 180, 150]], np.float32), np.array([0.9], np.float32), points)

    def close(self) -> None: ...


class Running:
    """A service and all it told."""

    def __init__(self, policy: SelectionPolicy, identify: Any = None) -> None:
        self.messages: list[Message] = []
        self.detector = OneFace()
        scorer = BatchingScorer(ScriptedScorer(lambda crop: Quality(float(crop.chip.mean()), "mean")))
        pipeline = Pipeline(
            detector=SharedDetector([self.detector]),
            new_tracker=lambda: ByteTrack(lost_s=0.5),
            scorer=scorer,
            new_selector=lambda source, stills: TopKSelector(policy, source=source, stills=stills),
            hz=0.0,
            ahead=False,
        )
        self.service = Service(
            pipeline, self.messages.append, clock=Wall(), boot="b00t", rng=random.Random(0), identify=identify
        )
        self._scorer = scorer

    def events(self, kind: type) -> list[Any]:
        return [m.event for m in list(self.messages) if isinstance(m.event, kind)]

    def until(self, done: Callable[[], bool]) -> None:
        until(done, lambda: (self.service.cameras(), self.messages[-5:]))

    def close(self) -> None:
        self.service.close()
        self._scorer.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def make(policy: SelectionPolicy | None = None, identify: Any = None) -> Running:
        made.append(Running(policy or SelectionPolicy(min_hits=1, min_face_px=20), identify))
        return made[-1]

    yield make
    for running in made:
        running.close()


def plan(name: str, clip: Path, settings: CameraSettings = SETTINGS) -> CameraPlan:
    return CameraPlan(name, camera_address(str(clip)), settings)


def starts_and_ends(running: Running) -> tuple[Counter[Any], Counter[Any]]:
    starts = Counter((e.origin.camera, e.origin.session, e.track) for e in running.events(TrackStarted))
    ends = Counter(
        (e.origin.camera, e.origin.session, e.track) for e in running.events(TrackEnded) if e.final
    )
    return starts, ends


def test_every_track_that_started_ends_once_with_its_shots(serve, moving: Path) -> None:
    running = serve()
    running.service.add(plan("gate", moving))
    running.service.add(plan("yard", moving))
    running.until(lambda: len(running.events(TrackEnded)) >= 4)
    running.service.close()
    starts, ends = starts_and_ends(running)
    assert starts == ends
    assert set(starts.values()) == {1}
    assert {camera for camera, _, _ in starts} == {"gate", "yard"}
    ended = running.events(TrackEnded)
    assert all(event.shots and event.at.wall_s for event in ended)
    assert all(m.images for m in running.messages if isinstance(m.event, TrackEnded))
    ids = [m.event.id for m in running.messages]
    assert len(ids) == len(set(ids))


def test_shots_come_while_the_face_is_still_there(serve, moving: Path) -> None:
    running = serve(SelectionPolicy(min_hits=1, min_face_px=20, emit="realtime", silent_s=0.0))
    running.service.add(plan("gate", moving))
    running.until(lambda: len(running.events(TrackEnded)) >= 1)
    order = [m.event.type for m in running.messages if m.event.type != "camera_state"]
    assert order[:2] == ["track_started", "shot"]
    first = running.events(Shot)[0]
    ended = running.events(TrackEnded)[0]
    assert first.at.wall_s < ended.at.wall_s
    revisions = [
        e.revision for e in running.events(Shot) if e.track == first.track and e.origin == first.origin
    ]
    assert revisions == list(range(1, len(revisions) + 1))


def test_a_camera_whose_processing_fails_does_not_disturb_the_other(serve, moving: Path) -> None:
    running = serve()
    running.detector.fails.add("bad")
    running.service.add(plan("bad", moving))
    running.service.add(plan("good", moving))
    running.until(lambda: sum(e.origin.camera == "good" for e in running.events(TrackEnded)) >= 2)
    cameras = running.service.cameras()
    assert cameras["bad"].errors >= 1
    assert cameras["good"].errors == 0
    running.detector.fails.clear()
    running.until(lambda: any(e.origin.camera == "bad" for e in running.events(TrackEnded)))


def test_pausing_ends_the_tracks_and_resuming_begins_a_new_session(serve, moving: Path) -> None:
    running = serve()
    running.service.add(plan("gate", moving))
    running.until(lambda: len(running.events(TrackStarted)) >= 1)
    running.service.pause("gate")
    running.until(lambda: starts_and_ends(running)[0] == starts_and_ends(running)[1])
    running.until(lambda: running.service.cameras()["gate"].status.state is State.STOPPED)
    before = len(running.events(TrackStarted))
    frames = running.service.cameras()["gate"].status.frames
    running.service.resume("gate")
    assert running.service.cameras()["gate"].status.frames >= frames, "a counter never goes back"
    running.until(lambda: len(running.events(TrackStarted)) > before)
    ids = [m.event.id for m in running.messages]
    assert len(ids) == len(set(ids))


def test_states_are_told_in_order(serve, moving: Path) -> None:
    running = serve()
    running.service.add(plan("gate", moving))
    running.until(lambda: len(running.events(TrackStarted)) >= 1)
    running.service.remove("gate")
    states = [e.state for e in running.events(CameraState)]
    assert states[:2] == ["connecting", "live"]
    assert states[-1] == "stopped"
    assert running.service.cameras() == {}
    running.service.add(plan("gate", moving))
    running.until(lambda: len(running.events(CameraState)) > len(states) + 1)
    ids = [m.event.id for m in running.messages]
    assert len(ids) == len(set(ids)), "the same camera came back under the same numbers"


def test_names_are_unique_and_strangers_are_refused(serve, moving: Path) -> None:
    running = serve()
    running.service.add(plan("gate", moving))
    with pytest.raises(ConfigError):
        running.service.add(plan("gate", moving))
    with pytest.raises(KeyError):
        running.service.pause("nobody")


def test_identities_reach_the_terminal_event_and_a_failure_costs_only_the_name(serve, moving: Path) -> None:
    import dataclasses

    calls: list[int] = []

    def identify(result, narrator, at):
        calls.append(result.summary.track)
        if len(calls) == 2:
            raise ValueError("the store is away")
        named = dataclasses.replace(result, summary=dataclasses.replace(result.summary, identity=5))
        return named, [narrator.identified(5, len(calls), (), f"{result.summary.track}", at)]

    running = serve(identify=identify)
    running.service.add(plan("gate", moving))
    running.until(lambda: len(running.events(TrackEnded)) >= 3)
    assert [e.identity for e in running.events(TrackEnded)][:3] == [5, None, 5]


def test_overload_lowers_the_cadence_and_it_comes_back(serve, moving: Path) -> None:
    class Slow(OneFace):
        def __init__(self) -> None:
            super().__init__()
            self.takes_s = 0.5

        def detect(self, frame: Frame) -> Detections:
            time.sleep(self.takes_s)
            return super().detect(frame)

    running = serve()
    slow = Slow()
    running.detector.detect = slow.detect  # type: ignore[method-assign]
    # There is room for seconds of frames, so that only what goes on being slow costs some.
    running.service.add(CameraPlan("gate", camera_address(str(moving)), SETTINGS, "drop_oldest", 24))
    running.until(lambda: running.service.cameras()["gate"].degraded)
    assert running.service.cameras()["gate"].dropped > 0
    running.until(lambda: any(e.degraded for e in running.events(CameraState)))  # told after it is so
    slow.takes_s = 0.0
    running.until(lambda: not running.service.cameras()["gate"].degraded)
    assert running.service.cameras()["gate"].hz == 8.0


def test_a_folder_of_films_is_served_to_the_last_track(serve, moving: Path, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (drop / name).write_bytes(moving.read_bytes())
    running = serve()
    settings = CameraSettings(hz=8.0, settle_s=0.3)
    running.service.add(CameraPlan("drop", camera_address(f"{drop}/"), settings, "block"))
    running.until(lambda: (drop / "done" / "b.mp4").exists())
    starts, ends = starts_and_ends(running)
    assert starts == ends
    assert {session for _, session, _ in starts} == {1, 2}
    assert len(starts) == 4, "a face at the beginning and one at the end of each"
    report = running.service.cameras()["drop"]
    assert (report.processed, report.dropped) == (2 * 32, 0)


def test_a_film_that_the_pipeline_fails_on_is_put_aside(serve, moving: Path, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "a.mp4").write_bytes(moving.read_bytes())
    running = serve()
    running.detector.fails.add("drop")
    settings = CameraSettings(hz=1.0, settle_s=0.3)
    running.service.add(CameraPlan("drop", camera_address(f"{drop}/"), settings, "block"))
    running.until(lambda: (drop / "failed" / "a.mp4").exists())
    running.until(lambda: "processing it failed" in running.service.cameras()["drop"].status.reason)


def test_after_a_failure_tracks_are_of_another_session(serve, moving: Path) -> None:
    running = serve()
    running.service.add(plan("gate", moving))
    running.until(lambda: len(running.events(TrackStarted)) >= 1)
    running.detector.fails.add("gate")
    running.until(lambda: running.service.cameras()["gate"].errors >= 1)
    running.detector.fails.clear()
    before = len(running.events(TrackEnded))
    running.until(lambda: len(running.events(TrackEnded)) >= before + 2)
    running.service.close()
    ids = [m.event.id for m in running.messages]
    assert len(ids) == len(set(ids))
    starts, ends = starts_and_ends(running)
    assert starts == ends


def test_tracks_of_a_camera_of_two_streams(serve, moving: Path, tmp_path: Path) -> None:
    large = film(tmp_path / "large.mp4", width=640, height=480)
    running = serve()
    settings = CameraSettings(options=LiveOptions(loop=True), hz=8.0)
    sub = camera_address(str(moving))
    # Two files keep no common time where a reader has to wait for the processor.
    pairing = PairingSettings(tolerance_s=0.5)
    running.service.add(CameraPlan("gate", camera_address(str(large)), settings, sub=sub, pairing=pairing))
    running.until(lambda: len(running.events(TrackEnded)) >= 2)
    running.until(lambda: running.service.cameras()["gate"].status.state is State.LIVE)
    report = running.service.cameras()["gate"]
    assert (report.status.width, report.status.height) == (640, 480)
    look = running.service.look("gate")
    assert look is not None
    assert (look.frame.picture.width, look.frame.picture.height) == (640, 480)
    running.service.pause("gate")
    running.until(lambda: starts_and_ends(running)[0] == starts_and_ends(running)[1])
    states = [event.state for event in running.events(CameraState)]
    assert states[0] == "connecting"
    assert "live" in states
    assert states[-1] == "stopped"
