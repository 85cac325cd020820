"""HLS and RTMP from real servers that die and come back, and silence in every protocol and at every point."""

from __future__ import annotations

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
from stream_servers import Hls, Rtmp

from facesieve.stream.serve.address import camera_address
from facesieve.stream.serve.buffer import Arrived, FrameBuffer
from facesieve.stream.serve.camera import Camera
from facesieve.stream.serve.live import ConnectionFailed, LiveOptions, LiveStream, StreamStalled
from facesieve.stream.serve.reader import CameraSettings, CameraStatus, ReaderParts, State

QUICK = LiveOptions(connect_s=6.0, read_s=3.0)
SETTINGS = CameraSettings(options=QUICK, stall_s=8.0, backoff_first_s=0.2, backoff_most_s=1.0)


class Wall:
    def now_s(self) -> float:
        return time.time()


class Watched:
    """A camera, its states and how many frames each of its sessions gave."""

    def __init__(self, url: str, settings: CameraSettings = SETTINGS) -> None:
        self.states: list[CameraStatus] = []
        self.frames: dict[int, int] = {}
        self._buffer = FrameBuffer("latest")
        parts = ReaderParts("door", settings, self._buffer, Wall(), random.Random(0), self.states.append)
        self.camera = Camera(camera_address(url), parts)
        self.camera.start()

    def until(self, done: Callable[[], Any], within_s: float = 40) -> float:
        """How long it took."""
        began = time.monotonic()
        while not done():
            assert time.monotonic() - began < within_s, [(s.state, s.reason) for s in self.states]
            item = self._buffer.take(0.1)
            if isinstance(item, Arrived):
                self.frames[item.session] = self.frames.get(item.session, 0) + 1
        return time.monotonic() - began

    def reasons(self, *states: State) -> list[str]:
        return [status.reason for status in self.states if status.state in states]


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(url: str, settings: CameraSettings = SETTINGS) -> Watched:
        made.append(Watched(url, settings))
        return made[-1]

    yield make
    for watched in made:
        assert watched.camera.stop(6.0)


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
    watched.until(lambda: watched.frames.get(1, 0) >= 8)
    status = watched.camera.status
    assert (status.state, status.codec, status.width, status.height) == (State.LIVE, "h264", 320, 240)
    hls.die()
    watched.until(lambda: watched.reasons(State.LOST, State.STALLED))
    hls.serve()
    watched.until(lambda: watched.frames.get(2, 0) >= 4)


def test_a_playlist_that_does_not_grow_is_noticed_and_goes_on_when_it_does(
    hls: Hls, watch: Callable[..., Watched]
) -> None:
    hls.write()
    hls.serve()
    watched = watch(hls.url)
    watched.until(lambda: watched.frames.get(1, 0) >= 8)
    hls.unwrite()
    watched.until(lambda: watched.reasons(State.LOST, State.STALLED))
    hls.write()
    before = sum(watched.frames.values())
    watched.until(lambda: sum(watched.frames.values()) >= before + 12)
    assert watched.camera.status.sessions >= 2


def drain(stream: LiveStream) -> None:
    """Take frames until the stream ends."""
    for _ in stream:
        pass


def test_a_segment_that_never_comes_is_given_up_in_time(hls: Hls) -> None:
    hls.write()
    hls.serve()
    with LiveStream(camera_address(hls.url), QUICK) as stream:
        hls.silent.set()
        began = time.monotonic()
        with pytest.raises(StreamStalled, match="nothing came"):
            drain(stream)
        assert time.monotonic() - began < QUICK.read_s + 6, "what was there, then one silence"
    began = time.monotonic()
    with pytest.raises(ConnectionFailed):
        LiveStream(camera_address(hls.url), LiveOptions(connect_s=1.5, read_s=1.5))
    assert time.monotonic() - began < 4


def test_rtmp_is_live_and_comes_back_when_its_server_does(rtmp: Rtmp, watch: Callable[..., Watched]) -> None:
    rtmp.start()
    watched = watch(rtmp.url)
    watched.until(lambda: watched.frames.get(1, 0) >= 8)
    status = watched.camera.status
    assert (status.state, status.codec, status.width, status.height) == (State.LIVE, "h264", 320, 240)
    rtmp.kill()
    watched.until(lambda: watched.reasons(State.LOST))
    rtmp.start()
    watched.until(lambda: watched.frames.get(2, 0) >= 4)


def test_an_rtmp_server_that_freezes_is_stalled_after_read_s(
    rtmp: Rtmp, watch: Callable[..., Watched]
) -> None:
    rtmp.start()
    watched = watch(rtmp.url)
    watched.until(lambda: watched.frames.get(1, 0) >= 4)
    rtmp.freeze()
    took_s = watched.until(lambda: watched.reasons(State.STALLED))
    assert took_s < QUICK.read_s + 3
    assert "nothing came" in watched.reasons(State.STALLED)[0]


RTSP_OPTIONS = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY\r\n\r\n"
HTTP_HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"
RTMP_HANDSHAKE = b"\x03" + bytes(1536) + bytes(1536)


@pytest.mark.parametrize("answer", [b"", b"partial"], ids=["at once", "after an answer"])
@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp"])
def test_silence_while_connecting_is_interrupted_in_time(scheme: str, answer: bytes) -> None:
    said = {"rtsp": RTSP_OPTIONS, "http": HTTP_HEADERS, "rtmp": RTMP_HANDSHAKE}[scheme] if answer else b""
    leave = threading.Event()

    def accept(listener: socket.socket) -> None:
        listener.settimeout(10)
        peer, _ = listener.accept()
        with peer:
            peer.sendall(said)
            leave.wait(15)

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
        leave.set()
        thread.join(5)
    assert 1.0 < took_s < 4
    assert "pa55word" not in str(told.value)
    assert "t0ken" not in str(told.value)


def test_silence_in_the_middle_of_http_is_interrupted_in_time(moving: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.ts"
    copy = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(moving), "-c", "copy", str(film)]
    subprocess.run(copy, check=True)
    leave = threading.Event()

    def serve(listener: socket.socket) -> None:
        listener.settimeout(10)
        peer, _ = listener.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(HTTP_HEADERS + film.read_bytes())
            leave.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/live.ts"
        with LiveStream(camera_address(url), LiveOptions(connect_s=4.0, read_s=1.5)) as stream:
            began = time.monotonic()
            with pytest.raises(StreamStalled, match="nothing came"):
                drain(stream)
            took_s = time.monotonic() - began
        leave.set()
        thread.join(5)
    assert 1.0 < took_s < 4


def test_a_silent_camera_is_stopped_in_time(watch: Callable[..., Watched]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = CameraSettings(options=LiveOptions(connect_s=3.0, read_s=3.0))
        watched = watch(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live", slow)
        watched.until(lambda: watched.states)
        began = time.monotonic()
        assert watched.camera.stop(10.0)
        assert time.monotonic() - began < slow.options.connect_s + 2
