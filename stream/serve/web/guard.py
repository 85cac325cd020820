"""What holds for every request: its id, who is served at all, how large it may be, the answer's headers."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import time

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import Refused, problem

_LOG = logging.getLogger("facesieve.serve")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
SEARCH_PATH = "/api/v1/identities/search"


class Guard:
    """Around the app. local_only: without tokens, nobody but this machine is served, under a name of this
    machine: a page of somewhere else whose name was made to point here asks under its own. body_bytes,
    search_bytes: the largest body, and the largest picture to search by."""

    def __init__(self, app: ASGIApp, *, local_only: bool, body_bytes: int, search_bytes: int) -> None:
        self._app, self._local_only = app, local_only
        self._body_bytes, self._search_bytes = body_bytes, search_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers, began = Headers(scope=scope), time.monotonic()
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                shown = MutableHeaders(scope=message)
                shown["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    shown.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope, headers)
        try:
            if refusal is not None:
                await refusal(scope, receive, answer)
            else:
                await self._app(scope, self._limited(scope, receive), answer)
        finally:
            client = scope["client"][0] if scope.get("client") else "?"
            took_ms = 1000 * (time.monotonic() - began)
            level = logging.DEBUG if status < 400 else logging.INFO
            _LOG.log(
                level,
                "request %s: %s %s from %s: %d in %.0f ms",
                request_id,
                scope["method"],
                scope["path"].encode("unicode_escape").decode(),
                client,
                status,
                took_ms,
            )

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        request = Request(scope)
        if self._local_only:
            client = scope["client"][0] if scope.get("client") else ""
            if not _is_loopback(client) or any(name in headers for name in _FORWARDED):
                return problem(request, 403, "no token is configured: only this machine is served")
            if not _is_local_name(headers.get("host", "")):
                return problem(request, 421, "no token is configured: the host must be localhost")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > self._most(scope):
            return problem(request, 413, f"expected a body of at most {self._most(scope)} bytes")
        return None

    def _most(self, scope: Scope) -> int:
        return self._search_bytes if scope["path"] == SEARCH_PATH else self._body_bytes

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The same for a body that does not say beforehand how large it is."""
        most, came = self._most(scope), 0

        async def limited() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                raise Refused(413, f"expected a body of at most {most} bytes")
            return message

        return limited


def _is_loopback(client: str) -> bool:
    try:
        ip = ipaddress.ip_address(client)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def _is_local_name(host: str) -> bool:
    name = re.sub(r":\d{1,5}$", "", host).casefold()
    return name in ("localhost", "127.0.0.1", "[::1]")
