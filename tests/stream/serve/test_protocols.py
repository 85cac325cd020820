"""HLS and RTMP from real servers that die and come back, and silence in every protocol and at every point."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S
from stream_servers import Hls, Rtmp

from facesieve.stream.serve.address import camera_address
from facesieve.stream.serve.buffer import Arrived, FrameBuffer
from facesieve.stream.serve.camera import Camera
from facesieve.stream.serve.live import ConnectionFailed, LiveOptions, LiveStream, StreamStalled
from facesieve.stream.serve.reader import CameraSettings, CameraStatus, ReaderParts, State

# A second or two of silence is nothing here, so that a machine with much else to do is not taken for a camera
# that fails; should it be, another session follows.
QUICK = LiveOptions(connect_s=20.0, read_s=3.0)
IN_TIME_S = 40.0
"""Silence here is for ever: less than this tells that it was ended, however slow the machine."""
SETTINGS = CameraSettings(options=QUICK, stall_s=8.0, backoff_first_s=0.2, backoff_most_s=1.0)


class Wall:
    def now_s(self) -> float:
        return time.time()


class Watched:
    """A camera, its states and how many frames it gave."""

    def __init__(self, url: str, settings: CameraSettings = SETTINGS) -> None:
        self.states: list[CameraStatus] = []
        self.frames = 0
        self._buffer = FrameBuffer("latest")
        parts = ReaderParts("door", settings, self._buffer, Wall(), random.Random(0), self.states.append)
        self.camera = Camera(camera_address(url), parts)
        self.camera.start()

    def until(self, done: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, [(s.state, s.reason) for s in self.states]
            if isinstance(self._buffer.take(0.1), Arrived):
                self.frames += 1

    def until_live(self, frames: int) -> CameraStatus:
        """Wait until it is live and so many more frames have come; its status then."""
        wanted, seen = self.frames + frames, [self.camera.status]

        def is_live() -> bool:
            seen[0] = self.camera.status
            return seen[0].state is State.LIVE and self.frames >= wanted

        self.until(is_live)
        return seen[0]

    def reasons(self, *states: State, after: int = 0) -> list[str]:
        """Why it came into those states. after: changes of state that do not count."""
        return [status.reason for status in self.states[after:] if status.state in states]


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(url: str, settings: CameraSettings = SETTINGS) -> Watched:
        made.append(Watched(url, settings))
        return made[-1]

    yield make
    for watched in made:
        assert watched.camera.stop(PATIENCE_S)


@pytest.fixture
def hls(tmp_path: Path, moving: Path) -> Iterator[Hls]:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is missing")
    made = Hls(tmp_path, moving)
    yield made
    made.close()


@pytest.fixture
def rtmp(moving: Path) -> Iterator[Rtmp]:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is missing")
    made = Rtmp(moving)
    yield made
    made.close()


def test_hls_is_live_and_comes_back_when_its_server_does(hls: Hls, watch: Callable[..., Watched]) -> None:
    hls.write()
    hls.serve()
    watched = watch(hls.url)
    status = watched.until_live(8)
    assert (status.codec, status.width, status.height) == ("h264", 320, 240)
    hls.die()
    before = len(watched.states)
    watched.until(lambda: watched.reasons(State.LOST, State.STALLED, after=before))
    hls.serve()
    assert watched.until_live(4).sessions > status.sessions


def test_a_playlist_that_does_not_grow_is_noticed_and_goes_on_when_it_does(
    hls: Hls, watch: Callable[..., Watched]
) -> None:
    hls.write()
    hls.serve()
    watched = watch(hls.url)
    sessions = watched.until_live(8).sessions
    hls.unwrite()
    before = len(watched.states)
    watched.until(lambda: watched.reasons(State.LOST, State.STALLED, after=before))
    hls.write()
    assert watched.until_live(12).sessions > sessions


def drain(stream: LiveStream) -> None:
    """Take frames until the stream ends."""
    for _ in stream:
        pass


def test_a_segment_that_never_comes_is_given_up_in_time(hls: Hls) -> None:
    hls.write()
    hls.serve()
    with LiveStream(camera_address(hls.url), QUICK) as stream:
        hls.silent.set()  # until the test ends: whatever waits for the segment itself, waits for ever
        with pytest.raises(StreamStalled, match="nothing came"):
            drain(stream)
    with pytest.raises(ConnectionFailed):
        LiveStream(camera_address(hls.url), LiveOptions(connect_s=1.5, read_s=1.5))


def test_rtmp_is_live_and_comes_back_when_its_server_does(rtmp: Rtmp, watch: Callable[..., Watched]) -> None:
    rtmp.start()
    watched = watch(rtmp.url)
    status = watched.until_live(8)
    assert (status.codec, status.width, status.height) == ("h264", 320, 240)
    rtmp.kill()
    before = len(watched.states)
    watched.until(lambda: watched.reasons(State.LOST, after=before))
    rtmp.start()
    assert watched.until_live(4).sessions > status.sessions


def test_an_rtmp_server_that_freezes_is_stalled_after_read_s(
    rtmp: Rtmp, watch: Callable[..., Watched]
) -> None:
    rtmp.start()
    watched = watch(rtmp.url)
    watched.until_live(4)
    rtmp.freeze()
    watched.until(lambda: any("nothing came" in reason for reason in watched.reasons(State.STALLED)))


RTSP_OPTIONS = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY\r\n\r\n"
HTTP_HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"
RTMP_HANDSHAKE = b"\x03" + bytes(1536) + bytes(1536)


@pytest.mark.parametrize("answer", [b"", b"partial"], ids=["at once", "after an answer"])
@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp"])
def test_silence_while_connecting_is_interrupted_in_time(scheme: str, answer: bytes) -> None:
    said = {"rtsp": RTSP_OPTIONS, "http": HTTP_HEADERS, "rtmp": RTMP_HANDSHAKE}[scheme] if answer else b""
    leave = threading.Event()

    def accept(listener: socket.socket) -> None:
        listener.settimeout(PATIENCE_S)
        peer, _ = listener.accept()
        with peer, contextlib.suppress(ConnectionError):
            peer.sendall(said)
            leave.wait(PATIENCE_S)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        address = camera_address(
            f"{scheme}://me:pa55word@127.0.0.1:{listener.getsockname()[1]}/live?key=t0ken"
        )
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="nothing came") as told:
            LiveStream(address, LiveOptions(connect_s=1.5, read_s=1.0))
        took_s = time.monotonic() - began
        assert not leave.is_set()
        leave.set()
        thread.join()
    assert 1.0 < took_s < IN_TIME_S
    assert "pa55word" not in str(told.value)
    assert "t0ken" not in str(told.value)


def test_silence_in_the_middle_of_http_is_interrupted_in_time(moving: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.ts"
    copy = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(moving), "-c", "copy", str(film)]
    subprocess.run(copy, check=True)
    leave = threading.Event()

    def serve(listener: socket.socket) -> None:
        listener.settimeout(PATIENCE_S)
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(HTTP_HEADERS + film.read_bytes())
            leave.wait(PATIENCE_S)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/live.ts"
        with LiveStream(camera_address(url), LiveOptions(connect_s=20.0, read_s=1.5)) as stream:
            began = time.monotonic()
            with pytest.raises(StreamStalled, match="nothing came"):
                drain(stream)
            took_s = time.monotonic() - began
        leave.set()
        thread.join()
    assert 1.0 < took_s < IN_TIME_S


def test_a_silent_camera_is_stopped_in_time(watch: Callable[..., Watched]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = CameraSettings(options=LiveOptions(connect_s=3.0, read_s=3.0))
        watched = watch(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live", slow)
        watched.until(lambda: watched.states)
        assert watched.camera.stop(IN_TIME_S)
