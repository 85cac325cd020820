"""Who may do what: every route for nobody, readers and admins; what browsers of other pages try."""

from __future__ import annotations

import re
import stat
import time

import httpx
import pytest
from web_stack import SECRETS, WebStack, camera_toml

from facesieve.stream.errors import ConfigError
from facesieve.stream.serve.web import cameras, faces
from facesieve.stream.serve.web.auth import COOKIE, Allowance, Sessions, Token, Tokens
from facesieve.stream.serve.web.parts import Limits

OPEN, READ, ADMIN = "open", "read", "admin"
MATRIX = {
    ("GET", "/"): OPEN,
    ("GET", "/style.css"): OPEN,
    ("GET", "/app.js"): OPEN,
    ("GET", "/draw.js"): OPEN,
    ("GET", "/icon.svg"): OPEN,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): READ,
    ("GET", "/api/v1/openapi.json"): READ,
    ("POST", "/api/v1/session"): OPEN,
    ("GET", "/api/v1/session"): READ,
    ("DELETE", "/api/v1/session"): READ,
    ("GET", "/api/v1/cameras"): READ,
    ("POST", "/api/v1/cameras"): ADMIN,
    ("GET", "/api/v1/cameras/{name}"): READ,
    ("PATCH", "/api/v1/cameras/{name}"): ADMIN,
    ("DELETE", "/api/v1/cameras/{name}"): ADMIN,
    ("POST", "/api/v1/cameras/{name}/pause"): ADMIN,
    ("POST", "/api/v1/cameras/{name}/resume"): ADMIN,
    ("GET", "/api/v1/cameras/{name}/trend"): READ,
    ("GET", "/api/v1/cameras/{name}/snapshot.jpg"): READ,
    ("GET", "/api/v1/cameras/{name}/preview.mjpeg"): READ,
    ("POST", "/api/v1/reload"): ADMIN,
    ("GET", "/api/v1/events"): READ,
    ("GET", "/api/v1/shots"): READ,
    ("GET", "/api/v1/shots/{seq}/{image}"): READ,
    ("GET", "/api/v1/identities"): READ,
    ("POST", "/api/v1/identities/search"): READ,
    ("GET", "/api/v1/identities/{identity}"): READ,
    ("DELETE", "/api/v1/identities/{identity}"): ADMIN,
    ("GET", "/api/v1/identities/{identity}/shots/{row}/{window}/{rank}"): READ,
}


def answered(client: httpx.Client, method: str, path: str) -> int:
    """The status; of a stream, before it ends. Nothing that exists is touched: no camera, no person is so
    named."""
    for name, value in (("name", "none"), ("seq", "999999"), ("image", "1.jpg"), ("identity", "999")):
        path = path.replace(f"{{{name}}}", value)
    path = re.sub(r"\{\w+\}", "1", path)
    with client.stream(method, path) as answer:
        return answer.status_code


def test_every_route_has_its_place_in_the_matrix(quiet: WebStack) -> None:
    client = quiet.client("read")
    in_openapi = {
        (method.upper(), path)
        for path, item in client.get("/api/v1/openapi.json").json()["paths"].items()
        for method in item
    }
    direct = {
        (method, route.path)
        for route in quiet.routes
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD"
    }
    assert in_openapi | direct == MATRIX.keys()
    nested = [*cameras.router.routes, *faces.router.routes]
    assert all(route.include_in_schema for route in nested), "else the matrix would not see it"


@pytest.mark.parametrize(("method", "path"), MATRIX, ids=lambda part: part)
def test_the_matrix_holds(quiet: WebStack, method: str, path: str) -> None:
    needed = MATRIX[method, path]
    nobody = answered(quiet.client(), method, path)
    reader = answered(quiet.client("read"), method, path)
    admin = answered(quiet.client("admin"), method, path)
    assert (nobody == 401) == (needed != OPEN)
    assert (reader == 403) == (needed == ADMIN)
    assert reader != 401
    assert admin not in (401, 403, 405, 500)


@pytest.mark.parametrize(
    "given", ["Bearer wrong", "Bearer", "Basic cmVhZDpyZWFk", "", f"Token {SECRETS['read']}"]
)
def test_a_wrong_token_is_told_so(quiet: WebStack, given: str) -> None:
    answer = quiet.client().get("/api/v1/cameras", headers={"Authorization": given})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_wrong_tokens_are_limited_and_then_right_ones_too(start) -> None:
    now_s = time.monotonic
    many = Allowance(1000, 1000, now_s)
    stack = start(limits=Limits(Allowance(3, 0.01, now_s), many, many))
    guesser = stack.client()
    codes = [
        guesser.get("/api/v1/cameras", headers={"Authorization": "Bearer x"}).status_code for _ in range(4)
    ]
    assert codes == [401, 401, 401, 429]
    assert guesser.post("/api/v1/session", json={"token": "guess"}).status_code == 429
    assert stack.client("admin").get("/api/v1/cameras").status_code == 429, "no guess may be seen to be right"


class TestSession:
    def test_login_cookie_and_logout(self, quiet: WebStack) -> None:
        browser = quiet.client()
        origin = {"Origin": quiet.url}
        assert browser.post("/api/v1/session", json={"token": "no"}, headers=origin).status_code == 401
        answer = browser.post("/api/v1/session", json={"token": SECRETS["read"]}, headers=origin)
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"].casefold()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert SECRETS["read"] not in cookie
        assert browser.get("/api/v1/session").json() == {
            "name": "reader",
            "scope": "read",
            "by": "session",
            "people": True,
        }
        value = browser.cookies[COOKIE]
        assert browser.delete("/api/v1/session", headers=origin).status_code == 204
        again = quiet.client().get("/api/v1/session", headers={"Cookie": f"{COOKIE}={value}"})
        assert again.status_code == 401, "the session has ended here too, not only in the browser"

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Origin": "{url}", "Sec-Fetch-Site": "same-origin"}, 404),
            ({"Origin": "{url}"}, 404),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site", "Origin": "{url}"}, 403),
            ({}, 403),
        ],
    )
    def test_other_pages_cannot_use_a_session(self, quiet: WebStack, headers: dict, status: int) -> None:
        browser = quiet.client()
        browser.post("/api/v1/session", json={"token": SECRETS["admin"]}, headers={"Origin": quiet.url})
        given = {name: value.format(url=quiet.url) for name, value in headers.items()}
        assert browser.post("/api/v1/cameras/none/pause", headers=given).status_code == status

    def test_it_expires(self) -> None:
        now = [0.0]
        sessions = Sessions(60, lambda: now[0])
        value = sessions.begin(Token.of("a", "read", "x" * 16))
        now[0] = 59.0
        assert sessions.find(value) is not None
        now[0] = 60.0
        assert sessions.find(value) is None
        assert sessions.find("another") is None


class TestWithoutTokens:
    def test_this_machine_is_served(self, start) -> None:
        stack = start(tokens=False)
        assert stack.client().get("/api/v1/session").json()["by"] == "local"

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Host": "localhost:1"}, 200),
            ({"Host": "[::1]"}, 200),
            ({"Host": "evil.example"}, 421),
            ({"Host": "127.0.0.1.evil.example"}, 421),
            ({"Host": "localhost@evil.example"}, 421),
            ({"X-Forwarded-For": "127.0.0.1"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Origin": "https://evil.example"}, 403),
        ],
    )
    def test_pages_of_elsewhere_and_proxies_are_not(self, start, headers: dict, status: int) -> None:
        assert start(tokens=False).client().get("/api/v1/cameras", headers=headers).status_code == status

    def test_nobody_can_change_anything_from_another_page(self, start, clip) -> None:
        stack = start(camera_toml("gate", clip), tokens=False)
        headers = {"Origin": "https://evil.example"}
        assert stack.client().delete("/api/v1/cameras/gate", headers=headers).status_code == 403
        assert "gate" in stack.service.cameras()


def test_headers_of_every_answer(quiet: WebStack) -> None:
    for path in ("/", "/api/v1/cameras", "/nothing", "/healthz"):
        headers = quiet.client("read").get(path, headers={"X-Request-Id": "mine-1"}).headers
        assert headers["x-request-id"] == "mine-1"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers
    bad = quiet.client("read").get("/healthz", headers={"X-Request-Id": "a b\tc"})
    assert re.fullmatch(r"[0-9a-f]{16}", bad.headers["x-request-id"])


def test_secrets_are_kept_hashed_and_short_ones_refused() -> None:
    token = Token.of("a", "read", SECRETS["read"])
    assert SECRETS["read"] not in repr(token)
    assert SECRETS["read"].encode() not in token.digest
    assert Tokens([token]).match(SECRETS["read"]) is token
    assert Tokens([token]).match(SECRETS["admin"]) is None
    with pytest.raises(ConfigError, match="16 characters"):
        Token.of("a", "read", "short")


def test_whoever_sees_a_face_is_written_down(quiet: WebStack) -> None:
    shot = quiet.client("read").get("/api/v1/shots").json()[0]
    quiet.client("read").get(shot["image"], headers={"X-Request-Id": "see-1"}).raise_for_status()
    line = next(line for line in quiet.audit() if line["request_id"] == "see-1")
    assert (line["who"], line["client"], line["action"]) == ("reader (token)", "127.0.0.1", "shot")
    assert stat.S_IMODE(quiet.audit_path.stat().st_mode) == 0o600
    assert not any(secret in quiet.audit_path.read_text() for secret in SECRETS.values())


def test_a_burst_is_allowed_and_then_a_pace() -> None:
    now = [0.0]
    allowance = Allowance(2, 60, lambda: now[0])
    assert [allowance.spend("a") for _ in range(3)] == [True, True, False]
    assert allowance.spend("b")
    now[0] = 1.0
    assert [allowance.spend("a") for _ in range(2)] == [True, False]
