"""USB cameras, as far as that goes without one: FFmpeg's device is asked, and what is wrong is told."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from facesieve.serve_config import CameraTable, ServeConfig, parse_serve_config
from facesieve.serve_plan import camera_plan
from facesieve.stream.errors import ConfigError
from facesieve.stream.serve.address import Address, camera_address
from facesieve.stream.serve.buffer import FrameBuffer
from facesieve.stream.serve.camera import Camera
from facesieve.stream.serve.live import ConnectionFailed, LiveOptions, LiveStream
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
    camera = Camera(
        "usb",
        camera_address(absent),
        CameraSettings(backoff_first_s=0.1),
        FrameBuffer("latest"),
        ReaderParts(Wall(), random.Random(0), states.append),
    )
    camera.start()
    deadline = time.monotonic() + 10
    while sum(status.state is State.LOST for status in states) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert camera.stop(5.0)
    lost = [status.reason for status in states if status.state is State.LOST]
    assert len(lost) >= 2
    assert lost[0] == f"{absent}: No such file or directory"


def test_what_is_no_camera_is_told() -> None:
    # The terminal's null device is a character device as cameras are, but it answers none of their calls.
    with pytest.raises(ConnectionFailed, match="Inappropriate ioctl"):
        LiveStream(Address("v4l2", "/dev/null", "/dev/null", None, None), LiveOptions())


def test_a_film_in_place_of_a_device_is_not_played(moving: Path) -> None:
    with pytest.raises(ConnectionFailed, match="ioctl"):
        LiveStream(Address("v4l2", str(moving), "device", None, None), LiveOptions())


def test_wishes_reach_ffmpegs_device() -> None:
    # FFmpeg reads a size before it asks the device anything, so a wrong one is what it complains of.
    address = Address("v4l2", "/dev/null", "/dev/null", None, None)
    with pytest.raises(ConnectionFailed, match="Invalid argument"):
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
    for wrong, told in (
        ({"url": "rtsp://h/x"}, "for url = /dev/videoN"),
        ({"device_size": "1280×720"}, "device_size"),
        ({"device_format": "mjpeg -f lavfi"}, "device_format"),
    ):
        with pytest.raises(ConfigError, match=told):
            parse_serve_config({"camera": [{**table, **wrong}]}, "x")
