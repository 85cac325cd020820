"""A camera read as the service reads it, and what came of it. Times are long: the machine is emulated."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from facesieve.stream.serve.address import camera_address
from facesieve.stream.serve.buffer import Arrived, FrameBuffer, SessionEnded
from facesieve.stream.serve.camera import Camera
from facesieve.stream.serve.live import LiveOptions
from facesieve.stream.serve.reader import CameraSettings, CameraStatus, ReaderParts, State
from facesieve.stream.types import U8

READ_S, STALL_S = 6.0, 8.0
GONE = (State.LOST, State.STALLED)
STEP = 4  # pixels of pictures that are kept


class Wall:
    def now_s(self) -> float:
        return time.time()


class Watched:
    """A camera's reader, everything that it said, and the times of its frames by session."""

    def __init__(self, url: str, **options: Any) -> None:
        self.states: list[tuple[float, State, str]] = []
        self.times: dict[int, list[tuple[float, float, float]]] = {}  # its own, on the wall, arrived (s)
        self.ended: list[int] = []
        self.pictures: list[tuple[float, U8]] = []  # when it came; (h / STEP, w / STEP) luma
        self._buffer = FrameBuffer("drop_oldest", 64)
        settings = CameraSettings(
            options=LiveOptions(connect_s=20.0, read_s=READ_S, **options),
            hz=0.0,
            stall_s=STALL_S,
            backoff_first_s=0.5,
            backoff_most_s=2.0,
        )
        parts = ReaderParts("victim", settings, self._buffer, Wall(), random.Random(0), self._heard)
        self._camera = Camera(camera_address(url), parts)
        self._taker = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> Watched:
        self._taker.start()
        self._camera.start()
        return self

    def __exit__(self, *_: object) -> None:
        stopped = self._camera.stop(READ_S + 10)
        self._taker.join(5)
        if not stopped:
            raise AssertionError("the reader's thread is held in the driver and did not stop")

    @property
    def status(self) -> CameraStatus:
        return self._camera.status

    def until(self, what: str, holds: Callable[[], bool], within_s: float = 60.0) -> float:
        """Wait; how many seconds it took. Raises AssertionError."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > within_s:
                raise AssertionError(f"expected within {within_s:g} s: {what}; got {self.status}")
            time.sleep(0.05)
        return time.monotonic() - began

    def live(self, after: int = 0) -> float:
        """Wait for frames of a later session than that."""
        return self.until(
            f"live after session {after}",
            lambda: self.status.state is State.LIVE and self.status.sessions > after and bool(self.frames),
        )

    def said(self, *states: State, since: int = 0) -> str:
        """Wait until it says one of these; the reason in words. since: of the states heard."""
        self.until(f"{states}", lambda: any(state in states for _, state, _ in self.states[since:]))
        return next(reason for _, state, reason in self.states[since:] if state in states)

    @property
    def frames(self) -> list[tuple[float, float, float]]:
        """Of the present session."""
        return self.times.get(self.status.sessions, [])

    def figures(self, seconds: float) -> dict[str, Any]:
        """Of the frames that come in the next so many seconds; raises AssertionError if times go wrong."""
        session, before = self.status.sessions, len(self.frames)
        time.sleep(seconds)
        came = self.times.get(session, [])[before:]
        if len(came) < 5:
            raise AssertionError(f"expected frames, got {len(came)} in {seconds:g} s: {self.status}")
        back = sum(b[0] <= a[0] for a, b in itertools.pairwise(came))
        if back:
            raise AssertionError(f"expected advancing times, got {back} steps back of {len(came)}")
        span, waited = came[-1][0] - came[0][0], came[-1][2] - came[0][2]
        lag = max(arrived - shown for _, shown, arrived in came)
        if abs(span - waited) > 1.5 or not -1.0 < lag < 3.0:
            raise AssertionError(f"{span:.1f} s by its times, {waited:.1f} s by ours, late by {lag:.1f} s")
        return {
            "frames_a_second": round((len(came) - 1) / span, 1),
            "size": f"{self.status.width}×{self.status.height}",
            "codec": self.status.codec,
        }

    def _heard(self, status: CameraStatus) -> None:
        self.states.append((time.monotonic(), status.state, status.reason))

    def _take(self) -> None:
        while True:
            match self._buffer.take(0.5):
                case Arrived(session=session, frame=frame):
                    self.pictures.append((time.monotonic(), np.array(frame.picture.luma(STEP))))
                    self.times.setdefault(session, []).append((frame.pts_s, frame.wall_s or 0.0, time.time()))
                case SessionEnded(session=session):
                    self.ended.append(session)
                case None if self._buffer.is_closed:
                    return


def nodes(driver: str) -> list[Path]:
    """Of a driver's devices, in the order of their numbers."""
    named = [(int(entry.name[5:]), entry) for entry in Path("/sys/class/video4linux").glob("video*")]
    return [
        Path("/dev") / entry.name
        for _, entry in sorted(named)
        if (entry / "device" / "driver").resolve().name == driver
    ]


def words(wishes: dict[str, Any]) -> str:
    return ", ".join(f"{key.removeprefix('device_')} {value}" for key, value in wishes.items()) or "no wish"


def line(figures: dict[str, Any]) -> str:
    return f"{figures['codec']} {figures['size']} at {figures['frames_a_second']:g}"


def quoted(reasons: set[str]) -> str:
    return " / ".join(f"“{reason}”" for reason in sorted(reasons))
