"""Cameras against real servers: they come back, they never hang, and they tell what happened."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from live_servers import JumpingCamera
from patience import PATIENCE_S, until
from ports import free_port

from facesieve.stream.serve.address import camera_address
from facesieve.stream.serve.buffer import Arrived, FrameBuffer, SessionEnded
from facesieve.stream.serve.camera import Camera
from facesieve.stream.serve.live import ConnectionFailed, LiveOptions, LiveStream
from facesieve.stream.serve.reader import CameraSettings, CameraStatus, ReaderParts, State

SECRET, WRONG = "s3cr&t pa$$", "wr0ng"
QUICK = LiveOptions(connect_s=20.0, read_s=2.5)
PATIENT = CameraSettings(options=LiveOptions(connect_s=60.0, read_s=60.0), stall_s=60.0, backoff_first_s=0.2)


class Wall:
    def now_s(self) -> float:
        return time.time()


class Watched:
    """A camera, and all that became of it."""

    def __init__(self, address: Any, settings: CameraSettings, buffer: FrameBuffer | None = None) -> None:
        self.states: list[CameraStatus] = []
        self.items: list[Arrived | SessionEnded] = []
        self.buffer = FrameBuffer("drop_oldest", 512) if buffer is None else buffer
        parts = ReaderParts("gate", settings, self.buffer, Wall(), random.Random(0), self.states.append)
        self.camera = Camera(address, parts)
        self.camera.start()

    def until(self, done: Callable[[], bool]) -> None:
        """Take frames until done."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, [(s.state, s.reason) for s in self.states]
            item = self.buffer.take(0.1)
            if item is not None:
                self.items.append(item)

    def frames(self, session: int | None = None) -> list[Arrived]:
        """All, or those of one session."""
        frames = [item for item in self.items if isinstance(item, Arrived)]
        return [item for item in frames if session in (None, item.session)]

    def sessions(self) -> set[int]:
        return {item.session for item in self.frames()}

    def saw(self, state: State) -> bool:
        return any(status.state is state for status in self.states)


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(
        url: str, settings: CameraSettings = PATIENT, buffer: FrameBuffer | None = None, **login: str
    ) -> Watched:
        made.append(Watched(camera_address(url, **login), settings, buffer))
        return made[-1]

    yield make
    for watched in made:
        assert watched.camera.stop(PATIENCE_S)


def test_an_rtsp_camera_gives_frames_with_both_clocks(rtsp, moving: Path, watch) -> None:
    server = rtsp()
    server.publish("door", moving)
    server.start()
    began = time.time()
    watched = watch(server.url("door"))
    watched.until(lambda: len(watched.frames(1)) >= 12)
    frames = [item.frame for item in watched.frames(1)]
    pts = [frame.pts_s for frame in frames]
    assert pts == sorted(set(pts))
    gaps = [later - earlier for earlier, later in itertools.pairwise(pts)]
    assert 0.06 < statistics.median(gaps) < 0.6  # one or the other may come late or be lost on the way
    assert all(began - 20 < frame.wall_s < time.time() + 20 for frame in frames)
    assert (frames[-1].picture.width, frames[-1].picture.height) == (320, 240)
    assert watched.camera.status.state is State.LIVE
    assert watched.camera.status.codec == "h264"


def test_digest_credentials_open_the_door_and_are_never_shown(rtsp, moving: Path, watch) -> None:
    server = rtsp(user="watcher", password=SECRET)
    server.publish("door", moving)
    server.start()
    wrong = watch(server.url("door"), username="watcher", password=WRONG)
    wrong.until(lambda: wrong.saw(State.BACKING_OFF))
    assert not wrong.frames()
    right = watch(server.url("door"), username="watcher", password=SECRET)
    right.until(lambda: len(right.frames()) >= 2)
    told = repr([wrong.states, right.states])
    assert "wr0ng" not in told
    assert "s3cr" not in told


def test_a_killed_server_comes_back_in_a_new_session(rtsp, moving: Path, watch) -> None:
    server = rtsp()
    server.publish("door", moving)
    server.start()
    watched = watch(server.url("door"))
    watched.until(lambda: len(watched.frames(1)) >= 2)
    server.kill()
    watched.until(lambda: watched.saw(State.BACKING_OFF))
    server.start()
    watched.until(lambda: len(watched.frames(2)) >= 1)
    ends = [item for item in watched.items if isinstance(item, SessionEnded)]
    assert ends[0].session == 1
    first_of_second = next(i for i, item in enumerate(watched.items) if item.session == 2)
    assert watched.items.index(ends[0]) < first_of_second


def test_a_publisher_that_falls_silent_stalls_the_camera_and_it_recovers(rtsp, moving: Path, watch) -> None:
    server = rtsp()
    server.publish("door", moving)
    server.start()
    settings = CameraSettings(options=QUICK, hz=0.0, stall_s=4.0, backoff_first_s=0.2)
    watched = watch(server.url("door"), settings)
    watched.until(lambda: len(watched.frames()) >= 2)
    sessions = watched.camera.status.sessions
    server.unpublish("door")
    watched.until(lambda: watched.saw(State.STALLED) or watched.saw(State.LOST))
    # The frame that FFmpeg held back is not given on as if it came then, and waited for once more.
    came = [item.monotonic_s for item in watched.frames(sessions)]
    assert all(later - earlier < QUICK.read_s for earlier, later in itertools.pairwise(came))
    server.publish("door", moving)
    watched.until(lambda: max(watched.sessions()) > sessions)


def test_another_picture_size_is_another_session(rtsp, moving: Path, larger: Path, watch) -> None:
    server = rtsp()
    server.publish("door", moving)
    server.start()
    settings = CameraSettings(
        options=LiveOptions(connect_s=20.0, read_s=4.0), stall_s=4.0, backoff_first_s=0.2
    )
    watched = watch(server.url("door"), settings)
    watched.until(lambda: len(watched.frames()) >= 2)
    server.publish("door", larger)
    watched.until(lambda: watched.frames()[-1].frame.picture.width == 480)
    sizes = {(item.session, item.frame.picture.width) for item in watched.frames()}
    assert len({session for session, _ in sizes}) == len(sizes)


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp"])
def test_a_server_that_accepts_and_stays_silent_is_given_up(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = camera_address(
            f"{scheme}://user:pa55word@127.0.0.1:{silent.getsockname()[1]}/live?key=t0ken"
        )
        with pytest.raises(ConnectionFailed) as told:  # the server never closes: who waits for it, hangs
            LiveStream(address, LiveOptions(connect_s=1.0, read_s=1.0))
        assert "pa55word" not in str(told.value)
        assert "t0ken" not in str(told.value)
        assert "nothing" in str(told.value)


def test_garbage_instead_of_video_is_given_up() -> None:
    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(ConnectionError):  # it may have heard enough
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n" + bytes(range(256)) * 400)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        address = camera_address(f"http://127.0.0.1:{listener.getsockname()[1]}/live")
        with pytest.raises(ConnectionFailed):
            LiveStream(address, LiveOptions(connect_s=20.0, read_s=20.0))
        thread.join()


@pytest.mark.parametrize("jump_s", [500.0])
def test_a_clock_that_jumps_ends_the_session_not_the_connection(watch, jump_s: float) -> None:
    camera = JumpingCamera(jump_s=jump_s, every_s=1.5)
    try:
        watched = watch(camera.url)
        watched.until(lambda: len(watched.sessions()) >= 3)
    finally:
        camera.close()
    live = [status for status in watched.states if status.state is State.LIVE]
    assert [status.reason != "" for status in live[:3]] == [False, True, True]
    assert "jumped by" in live[1].reason
    assert not watched.saw(State.LOST) or live[2].sessions == 3
    ends = [item for item in watched.items if isinstance(item, SessionEnded)]
    assert [end.session for end in ends[:2]] == [1, 2]
    for session in (1, 2):
        pts = [item.frame.pts_s for item in watched.frames() if item.session == session]
        assert pts[-1] - pts[0] < 30, "nobody tracks across the jump"


def test_nobody_there_means_waiting_longer_each_time(watch) -> None:
    watched = watch(f"rtsp://127.0.0.1:{free_port()}/x", CameraSettings(options=QUICK, backoff_first_s=0.1))
    watched.until(lambda: sum(s.state is State.BACKING_OFF for s in watched.states) >= 4)
    assert [s.tries for s in watched.states if s.state is State.BACKING_OFF][:4] == [1, 2, 3, 4]
    assert not watched.frames()


def test_mjpeg_over_http(watch, moving: Path) -> None:
    import av

    images = []
    with av.open(str(moving)) as container:
        for frame in container.decode(video=0):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
            encoder.time_base = Fraction(1, 15)
            packets = encoder.encode(frame.reformat(format="yuvj420p"))
            images.append(bytes(packets[0] if packets else encoder.encode(None)[0]))
    leave = threading.Event()

    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=edge\r\n\r\n")
            try:
                while not leave.is_set():
                    for image in images:
                        head = f"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                        peer.sendall(head.encode() + image + b"\r\n")
                        if leave.wait(1 / 15):
                            return
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            watched = watch(f"http://127.0.0.1:{listener.getsockname()[1]}/cam.mjpg")
            watched.until(lambda: len(watched.frames()) >= 4)
            assert watched.camera.status.codec == "mjpeg"
            assert watched.camera.stop(PATIENCE_S)
        finally:
            leave.set()
            thread.join(PATIENCE_S)


def test_a_file_plays_at_its_own_pace_and_begins_again(moving: Path, watch) -> None:
    settings = CameraSettings(options=LiveOptions(loop=True), hz=0.0)
    began = time.monotonic()
    watched = watch(str(moving), settings)
    watched.until(lambda: len(watched.frames()) >= 20)
    last = watched.frames()[-1].frame
    assert time.monotonic() - began >= last.pts_s - watched.frames()[0].frame.pts_s - 0.2


def test_a_frozen_picture_is_noticed(tmp_path: Path, watch) -> None:
    import av
    import numpy as np

    still = tmp_path / "still.mp4"
    with av.open(str(still), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(60):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((240, 320, 3), 90, np.uint8), "rgb24")))
        out.mux(stream.encode(None))
    settings = CameraSettings(options=LiveOptions(), frozen_s=1.0, backoff_first_s=0.2)
    watched = watch(str(still), settings)
    watched.until(lambda: watched.saw(State.STALLED))
    assert "frozen" in next(s.reason for s in watched.states if s.state is State.STALLED)


def test_a_slow_consumer_costs_frames_that_are_counted(moving: Path, watch) -> None:
    watched = watch(str(moving), CameraSettings(hz=0.0), FrameBuffer("latest"))
    until(lambda: watched.buffer.dropped >= 5)
    assert len(watched.buffer) <= 1


def test_stopping_ends_the_session_and_the_thread(moving: Path, watch) -> None:
    watched = watch(str(moving), CameraSettings(options=LiveOptions(loop=True)))
    watched.until(lambda: len(watched.frames()) >= 2)
    assert "camera-gate" in {thread.name for thread in threading.enumerate()}
    assert watched.camera.stop(PATIENCE_S)
    assert "camera-gate" not in {thread.name for thread in threading.enumerate()}
    assert watched.camera.status.state is State.STOPPED
    rest = []
    while (item := watched.buffer.take()) is not None:
        rest.append(item)
    assert isinstance(rest[-1], SessionEnded)
