"""What the drills have in common: a receiver that keeps accounts, and a service with two cameras."""

from __future__ import annotations

import http.server
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facesieve.serve import Serving, serving
from facesieve.serve_config import parse_serve_config

SHARED = Path(os.environ.get("FACESIEVE_SHARED", Path(__file__).resolve().parent.parent.parent / "shared"))
BYSTANDER = SHARED / "videos" / "WolfgangLanger_Pexels.mp4"
TIMES = {"connect_s": 4, "read_s": 3, "stall_s": 4, "backoff_first_s": 0.5, "backoff_most_s": 4}
LIVE_AGAIN_S = TIMES["connect_s"] + TIMES["stall_s"] + TIMES["backoff_most_s"] + 8


class Inbox:
    """An HTTP receiver that can be away; keeps each event once, by its id, and counts what came again."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.again = 0
        self.away = False
        inbox = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not inbox.away:
                    inbox.again += body["id"] in inbox.events
                    inbox.events[body["id"]] = body["data"]
                self.send_response(503 if inbox.away else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/"

    def accounts(self) -> tuple[Counter[Any], Counter[Any]]:
        """Starts and final ends by track."""
        starts: Counter[Any] = Counter()
        ends: Counter[Any] = Counter()
        for event in list(self.events.values()):
            if event["type"] in ("track_started", "track_ended"):
                origin = event["origin"]
                key = (origin["boot"], origin["camera"], origin["session"], event["track"])
                starts[key] += event["type"] == "track_started"
                ends[key] += event["type"] == "track_ended" and event["final"]
        return starts, ends


class Scene:
    """A service with the camera that suffers and the one that must not notice."""

    def __init__(self, url: str, folder: Path, inbox: Inbox, **camera: Any) -> None:
        self.config = parse_serve_config(
            {
                "serve": {"state": str(folder / "state")},
                "detector": {"hz": 4},
                "camera": [
                    {"name": "victim", "url": url, **TIMES, **camera},
                    {"name": "bystander", "url": str(BYSTANDER), "loop": True},
                ],
                "sink": [{"kind": "webhook", "name": "inbox", "url": inbox.url, "timeout_s": 5}],
            },
            "drill",
        )
        self.worst_silence_s = 0.0

    @contextmanager
    def running(self) -> Iterator[Serving]:
        with serving(self.config) as self.serving:
            leave = threading.Event()
            watcher = threading.Thread(target=self._watch, args=(leave,))
            watcher.start()
            try:
                yield self.serving
            finally:
                leave.set()
                watcher.join()

    def live(self, sessions: int = 0, within_s: float = LIVE_AGAIN_S) -> float:
        """Wait until the victim gives frames in a session later than that; how long it took."""
        began = time.monotonic()
        while True:
            report = self.serving.service.cameras()["victim"]
            if report.status.state == "live" and report.status.sessions > sessions:
                return time.monotonic() - began
            if time.monotonic() - began > within_s:
                raise AssertionError(f"not live after {within_s:g} s: {report.status}")
            time.sleep(0.05)

    def lost(self, within_s: float = 20.0) -> None:
        """Wait until the victim is not live."""
        deadline = time.monotonic() + within_s
        while self.serving.service.cameras()["victim"].status.state == "live":
            if time.monotonic() > deadline:
                raise AssertionError("it never noticed")
            time.sleep(0.05)

    @property
    def sessions(self) -> int:
        return self.serving.service.cameras()["victim"].status.sessions

    def _watch(self, leave: threading.Event) -> None:
        last, at = -1, time.monotonic()
        while not leave.wait(0.1):
            now = self.serving.service.cameras()["bystander"].processed
            if now != last:
                last, at = now, time.monotonic()
            self.worst_silence_s = max(self.worst_silence_s, time.monotonic() - at)
