"""An HTTP receiver of events."""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any

from facesieve.stream.serve.events import Event, parse_event


class Inbox:
    """Keeps the CloudEvents that it got; refuses them with 503 while it is away. tries: requests so far."""

    def __init__(self, *, away: bool = False) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.away, self.tries = away, 0
        inbox = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.tries += 1
                away = inbox.away
                if not away:
                    inbox.bodies.append(json.loads(body))
                self.send_response(503 if away else 204)
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/events"

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a kind, as often as they came."""
        return [body["data"] for body in list(self.bodies) if body["type"] == f"facesieve.{kind}"]

    def events(self) -> list[Event]:
        """Each once, as a receiver that goes by the ids has them."""
        once = {body["id"]: dict(body["data"]) for body in list(self.bodies)}
        for data in once.values():
            data.pop("images", None)
        return [parse_event(json.dumps(data)) for data in once.values()]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
