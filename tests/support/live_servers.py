"""Real servers for live sources: gst-rtsp-server with FFmpeg as the publisher. For tests and benchmarks."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import av
import numpy as np
from ports import free_port

PYTHON = "/usr/bin/python3"  # Debian's, which has the GStreamer bindings
AGAIN = ("sh", "-c", 'while kill -0 "$PPID"; do "$@"; sleep 0.2; done', "again")
"""Before a command that is to run for as long as who started it, though it may end."""
AT_MOST = ("timeout", "--foreground", "7200")
"""Before one that would not end by itself, should nobody be left to end it."""


def missing() -> str | None:
    """What the servers need and this machine lacks."""
    if shutil.which("ffmpeg") is None:
        return "ffmpeg (Debian package ffmpeg)"
    check = [PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"]
    if not Path(PYTHON).exists() or subprocess.run(check, capture_output=True, check=False).returncode:
        return "gst-rtsp-server (Debian packages gir1.2-gst-rtsp-server-1.0, python3-gi)"
    return None


def film(path: Path, *, width: int = 320, height: int = 240, fps: int = 15, seconds: float = 4) -> Path:
    """An H.264 film without B-frames of a moving pattern, a key frame each second."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(fps), "bf": "0"}
        for i in range(round(fps * seconds)):
            shade = ((x + 5 * i) % 256, (y + 3 * i) % 256, (x + y + 7 * i) % 256)
            picture = np.stack(shade, 2).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
    return path


def _loopable(clip: Path) -> Path:
    """The film as an MPEG transport stream: its H.264 can be sent as it is, over and over."""
    target = clip.with_suffix(".ts")
    if not target.exists():
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-i", str(clip), "-an", "-c:v", "copy"]
        subprocess.run([*command, str(target)], check=True)
    return target


class JumpingCamera:
    """A camera over HTTP (MPEG-TS) whose clock jumps ahead by jump_s, every so many seconds."""

    def __init__(self, *, jump_s: float, every_s: float = 3.0, fps: int = 15) -> None:
        self._jump_s, self._every_s, self._fps = jump_s, every_s, fps
        self._left = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.5)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/live.ts"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._left.set()
        self._thread.join(60)
        self._listener.close()

    def _serve(self) -> None:
        while not self._left.is_set():
            with contextlib.suppress(TimeoutError, ConnectionError, av.FFmpegError):
                peer, _ = self._listener.accept()
                with peer:
                    peer.settimeout(20)
                    peer.recv(4096)
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
                    self._send(peer)

    def _send(self, peer: socket.socket) -> None:
        class Out:
            def write(self, data: bytes) -> int:
                peer.sendall(data)
                return len(data)

        x, y = np.meshgrid(np.arange(320), np.arange(240))
        start = time.monotonic()
        with av.open(Out(), "w", format="mpegts") as out:
            stream = out.add_stream("libx264", rate=self._fps)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(self._fps), "bf": "0"}
            for i in itertools.count():
                shown = np.stack(((x + 5 * i) % 256, (y + 3 * i) % 256, (x + y + 7 * i) % 256), 2)
                frame = av.VideoFrame.from_ndarray(shown.astype(np.uint8), "rgb24")
                for packet in stream.encode(frame):
                    jumps = int(i / self._fps / self._every_s)
                    packet.pts += round(jumps * self._jump_s / packet.time_base)
                    packet.dts = packet.pts
                    out.mux(packet)
                if self._left.wait(max(0.0, start + i / self._fps - time.monotonic())):
                    return


class _Relay:
    """Passes UDP packets on, less those that are lost."""

    def __init__(self, to: int) -> None:
        self.loss = 0.0
        self._to, self._rng = ("127.0.0.1", to), random.Random(0)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.5)
        self.port = int(self._socket.getsockname()[1])
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._left.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._left.is_set():
            with contextlib.suppress(TimeoutError, ConnectionError):
                packet = self._socket.recv(65536)
                if self._rng.random() >= self.loss:
                    self._socket.sendto(packet, self._to)


class Rtsp:
    """An RTSP server of one's own with published films; each process can be killed and started again.

    address: it listens on. within: a command before its and the publishers' own, as of a network namespace.
    relays: packets of publishers come through a relay that can lose some.
    """

    def __init__(
        self,
        *,
        user: str | None = None,
        password: str | None = None,
        address: str = "127.0.0.1",
        within: tuple[str, ...] = (),
        relays: bool = False,
    ) -> None:
        self.port = free_port()
        self._address, self._within, self._relays = address, list(within), relays
        self._login = ["--user", user, "--password", password] if user and password else []
        self._mounts: dict[str, int] = {}
        self._relay: dict[str, _Relay] = {}
        self._publishers: dict[str, subprocess.Popen[bytes]] = {}
        self._server: subprocess.Popen[bytes] | None = None

    def url(self, mount: str) -> str:
        return f"rtsp://{self._address}:{self.port}/{mount}"

    def mount(self, mount: str) -> int:
        """The port of 127.0.0.1 that takes the mount's RTP; mounts are made when the server starts."""
        return self._mounts.setdefault(mount, free_port(socket.SOCK_DGRAM))

    def publish(self, mount: str, clip: Path, *options: str) -> None:
        """Send a film to the mount, over and over, in real time. options: of FFmpeg, before the output."""
        self.unpublish(mount)
        port = self.mount(mount)
        if self._relays:
            port = self._relay.setdefault(mount, _Relay(port)).port
        command = [*AT_MOST, "ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1"]
        command += ["-i", str(_loopable(clip)), "-an", "-c:v", "copy", *options]
        command += ["-f", "rtp", f"rtp://127.0.0.1:{port}"]
        # The server listens for packets only while someone watches; a publisher that nobody hears gives up.
        self._publishers[mount] = subprocess.Popen(
            [*self._within, *AGAIN, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def lossy(self, mount: str, loss: float) -> None:
        """Lose that share of the packets from now on; needs relays."""
        self._relay[mount].loss = loss

    def unpublish(self, mount: str) -> None:
        process = self._publishers.pop(mount, None)
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def start(self) -> None:
        script = Path(__file__).with_name("rtsp_server.py")
        mounts = [f"{name}={port}" for name, port in self._mounts.items()]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self._server = subprocess.Popen(
            [*self._within, PYTHON, str(script), self._address, str(self.port), *mounts, *self._login],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            if self._server.stdout:
                self._server.stdout.close()
            self._server = None

    def close(self) -> None:
        self.kill()
        for mount in list(self._publishers):
            self.unpublish(mount)
        for relay in self._relay.values():
            relay.close()
