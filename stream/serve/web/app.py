"""The application: routes, their guard, the page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from . import cameras, faces, problems
from .access import Here, Reader, check_origin, needs, principal_of, token_of
from .auth import COOKIE
from .guard import Guard
from .metrics import CONTENT_TYPE, Figures
from .models import Credentials, Health, Me
from .parts import Web
from .problems import Problem, Refused, answers

API = "/api/v1"
_ANYBODY: dict[str, Any] = {"security": []}
_PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/draw.js": ("draw.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def make_app(web: Web) -> ASGIApp:
    """The whole application, its guard around it."""
    app = bare_app(web)
    return Guard(
        app,
        local_only=not len(web.tokens),
        body_bytes=web.limits.body_bytes,
        search_bytes=web.limits.search_bytes,
    )


def bare_app(web: Web) -> FastAPI:
    """The routes. Everything but the page, login and health takes a token or a session."""
    app = FastAPI(
        title="facesieve",
        version=web.version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.web = web
    problems.install(app)
    v1 = APIRouter(prefix=API)
    v1.include_router(cameras.router)
    v1.include_router(faces.router)
    v1.include_router(_session)
    app.include_router(v1)
    app.include_router(_health)
    figures = Figures(web)

    def metrics() -> Response:
        """The service's figures for Prometheus."""
        return Response(figures.text(), media_type=CONTENT_TYPE)

    app.add_api_route(
        "/metrics", metrics, include_in_schema=False, dependencies=[Depends(needs("read"))], methods=["GET"]
    )

    def openapi() -> JSONResponse:
        """This description."""
        return JSONResponse(app.openapi())

    app.add_api_route(
        f"{API}/openapi.json",
        openapi,
        include_in_schema=False,
        dependencies=[Depends(needs("read"))],
        methods=["GET"],
    )
    for path, (name, kind) in _PAGES.items():
        _add_page(app, path, name, kind)
    app.openapi = _described(app)  # type: ignore[method-assign]

    async def not_that_way(request: Request, _error: Exception) -> JSONResponse:
        allowed = ", ".join(_methods(app, request.url.path))
        return problems.problem(request, 405, f"expected {allowed}", headers={"Allow": allowed})

    app.add_exception_handler(405, not_that_way)
    return app


_session = APIRouter(tags=["session"])
_health = APIRouter(tags=["service"])


@_session.post(
    "/session",
    status_code=204,
    responses=answers(400, 401, 403, 413, 422, 429),
    openapi_extra=_ANYBODY,
)
def log_in(web: Here, credentials: Credentials, request: Request) -> Response:
    """Begin a session with a token: the answer sets a cookie."""
    check_origin(request)
    token = token_of(request, credentials.token.get_secret_value())
    answer = Response(status_code=204)
    answer.set_cookie(
        COOKIE,
        web.sessions.begin(token),
        max_age=round(web.sessions.lasts_s),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )
    return answer


@_session.get("/session", responses=answers(401, 403, 429))
def who_am_i(web: Here, who: Reader) -> Me:
    """Who asks, and what may be asked for."""
    return Me(name=who.name, scope=who.scope, by=who.by, people=web.people is not None)


@_session.delete("/session", status_code=204, responses=answers(401, 403, 429))
def log_out(web: Here, request: Request) -> Response:
    """End the session."""
    principal_of(request)
    web.sessions.end(request.cookies.get(COOKIE, ""))
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


@_health.get("/healthz", openapi_extra=_ANYBODY)
def healthy() -> Health:
    """The process answers."""
    return Health(status="ok")


@_health.get("/readyz", responses=answers(503), openapi_extra=_ANYBODY)
def ready(web: Here) -> Health:
    """The service works: it is not ending, and its disk takes events."""
    if web.stopping.is_set():
        raise Refused(503, "the service is ending")
    if web.spool.report().held:
        raise Refused(503, "the disk takes no events")
    return Health(status="ok")


def _add_page(app: FastAPI, path: str, name: str, kind: str) -> None:
    data = files(__package__).joinpath("pages", name).read_bytes()
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'

    def page(request: Request) -> Response:
        """A file of the page, which holds nothing of anybody."""
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=kind, headers=headers)

    app.add_api_route(path, page, include_in_schema=False, methods=["GET"])


def _methods(app: FastAPI, path: str) -> list[str]:
    """All that a path is made for, of all routes of that path."""
    described: dict[str, dict[str, Any]] = app.openapi()["paths"]
    fits = [p for p in described if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", p), path)]
    best = path if path in described else next(iter(fits), None)
    return ["GET"] if best is None else sorted(method.upper() for method in described[best])


def _described(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """The OpenAPI description with how to log in, and with problems instead of FastAPI's own errors."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, routes=app.routes)
            parts = made.setdefault("components", {})
            parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
            for unused in ("HTTPValidationError", "ValidationError"):
                parts["schemas"].pop(unused, None)
            parts["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            }
            made["security"] = [{"token": []}, {"session": []}]
            app.openapi_schema = made
        return app.openapi_schema

    return described
