"""Errors as application/problem+json (RFC 9457): what was wrong, never how the service is made."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ...errors import ConfigError, FacesieveError, OutputError, SourceError

_LOG = logging.getLogger("facesieve.serve")
_TITLES = {
    400: "Bad request",
    401: "Not logged in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Not valid",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}


class Problem(BaseModel):
    """An error. errors: of a request that is not valid, where and what."""

    title: str
    status: int
    detail: str
    request_id: str
    errors: list[dict[str, str]] = []


class Refused(HTTPException):
    """status and what was wrong, in words for the client."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of problems that a route may answer with."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _TITLES[status], "content": content} for status in statuses}


def giving(description: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entry of a good answer that is no JSON."""
    return {200: {"description": description, "content": {kind: {} for kind in media_types}}}


def problem(
    request: Request,
    status: int,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """The answer."""
    body = Problem(
        title=_TITLES.get(status, "Error"),
        status=status,
        detail=detail,
        request_id=getattr(request.state, "request_id", ""),
        errors=errors or [],
    )
    return JSONResponse(
        body.model_dump(), status, media_type="application/problem+json", headers=headers or None
    )


def install(app: FastAPI) -> None:
    """Every error of the app becomes a problem."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101  as registered below
        headers = dict(error.headers or {})
        return problem(request, error.status_code, str(error.detail), headers=headers)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        # Not the input itself: it may hold a password.
        found = [
            {"where": ".".join(str(part) for part in one["loc"]), "what": str(one["msg"])}
            for one in error.errors()
        ]
        return problem(request, 422, "the request is not valid", errors=found)

    async def ours(request: Request, error: Exception) -> JSONResponse:
        match error:
            case ConfigError() | SourceError():
                return problem(request, 422, str(error))
            case OutputError():
                _LOG.error("%s: %s", request.url.path, error)
                return problem(request, 503, "the service cannot write now")
        _LOG.error("%s: %s", request.url.path, error)
        return problem(request, 500, "it failed; the service's log says why, under this request id")

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        request_id = getattr(request.state, "request_id", "")
        _LOG.error("request %s failed: %s", request_id, request.url.path, exc_info=error)
        return problem(request, 500, "it failed; the service's log says why, under this request id")

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(FacesieveError, ours)
    app.add_exception_handler(Exception, unexpected)
