"""Who may do what: tokens, sessions of browsers, and limits on guessing."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...errors import ConfigError

Scope = Literal["read", "admin"]
LEAST_TOKEN_CHARS = 16
COOKIE = "facesieve_session"
_MOST_SESSIONS = 1000
_MOST_CLIENTS = 10_000


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. name: of the token, or `local`. by: a token in the request, a browser's session, or neither
    because no token is configured and only this machine is served."""

    name: str
    scope: Scope
    by: Literal["token", "session", "local"]

    def may(self, scope: Scope) -> bool:
        """Whether that is allowed; admin includes read."""
        return scope == "read" or self.scope == "admin"


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. digest: SHA-256 of it."""

    name: str
    scope: Scope
    digest: bytes = field(repr=False)

    @staticmethod
    def of(name: str, scope: Scope, secret: str) -> Token:
        """Raises ConfigError for a secret that could be guessed by its length alone."""
        if len(secret) < LEAST_TOKEN_CHARS:
            raise ConfigError(
                f"token {name!r}: expected at least {LEAST_TOKEN_CHARS} characters, got {len(secret)} "
                "(python -c 'import secrets; print(secrets.token_urlsafe())' makes a good one)"
            )
        return Token(name, scope, _digest(secret))


class Tokens:
    """All tokens. Every comparison looks at each of them and takes the same time."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tuple(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def match(self, presented: str) -> Token | None:
        """The token whose secret was presented."""
        digest, found = _digest(presented), None
        for token in self._tokens:
            if hmac.compare_digest(digest, token.digest):
                found = token
        return found


@dataclass(frozen=True, slots=True)
class _Session:
    principal: Principal
    until_s: float


class Sessions:
    """Sessions of browsers, kept here and not in the cookie, which holds a random name only.

    lasts_s: from the login on. now_s: a clock that does not go back.
    """

    def __init__(self, lasts_s: float, now_s: Callable[[], float]) -> None:
        self.lasts_s, self._now_s = lasts_s, now_s
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, token: Token) -> str:
        """The value of a new session's cookie."""
        value = secrets.token_urlsafe(32)
        principal = Principal(token.name, token.scope, "session")
        with self._lock:
            self._sessions[_digest(value)] = _Session(principal, self._now_s() + self.lasts_s)
            if len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return value

    def find(self, value: str) -> Principal | None:
        """Whose session it is, while it lasts."""
        key = _digest(value)
        with self._lock:
            session = self._sessions.get(key)
            if session is not None and session.until_s <= self._now_s():
                del self._sessions[key]
                return None
        return None if session is None else session.principal

    def end(self, value: str) -> None:
        """Log out."""
        with self._lock:
            self._sessions.pop(_digest(value), None)


class Allowance:
    """So many at once, and so many a minute afterwards, for each key (an address, a token's name)."""

    def __init__(self, burst: int, per_minute: float, now_s: Callable[[], float]) -> None:
        self._burst, self._per_s, self._now_s = burst, per_minute / 60, now_s
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def left(self, key: str) -> float:
        """How many are left now."""
        with self._lock:
            return self._left(key)

    def spend(self, key: str) -> bool:
        """Take one; False, and none is taken, when there is less than one."""
        with self._lock:
            left = self._left(key)
            if left < 1:
                return False
            self._spent[key] = left - 1, self._now_s()
            self._spent.move_to_end(key)
            if len(self._spent) > _MOST_CLIENTS:
                self._spent.popitem(last=False)
            return True

    def _left(self, key: str) -> float:
        left, at_s = self._spent.get(key, (float(self._burst), self._now_s()))
        return min(float(self._burst), left + (self._now_s() - at_s) * self._per_s)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
