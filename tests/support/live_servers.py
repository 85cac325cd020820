"""Real servers for live sources: gst-rtsp-server with FFmpeg as the publisher. For tests and benchmarks."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import av
import numpy as np

PYTHON = "/usr/bin/python3"  # Debian's, which has the GStreamer bindings


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


class Rtsp:
    """An RTSP server of one's own with published films; each process can be killed and started again."""

    def __init__(self, *, user: str | None = None, password: str | None = None) -> None:
        self.port = free_port()
        self._login = ["--user", user, "--password", password] if user and password else []
        self._mounts: dict[str, int] = {}
        self._publishers: dict[str, subprocess.Popen[bytes]] = {}
        self._server: subprocess.Popen[bytes] | None = None

    def url(self, mount: str) -> str:
        return f"rtsp://127.0.0.1:{self.port}/{mount}"

    def publish(self, mount: str, clip: Path) -> None:
        """Send a film to the mount, over and over, in real time."""
        self.unpublish(mount)
        port = self._mounts.setdefault(mount, free_port(socket.SOCK_DGRAM))
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1"]
        command += ["-i", str(_loopable(clip)), "-an", "-c:v", "copy", "-f", "rtp", f"rtp://127.0.0.1:{port}"]
        # The server listens for packets only while someone watches; a publisher that nobody hears gives up.
        again = ["sh", "-c", 'while :; do "$@"; sleep 0.2; done', "publisher", *command]
        self._publishers[mount] = subprocess.Popen(
            again, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

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
            [PYTHON, str(script), str(self.port), *mounts, *self._login],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            if self._server.stdout:
                self._server.stdout.close()
            self._server = None

    def close(self) -> None:
        self.kill()
        for mount in list(self._publishers):
            self.unpublish(mount)
