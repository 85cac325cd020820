"""The page and the API of a running service."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ._version import __version__
from .config import OnnxRuntimeConfig
from .serve_config import ServeConfig
from .stream.errors import ConfigError, EngineUnavailable
from .stream.ports import Clock
from .stream.serve.events import Message

if TYPE_CHECKING:
    from .serve import Serving
    from .stream.serve.web.live import LiveFeed
    from .stream.serve.web.parts import Web
    from .stream.serve.web.trends import Trends

_LOG = logging.getLogger("facesieve.serve")
_LOOK_EVERY_S = 10.0
_LOCAL = ("127.0.0.1", "localhost", "::1")


class Watch:
    """What the page is fed with, and who may see it: made before the service, so that no event is missed and
    what cannot be is told before networks are compiled.

    Raises ConfigError, also for a host that others reach without tokens, and EngineUnavailable.
    """

    def __init__(self, config: ServeConfig, clock: Clock) -> None:
        settings = config.serve
        if not settings.token and settings.host not in _LOCAL:
            raise ConfigError(
                f"serve.host is {settings.host!r}: "
                "others than this machine are served only with [[serve.token]]"
            )
        try:
            from .stream.serve.web import app, server  # noqa: F401  whether they can be had
            from .stream.serve.web.auth import Token
            from .stream.serve.web.live import LiveFeed
            from .stream.serve.web.trends import Trends
        except ImportError as missing:
            raise EngineUnavailable(
                "the page and the API need `pip install 'facesieve[serve]'`; --no-web serves without them"
            ) from missing
        self.feed: LiveFeed = LiveFeed(shots=config.serve.recent_shots)
        self.trends: Trends = Trends()
        self.clock = clock
        self.tokens = [
            Token.of(table.name, table.scope, table.secret.read(f"token {table.name!r}"))
            for table in settings.token
        ]

    def message(self, message: Message) -> None:
        """The next message of the service."""
        self.feed.publish(message)
        self.trends.message(message, self.clock.now_s())


def reserved(config: ServeConfig) -> socket.socket:
    """The address of page and API, taken and not yet listened at. Raises ConfigError where it cannot be
    had."""
    from .stream.serve.web.server import bound

    return bound(config.serve.host, config.serve.port)


@contextmanager
def page(running: Serving, watch: Watch, place: socket.socket) -> Iterator[Web]:
    """Serve page and API at a reserved address for as long as the block lasts."""
    from .serve_search import Finder
    from .stream.serve.web.app import make_app
    from .stream.serve.web.audit import Audit
    from .stream.serve.web.auth import Allowance, Sessions, Tokens
    from .stream.serve.web.parts import Limits, Web
    from .stream.serve.web.people import People
    from .stream.serve.web.server import HttpServer

    settings = running.config.serve
    people = running.people
    with ExitStack() as stack:
        audit = Audit(settings.state / "audit.jsonl", watch.clock.now_s)
        stack.callback(audit.close)
        now_s = time.monotonic
        web = Web(
            service=running.service,
            spool=running.spool,
            delivery=running.delivery,
            feed=watch.feed,
            trends=watch.trends,
            control=running.control,
            people=None if people is None else People(people, people.read),
            following=running.following,
            finder=None if people is None else Finder(running.built, people),
            tokens=Tokens(watch.tokens),
            sessions=Sessions(settings.session_hours * 3600, now_s),
            audit=audit,
            limits=Limits(
                logins=Allowance(10, 10, now_s),
                searches=Allowance(10, 30, now_s),
                changes=Allowance(60, 120, now_s),
            ),
            engine=_engine(running),
            stopping=threading.Event(),
            version=__version__,
        )
        server = stack.enter_context(HttpServer(make_app(web), place))
        stack.callback(watch.feed.close)
        looker = threading.Thread(target=_look, args=(web,), name="facesieve-trends", daemon=True)
        looker.start()
        stack.callback(looker.join, 5)
        stack.callback(web.stopping.set)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        _LOG.info("page and API at http://%s:%d/", host, server.port)
        yield web


def _look(web: Web) -> None:
    """The sharpness of every camera's picture, now and then."""
    while not web.stopping.wait(_LOOK_EVERY_S):
        for name in web.service.cameras():
            try:
                look = web.service.look(name)
                if look is not None:
                    web.trends.look(name, look.frame.picture, time.time())
            except KeyError:  # removed meanwhile
                continue
            except Exception:  # noqa: BLE001  measured again in a while
                _LOG.exception("camera %s: its sharpness could not be measured", name)


def _engine(running: Serving) -> dict[str, str]:
    config = running.config.engine
    precision = "fp32" if isinstance(config, OnnxRuntimeConfig) else config.precision
    return {
        "version": __version__,
        "engine": config.kind,
        "precision": precision,
        "detector": running.built.detector.name,
        "scorer": running.built.scorer.name,
        "boot": running.service.boot,
    }
