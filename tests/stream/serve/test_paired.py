"""Sub-stream and main stream of one camera: crops are of the moment in which the face was found."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest
from frame_numbers import Publisher, number_in
from live_servers import Rtsp
from patience import PATIENCE_S

from facesieve.stream.serve.address import camera_address
from facesieve.stream.serve.buffer import Arrived, FrameBuffer, SessionEnded
from facesieve.stream.serve.live import LiveOptions
from facesieve.stream.serve.paired import PairedCamera
from facesieve.stream.serve.pairing import PairingSettings
from facesieve.stream.serve.reader import CameraSettings, CameraStatus, ReaderParts, State

LOGIN = {"user": "watcher", "password": "s3cr&t pa$$"}
QUICK = CameraSettings(
    options=LiveOptions(connect_s=20.0, read_s=5.0),
    hz=0.0,
    stall_s=6.0,
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

    def until(self, done: Callable[[], bool]) -> None:
        """Take frames until done, noting session and the numbers that detector and crops see."""
        deadline = time.monotonic() + PATIENCE_S
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

    def until_matched(
        self, late_s: float = 0.0, *, pairs: int = 20, share: float = 0.9, after: int = 0
    ) -> None:
        """Take frames until that share of so many pairs, of sessions later than `after`, show one moment
        each, the camera is live, and its main stream is known to come late_s later.

        Mostly the first so many do. The server stamps a frame when it gets it: pairs of seconds in which it
        got no processor are apart, and those behind them are not.
        """

        def is_matched() -> bool:
            later = [(cut - found) % 256 for session, found, cut in self.seen if session > after]
            offset_s = self.camera.offset_s
            return (
                len(later) >= pairs
                and later[-pairs:].count(0) >= share * pairs
                and self.camera.status.state is State.LIVE
                and offset_s is not None
                and abs(offset_s - late_s) <= 0.09
            )

        self.until(is_matched)


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
        assert watched.camera.stop(PATIENCE_S)
        for publisher in publishers.values():
            publisher.close()


def test_crops_come_from_the_main_stream_of_the_same_moment(film) -> None:
    watched, _, _ = film()
    watched.until_matched()
    came = [item for item in watched.items if isinstance(item, Arrived)]
    assert {(item.frame.picture.width, item.frame.picture.height) for item in came} == {(640, 480)}
    for session in {item.session for item in came}:
        pts = [item.frame.pts_s for item in came if item.session == session]
        assert pts == sorted(set(pts))


def test_a_main_stream_that_comes_later_is_matched_by_what_it_shows(film) -> None:
    watched, _, _ = film(main_late_s=0.35)
    watched.until_matched(0.35)


def test_without_the_main_stream_the_camera_is_not_live_and_it_comes_back(film) -> None:
    watched, publishers, _ = film()
    watched.until(lambda: len(watched.seen) >= 5)
    publishers["main"].close()
    watched.until(lambda: watched.camera.status.state is State.BACKING_OFF)
    lost_at = len(watched.items)
    told = [(s.state, s.reason) for s in watched.states]
    assert any(state is State.STALLED and "main stream" in reason for state, reason in told), told
    assert any(isinstance(item, SessionEnded) and "main stream" in item.reason for item in watched.items)
    unmatched = watched.camera.status.unmatched
    watched.until(lambda: watched.camera.status.unmatched > unmatched + 5)
    assert not [item for item in watched.items[lost_at:] if isinstance(item, Arrived)]
    port, (width, height) = publishers["main"].port, (640, 480)
    before = watched.camera.status.sessions
    publishers["main"] = Publisher(port, width=width, height=height)
    watched.until_matched(pairs=10, share=0.8, after=before)


def test_streams_of_unlike_shape_are_told_and_nothing_is_cut(film) -> None:
    watched, _, _ = film(main_size=(640, 360))
    watched.until(lambda: any("640×360" in status.reason for status in watched.states))
    told = next(status for status in watched.states if "640×360" in status.reason)
    assert told.state is State.STALLED
    assert "aspect ratio" in told.reason
    assert not watched.seen
    assert watched.camera.status.unmatched > 0


def test_nothing_within_the_tolerance_is_counted_not_guessed(film) -> None:
    # A tolerance of 0 is what no two clocks keep.
    watched, _, _ = film(tolerance_s=0.0, settle_s=1.0)
    watched.until(lambda: watched.camera.status.unmatched >= 20)
    assert len(watched.seen) <= 1
    watched.until(lambda: watched.camera.status.state is not State.LIVE)
