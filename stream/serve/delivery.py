"""From the spool to the receivers: each at its own pace, for ever."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..errors import FacesieveError, OutputFull
from ..ports import Closing
from .backoff import Backoff
from .events import Message
from .histogram import STAGE_BOUNDS_S, Binned, Histogram
from .spool import Spool, Spooled

_LOG = logging.getLogger("facesieve.serve")
_FIRST_S, _MOST_S = 0.5, 60.0
_REMIND_S = 3600.0


class DeliveryFailed(FacesieveError):
    """The receiver cannot take events now; the message is free of secrets."""


class DeliveryRefused(FacesieveError):
    """The receiver will never take this event: trying again is no use."""


class Receiver(Protocol):
    """Takes one message at a time, from one thread."""

    def send(self, message: Message) -> None:
        """Returns once the receiver has it. Raises DeliveryFailed or DeliveryRefused."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """sent, refused: since the start. failing: why the newest try failed, "" when it did not. tries: failed
    ones since the last success. took: how long tries took."""

    sent: int
    refused: int
    failing: str
    tries: int
    took: Binned


class Delivery(Closing):
    """One thread a receiver takes from the spool, sends, and marks as done: at least once, in order.

    A failure is tried again after a growing wait, for as long as it takes; what is refused is logged by its
    id and passed over. close sends what is there for up to `grace_s` and leaves the rest in the spool.
    """

    def __init__(
        self, spool: Spool, receivers: Mapping[str, Receiver], *, rng: random.Random, grace_s: float = 5.0
    ) -> None:
        self._grace_s = grace_s
        self._lines = [_Line(name, receiver, spool, rng) for name, receiver in receivers.items()]
        for line in self._lines:
            line.thread.start()

    def reports(self) -> dict[str, DeliveryReport]:
        """By receiver."""
        return {line.name: line.report() for line in self._lines}

    def close(self) -> None:
        """Send what is there, then hang up."""
        for line in self._lines:
            line.closing.set()
        for line in self._lines:
            line.thread.join(self._grace_s)
        for line in self._lines:
            line.leaving.set()
        for line in self._lines:
            line.thread.join(self._grace_s)
            line.receiver.close()


class _Line:
    def __init__(self, name: str, receiver: Receiver, spool: Spool, rng: random.Random) -> None:
        self.name, self.receiver, self._spool = name, receiver, spool
        self._backoff = Backoff(_FIRST_S, _MOST_S, rng)
        self.closing, self.leaving = threading.Event(), threading.Event()
        self._took = Histogram(STAGE_BOUNDS_S)
        self._sent = self._refused = self._tries = 0
        self._failing, self._told_s = "", 0.0
        self._marks = True
        self.thread = threading.Thread(target=self._run, name=f"deliver-{name}", daemon=True)

    def report(self) -> DeliveryReport:
        """How it fares."""
        return DeliveryReport(self._sent, self._refused, self._failing, self._tries, self._took.read())

    def _run(self) -> None:
        while not self.leaving.is_set():
            forgets = self._spool.forgets
            try:
                items = self._spool.next(self.name, limit=8, timeout_s=0.25)
            except Exception as error:  # noqa: BLE001  a damaged disk must not end the thread unseen
                self._fails(f"the spool cannot be read: {error}")
                if self.closing.wait(self._backoff.next_s()):
                    return
                continue
            if not items and self.closing.is_set():
                return
            for item in items:
                # Somebody was deleted meanwhile: what is here may show a face that the spool has given up.
                if self.leaving.is_set() or self._spool.forgets != forgets:
                    break
                if not self._taken(item):
                    if self.closing.is_set():
                        return
                    self.closing.wait(self._backoff.next_s())
                    break
                self._mark(item.seq)

    def _taken(self, item: Spooled) -> bool:
        """One try: whether it is done with, sent or refused."""
        try:
            with self._took.timed():
                self.receiver.send(item.message)
        except DeliveryRefused as error:
            _LOG.error("%s refused event %s: %s", self.name, item.message.event.id, error)
            self._refused += 1
        except Exception as error:  # noqa: BLE001  whatever a receiver's library raises, the event stays
            self._fails(str(error) or type(error).__name__)
            return False
        else:
            self._backoff.reset()
            self._sent += 1
        if self._tries:
            _LOG.info("%s takes events again, after %d failed tries", self.name, self._tries)
        self._failing, self._tries = "", 0
        return True

    def _fails(self, why: str) -> None:
        """A try failed: told when that begins, when the reason changes, and once an hour."""
        now_s = time.monotonic()
        if not self._tries or why != self._failing or now_s - self._told_s >= _REMIND_S:
            self._told_s = now_s
            _LOG.warning("%s does not take events, and is tried again: %s", self.name, why)
        self._failing, self._tries = why, self._tries + 1

    def _mark(self, seq: int) -> None:
        try:
            self._spool.done(self.name, seq)
        except OutputFull as error:
            if self._marks:
                _LOG.warning("%s: after a restart events may be sent again: %s", self.name, error)
            self._marks = False
        else:
            self._marks = True
