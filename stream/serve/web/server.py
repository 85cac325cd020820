"""The HTTP server, in a thread of its own."""

from __future__ import annotations

import logging
import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp

from ...errors import ConfigError
from ...ports import Closing

_LOG = logging.getLogger("facesieve.serve")
_CONNECTIONS = 256
_LEAVE_S = 3


class HttpServer(Closing):
    """Serves the app until it is closed.

    place: bound, see `bound`; listened at from here on, and closed at the end. close waits a few seconds for
    answers that are being given. Raises ConfigError when nothing can be served.
    """

    def __init__(self, app: ASGIApp, place: socket.socket) -> None:
        self._socket = place
        self.port = int(place.getsockname()[1])
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_LEAVE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="facesieve-http", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        if not self._server.started:
            raise ConfigError(f"serve.host and serve.port: nothing can be served at port {self.port}")

    def close(self) -> None:
        """Take no more requests, and stop."""
        self._server.should_exit = True
        self._thread.join(2 * _LEAVE_S)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except Exception:  # noqa: BLE001  the cameras go on
            _LOG.exception("the page and the API have ended")


def bound(host: str, port: int) -> socket.socket:
    """A socket at the address, which is taken from now on; nobody is let in before a server listens. port: 0
    takes a free one. Raises ConfigError where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
        except OSError:
            made.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"serve.host and serve.port: {host}:{port} cannot be had ({error.strerror or error})"
        ) from error
    return made
