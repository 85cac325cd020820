"""What the page and the API work with."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ...types import F32
from ..delivery import Delivery
from ..following import Following
from ..service import Service
from ..spool import Spool
from .audit import Audit
from .auth import Allowance, Sessions, Tokens
from .live import LiveFeed
from .models import CameraChange, NewCamera, Reloaded
from .people import People
from .trends import Trends


class Control(Protocol):
    """Changes which cameras are served, also after a restart. Each raises ConfigError for what cannot be,
    KeyError for a camera that is not known, OutputError when it cannot be written down and so is not done."""

    def is_known(self, name: str) -> bool:
        """Whether there is a camera of that name, served or not."""

    def is_added(self, name: str) -> bool:
        """Whether a camera came over the API."""

    def add(self, camera: NewCamera) -> None: ...
    def change(self, name: str, change: CameraChange) -> None:
        """Only of those that came over the API."""

    def remove(self, name: str) -> None: ...
    def pause(self, name: str) -> None: ...
    def resume(self, name: str) -> None:
        """What was paused, or removed of the configuration."""

    def reload(self) -> Reloaded: ...


class FaceFinder(Protocol):
    """Finds the main face of a picture and its embedding."""

    def find(self, data: bytes) -> F32 | None:
        """(d,) of unit length; None when there is no face. Raises SourceError for what is no picture."""


@dataclass(frozen=True, slots=True)
class Limits:
    """body_bytes: of a request. search_bytes: of a picture to search by. logins: failed ones of an address;
    searches, changes: of a principal. previews: cameras watched at the same time."""

    logins: Allowance
    searches: Allowance
    changes: Allowance
    body_bytes: int = 64 << 10
    search_bytes: int = 8 << 20
    previews: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(16))


@dataclass(frozen=True, slots=True)
class Web:
    """Everything that routes need. people, following, finder: None where people are not kept. engine: of the
    networks in use, for the metrics. stopping: set when the service ends."""

    service: Service
    spool: Spool
    delivery: Delivery
    feed: LiveFeed
    trends: Trends
    control: Control
    people: People | None
    following: Following | None
    finder: FaceFinder | None
    tokens: Tokens
    sessions: Sessions
    audit: Audit
    limits: Limits
    engine: Mapping[str, str]
    stopping: threading.Event
    version: str
