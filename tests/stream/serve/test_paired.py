"""Sub-stream and main stream of one camera: crops are of the moment in which the face was found."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from frame_numbers import Publisher, number_in
from live_servers import Rtsp

from facesieve.stream.serve.address import camera_address
from facesieve.stream.serve.buffer import Arrived, FrameBuffer, SessionEnded
from facesieve.stream.serve.live import LiveOptions
from facesieve.stream.serve.paired import PairedCamera
from facesieve.stream.serve.pairing import PairingSettings
from facesieve.stream.serve.reader import CameraSettings, CameraStatus, ReaderParts, State

LOGIN = {"user": "watcher", "password": "s3cr&t pa$$"}
QUICK = CameraSettings(
    options=LiveOptions(connect_s=4.0, read_s=2.5),
    hz=0.0,
    stall_s=4.0,
    backoff_first_s=0.2,
    backoff_most_s=1.0,
)


class Wall:
    def now_s(self) -> float:
        return time.time()


class Watched:
    """A camera of two streams, and all that became of it."""

    def __init__(self, server: Rtsp, pairing: PairingSettings) -> None:
        self.states: list[CameraStatus] = []
        self.items: list[Arrived | SessionEnded] = []
        self.seen: list[tuple[int, int, int]] = []
        main, sub = (
            camera_address(server.url(mount), username=LOGIN["user"], password=LOGIN["password"])
            for mount in ("main", "sub")
        )
        buffer = FrameBuffer("drop_oldest", 64)
        parts = ReaderParts("gate", QUICK, buffer, Wall(), random.Random(0), self.states.append)
        self.camera = PairedCamera(main, sub, pairing, parts)
        self.camera.start()

    def until(self, done: Callable[[], bool], within_s: float) -> None:
        """Take frames until done, noting session and the numbers that detector and crops see."""
        deadline = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < deadline, ([(s.state, s.reason) for s in self.states], self.seen[-8:])
            item = self.camera.buffer.take(0.1)
            if isinstance(item, Arrived):
                picture = item.frame.picture
                found = number_in(picture.scaled(160, 120))
                cut = number_in(picture.region(0, 0, picture.width, picture.height))
                self.seen.append((item.session, found, cut))
            if item is not None:
                self.items.append(item)

    def apart(self) -> list[int]:
        """For each pair, by how many frames the crops' moment is later than the detector's."""
        return [(cut - found + 128) % 256 - 128 for _, found, cut in self.seen]


@pytest.fixture
def film(rtsp) -> Iterator[Callable[..., tuple[Watched, dict[str, Publisher], Rtsp]]]:
    """Publishes one scene in two sizes and watches it."""
    made: list[tuple[Watched, dict[str, Publisher]]] = []

    def make(*, main_late_s: float = 0.0, main_size: tuple[int, int] = (640, 480), **pairing: float):
        server = rtsp(**LOGIN)
        publishers = {
            "main": Publisher(
                server.mount("main"), width=main_size[0], height=main_size[1], delay_s=main_late_s
            ),
            "sub": Publisher(server.mount("sub"), width=320, height=240),
        }
        server.start()
        made.append((Watched(server, PairingSettings(**pairing)), publishers))
        return *made[-1], server

    yield make
    for watched, publishers in made:
        for publisher in publishers.values():
            publisher.close()
        assert watched.camera.stop(5.0)


def test_crops_come_from_the_main_stream_of_the_same_moment(film) -> None:
    watched, _, _ = film()
    watched.until(lambda: len(watched.seen) >= 20, 40)
    frames = [item.frame for item in watched.items if isinstance(item, Arrived)]
    assert {(frame.picture.width, frame.picture.height) for frame in frames} == {(640, 480)}
    assert np.mean(np.array(watched.apart()) == 0) >= 0.9, watched.apart()
    assert [frame.pts_s for frame in frames] == sorted({frame.pts_s for frame in frames})
    assert watched.camera.status.state is State.LIVE
    assert watched.camera.offset_s == pytest.approx(0.0, abs=0.09)


def test_a_main_stream_that_comes_later_is_matched_by_what_it_shows(film) -> None:
    watched, _, _ = film(main_late_s=0.35)
    watched.until(lambda: len(watched.seen) >= 20, 40)
    assert np.mean(np.array(watched.apart()) == 0) >= 0.9, watched.apart()
    assert watched.camera.offset_s == pytest.approx(0.35, abs=0.09)


def test_without_the_main_stream_the_camera_is_not_live_and_it_comes_back(film) -> None:
    watched, publishers, _ = film()
    watched.until(lambda: len(watched.seen) >= 5, 40)
    publishers["main"].close()
    watched.until(lambda: watched.camera.status.state is State.BACKING_OFF, 20)
    lost_at = len(watched.items)
    told = [(s.state, s.reason) for s in watched.states]
    assert any(state is State.STALLED and "main stream" in reason for state, reason in told), told
    assert any(isinstance(item, SessionEnded) and "main stream" in item.reason for item in watched.items)
    unmatched = watched.camera.status.unmatched
    watched.until(lambda: watched.camera.status.unmatched > unmatched + 5, 20)
    assert not [item for item in watched.items[lost_at:] if isinstance(item, Arrived)]
    port, (width, height) = publishers["main"].port, (640, 480)
    publishers["main"] = Publisher(port, width=width, height=height)
    watched.until(lambda: watched.seen[-1][0] == 2, 40)
    watched.until(lambda: sum(session == 2 for session, _, _ in watched.seen) >= 10, 20)
    second = [
        late for (session, _, _), late in zip(watched.seen, watched.apart(), strict=True) if session == 2
    ]
    assert np.mean(np.array(second) == 0) >= 0.8, second
    assert watched.camera.status.state is State.LIVE


def test_streams_of_unlike_shape_are_told_and_nothing_is_cut(film) -> None:
    watched, _, _ = film(main_size=(640, 360))
    watched.until(lambda: watched.camera.status.state is State.STALLED, 40)
    assert "640×360" in watched.camera.status.reason
    assert "aspect ratio" in watched.camera.status.reason
    assert not watched.seen
    assert watched.camera.status.unmatched > 0


def test_nothing_within_the_tolerance_is_counted_not_guessed(film) -> None:
    # A tolerance of 0 is what no two clocks keep.
    watched, _, _ = film(tolerance_s=0.0, settle_s=1.0)
    watched.until(lambda: watched.camera.status.unmatched >= 20, 40)
    assert len(watched.seen) <= 1
    watched.until(lambda: watched.camera.status.state is not State.LIVE, 20)
