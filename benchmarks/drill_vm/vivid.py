"""Drills of V4L2 devices with the kernel's own test driver, which can be told to fail."""

from __future__ import annotations

import ctypes
import fcntl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watched import GONE, Watched, line, nodes, quoted

DRIVER = Path("/sys/bus/platform/drivers/vivid")


def formats(busybox: str) -> str:
    """Pixel formats of the kernel's test driver, each played for some seconds."""
    told = []
    with loaded(busybox) as node:
        for form in ("yuyv422", "uyvy422", "nv12", "yuv420p", "rgb24", "bgr24", "gray"):
            with Watched(str(node), device_format=form, device_size="320x180", device_fps=10.0) as camera:
                camera.live()
                told.append(f"{form} {camera.figures(4)['frames_a_second']:g}")
    return f"frames a second of 10: {', '.join(told)}"


def faults(busybox: str) -> str:
    """What a driver can do: lose buffers, lose all, fail, vanish."""
    told = []
    with loaded(busybox) as node:
        wishes = {"device_size": "320x180", "device_fps": 10.0}
        with Watched(str(node), **wishes) as camera:
            camera.live()
            drops = Control(node, "Percentage of Dropped Buffers")
            drops.set(50)
            told.append(f"half of the buffers lost: {line(camera.figures(8))}")
            sessions, heard = camera.status.sessions, len(camera.states)
            drops.set(100)
            told.append(f"all lost: {quoted({camera.said(*GONE, since=heard).partition(': ')[2]})}")
            drops.set(0)
            told.append(f"frames {camera.live(sessions):.1f} s after")
            sessions, heard = camera.status.sessions, len(camera.states)
            Control(node, "Inject Fatal Streaming Error").set(1)
            told.append(f"the driver fails: {quoted({camera.said(*GONE, since=heard).partition(': ')[2]})}")
            camera.live(sessions)
            sessions, heard = camera.status.sessions, len(camera.states)
            (DRIVER / "unbind").write_text("vivid.0")
            told.append(f"it vanishes: {quoted({camera.said(*GONE, since=heard).partition(': ')[2]})}")
            (DRIVER / "bind").write_text("vivid.0")
            told.append(f"frames {camera.live(sessions):.1f} s after it is back")
    return "; ".join(told)


@contextmanager
def loaded(busybox: str) -> Iterator[Path]:
    arguments = ["n_devs=1", "node_types=0x1", "num_inputs=1", "input_types=0x0"]
    subprocess.run([busybox, "modprobe", "vivid", *arguments], check=True)
    deadline = time.monotonic() + 20
    while not nodes("vivid") and time.monotonic() < deadline:
        time.sleep(0.1)
    try:
        yield nodes("vivid")[0]
    finally:
        subprocess.run([busybox, "rmmod", "vivid"], check=False)


class Control:
    """A setting of a V4L2 device, by its name."""

    _NEXT, _QUERY, _SET = 0x8000_0000 | 0x4000_0000, 0xC0445624, 0xC008561C

    class _Query(ctypes.Structure):
        _fields_ = (
            ("id", ctypes.c_uint32),
            ("type", ctypes.c_uint32),
            ("name", ctypes.c_char * 32),
            ("rest", ctypes.c_int32 * 7),
        )

    def __init__(self, node: Path, name: str) -> None:
        self._node = node
        query, seen = self._Query(), []
        with node.open("rb", buffering=0) as device:
            while True:
                query.id |= self._NEXT
                try:
                    fcntl.ioctl(device, self._QUERY, query)
                except OSError:
                    raise AssertionError(f"no control {name!r} among {seen}") from None
                seen.append(query.name.decode())
                if seen[-1] == name:
                    self._id = query.id
                    return

    def set(self, value: int) -> None:
        with self._node.open("rb", buffering=0) as device:
            fcntl.ioctl(device, self._SET, (ctypes.c_uint32 * 2)(self._id, value))
