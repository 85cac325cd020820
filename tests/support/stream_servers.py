"""Real servers of HLS and RTMP: FFmpeg writes segments live, or is the server itself. For tests."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from live_servers import AGAIN, AT_MOST
from patience import until
from ports import free_port

_FFMPEG = (*AT_MOST, "ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-re", "-stream_loop", "-1")


class _Process:
    """FFmpeg that plays a film in real time, over and over, until it is killed; should it end, it is started
    again."""

    def __init__(self, clip: Path, *output: str) -> None:
        self._process = subprocess.Popen(
            [*AGAIN, *_FFMPEG, "-i", str(clip), "-an", "-c:v", "copy", *output],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def freeze(self) -> None:
        """It keeps its connections and says nothing more."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Hls:
    """Segments of a second that FFmpeg writes, the last four in the playlist, and a plain HTTP server."""

    def __init__(self, folder: Path, clip: Path) -> None:
        self._folder, self._clip = folder, clip
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/live.m3u8"
        self.silent = threading.Event()
        self._server: http.server.ThreadingHTTPServer | None = None
        self._writer: _Process | None = None

    def write(self) -> None:
        """Begin to write segments; returns once there is a playlist."""
        self.unwrite()
        options = ["-f", "hls", "-hls_time", "1", "-hls_list_size", "4"]
        options += ["-hls_flags", "delete_segments+omit_endlist+append_list+discont_start"]
        self._writer = _Process(self._clip, *options, str(self._folder / "live.m3u8"))
        until((self._folder / "live.m3u8").exists, lambda: "FFmpeg wrote no playlist")

    def unwrite(self) -> None:
        """No segment is added any more; what is there is still served."""
        if self._writer is not None:
            self._writer.kill()
            self._writer = None

    def serve(self) -> None:
        """Begin to serve the folder."""
        hls = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith(".ts"):
                    while hls.silent.is_set() and hls._server is not None:  # accepted, and then nothing comes
                        time.sleep(0.05)
                with contextlib.suppress(ConnectionError):
                    super().do_GET()

            def log_message(self, *args: object) -> None: ...

        make: Any = functools.partial(Handler, directory=str(self._folder))
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), make)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def die(self) -> None:
        """Nobody listens any more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def close(self) -> None:
        self.unwrite()
        self.die()


class Rtmp:
    """FFmpeg as an RTMP server: it waits for one client, plays to it, and then waits for the next."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self.port = free_port()
        self.url = f"rtmp://127.0.0.1:{self.port}/live/door"
        self._server: _Process | None = None

    def start(self) -> None:
        """Returns once it listens."""
        self._server = _Process(self._clip, "-f", "flv", "-listen", "1", self.url)
        until(lambda: _is_served(self.port), lambda: "FFmpeg does not listen")

    def freeze(self) -> None:
        assert self._server is not None
        self._server.freeze()

    def kill(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server = None

    close = kill


def _is_served(port: int) -> bool:
    """Whether somebody listens at the port, or has taken a client there and listens no more.

    Only the kernel is asked: a connection would be the one client that the server takes, a bound socket in
    its way, and a camera that waits for the server may be its client before it was ever seen to listen.
    """
    established, listen = "01", "0A"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    return any(
        int(local.rpartition(":")[2], 16) == port and state in (established, listen)
        for _, local, _, state, *_ in rows
    )
