"""Drills of USB cameras: a camera of software at the kernel's USB camera driver."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watched import GONE, READ_S, STALL_S, Watched, line, nodes, quoted, words

HERE = Path(__file__).resolve().parent
FILM = HERE.parent / "out" / "drill_vm" / "film"
BY_ID = Path("/dev/v4l/by-id/usb-facesieve_Software_camera_0001-video-index0")


class Usb:
    """The camera of software, which can be plugged in and pulled out."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def plug(self) -> Path:
        """The device; a link by the camera's name is put where udev puts it."""
        self._process = subprocess.Popen([sys.executable, str(HERE / "usb_camera.py"), str(FILM)])
        deadline = time.monotonic() + 60
        while not nodes("uvcvideo"):
            if time.monotonic() > deadline:
                raise AssertionError("the kernel does not take the camera")
            time.sleep(0.1)
        node = nodes("uvcvideo")[0]
        BY_ID.parent.mkdir(parents=True, exist_ok=True)
        BY_ID.unlink(missing_ok=True)
        BY_ID.symlink_to(f"../../{node.name}")
        return node

    def pull(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        BY_ID.unlink(missing_ok=True)

    def hush(self) -> None:
        """Plugged in, and no picture comes; once more, and they come again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)


@contextmanager
def plugged() -> Iterator[tuple[Usb, Path]]:
    usb = Usb()
    try:
        yield usb, usb.plug()
    finally:
        usb.pull()
        deadline = time.monotonic() + 20
        while nodes("uvcvideo") and time.monotonic() < deadline:
            time.sleep(0.1)


def handles() -> int:
    """Files that this process holds open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def formats() -> str:
    """Each format that it offers, and what comes without a wish."""
    told = []
    with plugged() as (_, node):
        for wishes in (
            {},
            {"device_format": "mjpeg"},
            {"device_format": "yuyv422"},
            {"device_format": "mjpeg", "device_fps": 5.0},
        ):
            with Watched(str(node), **wishes) as camera:
                camera.live()
                told.append(f"{words(wishes)}: {line(camera.figures(8))}")
    return "; ".join(told)


def pulled(times: int = 5) -> str:
    """The cable is pulled and put back, over and over; the device is named by what it is."""
    usb, took, numbers, reasons = Usb(), [], set(), set()
    usb.plug()
    try:
        with Watched(str(BY_ID), device_format="mjpeg") as camera:
            camera.live()
            for _ in range(times):
                sessions, heard = camera.status.sessions, len(camera.states)
                open_now = handles()
                usb.pull()
                reasons.add(camera.said(*GONE, since=heard).partition(": ")[2])
                numbers.add(usb.plug().name)
                took.append(camera.live(sessions))
                if handles() > open_now:
                    raise AssertionError("a handle stays open with each return")
            if len(camera.ended) < times:
                raise AssertionError(f"expected {times} sessions to end, got {camera.ended}")
    finally:
        usb.pull()
    return (
        f"{times} times, told as {quoted(reasons)}; frames again {max(took):.1f} s after the kernel had it "
        f"at most; as {', '.join(sorted(numbers))}"
    )


def silent() -> str:
    """Plugged in, and no picture comes any more."""
    with plugged() as (usb, node), Watched(str(node), device_format="mjpeg") as camera:
        camera.live()
        sessions, heard = camera.status.sessions, len(camera.states)
        usb.hush()
        began = time.monotonic()
        reason = camera.said(*GONE, since=heard)
        took = time.monotonic() - began
        if took > READ_S + STALL_S + 5:
            raise AssertionError(f"noticed after {took:.1f} s only")
        usb.hush()
        again = camera.live(sessions)
        return f"{quoted({reason.partition(': ')[2]})} after {took:.1f} s; frames again after {again:.1f} s"


def silent_from_the_start() -> str:
    """Plugged in, and not one picture comes."""
    with plugged() as (usb, node):
        usb.hush()
        with Watched(str(node), device_format="mjpeg") as camera:
            reason = camera.said(*GONE)
            took = camera.states[-1][0] - camera.states[0][0]
            usb.hush()
            again = camera.live()
        usb.hush()
        with Watched(str(node), device_format="mjpeg") as camera:
            time.sleep(4)
            usb.hush()
            camera.live()
            if any(state in GONE for _, state, _ in camera.states):
                raise AssertionError(
                    f"a camera that needs 4 s to its first picture was given up: {camera.states}"
                )
    return (
        f"{quoted({reason.partition(': ')[2]})} after {took:.1f} s; frames {again:.1f} s after they came; "
        "one that needs 4 s to its first picture is waited for"
    )


def busy() -> str:
    """Another program has the camera, and lets go of it later."""
    with plugged() as (_, node):
        command = [
            "ffmpeg",
            "-nostdin",
            "-loglevel",
            "error",
            "-f",
            "v4l2",
            "-i",
            str(node),
            "-f",
            "null",
            "-",
        ]
        other = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            time.sleep(8)
            with Watched(str(node), device_format="mjpeg") as camera:
                reason = camera.said(*GONE)
                other.kill()
                other.wait()
                return (
                    f"{quoted({reason.partition(': ')[2]})}; frames {camera.live():.1f} s after it was free"
                )
        finally:
            other.kill()
            other.wait()


def absent() -> str:
    """Not there at the start, plugged in later."""
    with Watched(str(BY_ID), device_format="mjpeg") as camera:
        reason = camera.said(*GONE)
        with plugged():
            return f"{quoted({reason.partition(': ')[2]})}; frames {camera.live():.1f} s after it came"


def mistakes() -> str:
    """What a configuration can get wrong: one line each."""
    told = []
    with plugged() as (_, node):
        for name, target, wishes in (
            ("H.264 asked of it", node, {"device_format": "h264"}),
            ("no such format", node, {"device_format": "nonsense"}),
            ("its node for metadata", nodes("uvcvideo")[1], {}),
        ):
            with Watched(str(target), **wishes) as camera:
                told.append(f"{name}: {quoted({camera.said(*GONE).partition(': ')[2]})}")
        node.chmod(0o600)
        look = (
            "import os\n"
            "from facesieve.stream.serve.address import camera_address\n"
            "from facesieve.stream.serve.live import ConnectionFailed, LiveOptions, LiveStream\n"
            "os.setgroups([])\n"
            "os.setuid(65534)\n"
            f"try: LiveStream(camera_address({str(node)!r}), LiveOptions())\n"
            "except ConnectionFailed as error: print(error)"
        )
        answer = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False)
        told.append(
            f"not allowed: {quoted({answer.stdout.strip().partition(': ')[2] or answer.stderr[-300:]})}"
        )
        for wishes in ({"device_size": "1234x777"}, {"device_fps": 60.0}):
            with Watched(str(node), **wishes) as camera:
                camera.live()
                told.append(f"{words(wishes)}: {line(camera.figures(5))}")
    return "; ".join(told)
