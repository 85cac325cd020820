"""USB cameras, as far as that goes without one (`make drill-vm` has one): FFmpeg's device is asked, and what
is wrong is told."""

from __future__ import annotations

import errno
import itertools
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from av.container.core import Flags
from av.packet import Packet
from av.video.stream import VideoStream
from patience import PATIENCE_S, until

from facesieve.serve_config import CameraTable, ServeConfig, parse_serve_config
from facesieve.serve_plan import camera_plan
from facesieve.stream.errors import ConfigError
from facesieve.stream.serve import live
from facesieve.stream.serve.address import Address, camera_address
from facesieve.stream.serve.buffer import FrameBuffer
from facesieve.stream.serve.camera import Camera
from facesieve.stream.serve.live import ConnectionFailed, LiveOptions, LiveStream, StreamStalled
from facesieve.stream.serve.reader import CameraSettings, CameraStatus, ReaderParts, State

ABSENT = "/dev/video987"


class Wall:
    def now_s(self) -> float:
        return time.time()


@pytest.fixture
def absent() -> str:
    if Path(ABSENT).exists():
        pytest.skip(f"{ABSENT} is there")
    return ABSENT


def test_an_absent_device_is_told_and_tried_again(absent: str) -> None:
    states: list[CameraStatus] = []
    settings, buffer = CameraSettings(backoff_first_s=0.1), FrameBuffer("latest")
    parts = ReaderParts("usb", settings, buffer, Wall(), random.Random(0), states.append)
    camera = Camera(camera_address(absent), parts)
    camera.start()
    until(lambda: sum(status.state is State.LOST for status in states) >= 2)
    assert camera.stop(PATIENCE_S)
    lost = [status.reason for status in states if status.state is State.LOST]
    assert lost[0] == f"{absent}: No such file or directory"


def test_what_is_no_camera_is_told() -> None:
    # The terminal's null device is a character device as cameras are, but it answers none of their calls.
    with pytest.raises(ConnectionFailed, match=r"Inappropriate ioctl .* \(not a camera; the second node"):
        LiveStream(Address("v4l2", "/dev/null", "/dev/null", None, None), LiveOptions())


def test_a_film_in_place_of_a_device_is_not_played(moving: Path) -> None:
    with pytest.raises(ConnectionFailed, match="ioctl"):
        LiveStream(Address("v4l2", str(moving), "device", None, None), LiveOptions())


class Device:
    """A device as PyAV gives one that never waits: after each packet of a film, and after all, nothing."""

    def __init__(self, film: Path, packets: int) -> None:
        self._film = av.open(str(film))
        self.streams = self._film.streams
        self._packets = itertools.islice(self._film.demux(video=0), packets)

    def demux(self, _stream: object) -> Iterator[Packet[VideoStream]]:
        yield from itertools.islice(self._packets, 1)
        raise av.error.BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable", "device")

    def close(self) -> None:
        self._film.close()


def test_a_device_that_falls_silent_is_left_in_time(moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, str] = {}

    def opened(_target: str, *, container_options: dict[str, str], **_rest: object) -> Device:
        asked.update(container_options)
        return Device(moving, 5)

    monkeypatch.setattr(live, "open_media", opened)
    with LiveStream(camera_address(ABSENT), LiveOptions(read_s=0.3)) as stream:
        frames, began = iter(stream), time.monotonic()
        assert len([next(frames) for _ in range(5)]) == 5
        with pytest.raises(StreamStalled, match="then nothing came"):
            next(frames)
        assert time.monotonic() - began >= 0.3
    with av.open(str(moving), container_options={"fflags": asked["fflags"]}) as film:
        assert film.flags & Flags.non_block.value  # else FFmpeg waits in the driver, where nothing ends it


def test_a_silent_device_can_be_left_at_once(moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "open_media", lambda *_args, **_options: Device(moving, 1))
    with LiveStream(camera_address(ABSENT), LiveOptions(read_s=2 * PATIENCE_S)) as stream:
        frames = iter(stream)
        next(frames)
        threading.Timer(0.2, stream.leave).start()
        began = time.monotonic()
        assert list(frames) == []
        assert time.monotonic() - began < PATIENCE_S


def test_wishes_reach_ffmpegs_device() -> None:
    # FFmpeg reads a size before it asks the device anything, so a wrong one is what it complains of.
    address = Address("v4l2", "/dev/null", "/dev/null", None, None)
    with pytest.raises(ConnectionFailed, match=r"Invalid argument \(does it offer"):
        LiveStream(address, LiveOptions(device_size="wide"))
    asked = LiveOptions(device_size="640x480", device_fps=15.0, device_format="mjpeg")
    with pytest.raises(ConnectionFailed, match="ioctl"):
        LiveStream(address, asked)


def test_every_wish_is_an_option_of_ffmpegs_device() -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("ffmpeg is missing")
    told = subprocess.run(
        [ffmpeg, "-hide_banner", "-h", "demuxer=v4l2"], capture_output=True, text=True, check=True
    )
    for name in ("video_size", "framerate", "input_format"):
        assert f"-{name} " in told.stdout


def test_configuration() -> None:
    table = {"name": "usb", "url": "/dev/video0", "device_size": "1280x720", "device_fps": 30}
    options = camera_plan(CameraTable.model_validate(table), ServeConfig()).settings.options
    assert (options.device_size, options.device_fps, options.device_format) == ("1280x720", 30, None)
    named = {**table, "url": "/dev/v4l/by-id/usb-046d_C920_1234-video-index0"}
    assert parse_serve_config({"camera": [named]}, "x").camera[0].device_fps == 30
    for wrong, told in (
        ({"url": "rtsp://h/x"}, "for url = /dev/videoN"),
        ({"url": "/dev/video0.mp4"}, "for url = /dev/videoN"),
        ({"device_size": "1280×720"}, "device_size"),
        ({"device_format": "mjpeg -f lavfi"}, "device_format"),
    ):
        with pytest.raises(ConfigError, match=told):
            parse_serve_config({"camera": [{**table, **wrong}]}, "x")
