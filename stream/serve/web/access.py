"""How a route asks who is there, and notes who saw which face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from .auth import COOKIE, Principal, Scope, Token
from .parts import Web
from .problems import Refused

_SAFE = ("GET", "HEAD", "OPTIONS")


def web_of(request: Request) -> Web:
    """What the app works with."""
    web: Web = request.app.state.web
    return web


def client_of(request: Request) -> str:
    """The peer's address."""
    return request.client.host if request.client else "?"


def principal_of(request: Request) -> Principal:
    """Who asks: by a token in the request, else by a session, else, where no token is configured, anybody on
    this machine. Refused with 401, or 403 for a request that a page of another origin made."""
    web = web_of(request)
    given = request.headers.get("authorization")
    if given is not None:
        scheme, _, secret = given.partition(" ")
        token = token_of(request, secret.strip() if scheme.casefold() == "bearer" else None)
        return Principal(token.name, token.scope, "token")
    session = request.cookies.get(COOKIE)
    found = web.sessions.find(session) if session else None
    if found is None and not len(web.tokens):
        found = Principal("local", "admin", "local")
    if found is None:
        raise Refused(401, "log in, or send a token", {"WWW-Authenticate": "Bearer"})
    check_origin(request)
    return found


def check_origin(request: Request) -> None:
    """Refuse what a page of another origin made the browser send (RFC 6454, Fetch Metadata)."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site in ("cross-site", "same-site"):
        raise Refused(403, "a page of another origin may not ask this")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Refused(403, "a page of another origin may not ask this")
    if request.method not in _SAFE and COOKIE in request.cookies and site is None and origin is None:
        raise Refused(403, "with a session, a change needs the header Origin or Sec-Fetch-Site")


def token_of(request: Request, secret: str | None) -> Token:
    """Whose secret it is. Refused with 401 for one that is wrong or absent, and after many of them from one
    address with 429, whatever is sent."""
    web, client = web_of(request), client_of(request)
    if web.limits.logins.left(client) < 1:
        raise Refused(429, "too many wrong tokens from this address", {"Retry-After": "60"})
    token = None if secret is None else web.tokens.match(secret)
    if token is None:
        web.limits.logins.spend(client)
        raise Refused(401, "the token is not valid", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    return token


def needs(scope: Scope) -> Callable[[Request], Principal]:
    """A dependency: whoever asks must have that scope."""

    def check(request: Request) -> Principal:
        principal = principal_of(request)
        if not principal.may(scope):
            raise Refused(403, f"this takes a token of the scope {scope}")
        return principal

    return check


def changes(request: Request) -> Principal:
    """A dependency of what changes something: an admin, and not too often."""
    principal = needs("admin")(request)
    if not web_of(request).limits.changes.spend(principal.name):
        raise Refused(429, "too many changes: wait a while", {"Retry-After": "10"})
    return principal


def note(request: Request, who: Principal, action: str, what: str, *, often: bool = False) -> None:
    """Write down who sees a face, before it is shown. Raises OutputError."""
    web_of(request).audit.note(
        f"{who.name} ({who.by})", client_of(request), action, what, request.state.request_id, often=often
    )


Here = Annotated[Web, Depends(web_of)]
Reader = Annotated[Principal, Depends(needs("read"))]
Admin = Annotated[Principal, Depends(changes)]
