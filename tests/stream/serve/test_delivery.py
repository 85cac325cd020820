"""What becomes of a sink that fails for long, and of a spool that cannot be read."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from facesieve.stream.errors import OutputFull
from facesieve.stream.serve import delivery
from facesieve.stream.serve.delivery import Delivery, DeliveryFailed
from facesieve.stream.serve.events import Message
from facesieve.stream.serve.narrator import camera_state
from facesieve.stream.serve.reader import CameraStatus, State
from facesieve.stream.serve.spool import Spool, Spooled

LONG_S = 60.0  # never waited for


class Taker:
    """Fails as often as it is told to, for the reasons that it is given, then takes."""

    def __init__(self, *reasons: str) -> None:
        self._reasons = list(reasons)
        self.took = threading.Event()

    def send(self, message: Message) -> None:
        if self._reasons:
            raise DeliveryFailed(self._reasons.pop(0))
        self.took.set()

    def close(self) -> None: ...


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool.db", ["out"]) as made:
        made.put(camera_state(CameraStatus("a", State.LIVE, 0.0), "b", 1, degraded=False, monotonic_s=0), 0.0)
        yield made


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(delivery, "_FIRST_S", 1e-3)
    monkeypatch.setattr(delivery, "_MOST_S", 1e-3)
    caplog.set_level(logging.INFO, "facesieve.serve")


def test_many_failed_tries_are_told_by_their_reasons_and_their_end(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    taker = Taker(*["refused"] * 20, *["silent"] * 20)
    with Delivery(spool, {"out": taker}, rng=random.Random(0)):
        assert taker.took.wait(LONG_S)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "out does not take events, and is tried again: refused",
        "out does not take events, and is tried again: silent",
        "out takes events again, after 40 failed tries",
    ]


def test_a_spool_that_cannot_be_read_is_told_of_and_tried_again(
    spool: Spool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, seen, damaged = spool.next, threading.Event(), threading.Event()
    damaged.set()

    def fails(sink: str, limit: int = 16, timeout_s: float = 0.0) -> list[Spooled]:
        if damaged.is_set():
            seen.set()
            raise sqlite3.DatabaseError("database disk image is malformed")
        return read(sink, limit, timeout_s)

    monkeypatch.setattr(spool, "next", fails)
    taker = Taker()
    with Delivery(spool, {"out": taker}, rng=random.Random(0)) as running:
        assert seen.wait(LONG_S)
        while not running.reports()["out"].failing:
            pass
        assert "malformed" in running.reports()["out"].failing
        damaged.clear()
        assert taker.took.wait(LONG_S)
    assert (
        caplog.records[0].getMessage().endswith("the spool cannot be read: database disk image is malformed")
    )


def test_a_full_disk_has_nothing_sent_twice_and_is_told_of_once(
    spool: Spool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OutputFull("no space left")

    for number in range(2, 6):
        status = CameraStatus("a", State.LIVE, 0.0)
        spool.put(camera_state(status, "b", number, degraded=False, monotonic_s=0), 0.0)
    monkeypatch.setattr(spool, "_writing", full)
    sent, all_sent = list[str](), threading.Event()

    class Notes(Taker):
        def send(self, message: Message) -> None:
            sent.append(message.event.id)
            if message.event.id.endswith("-5"):
                all_sent.set()

    with Delivery(spool, {"out": Notes()}, rng=random.Random(0)):
        assert all_sent.wait(LONG_S)
    assert sent == [f"b/a/state-{number}" for number in range(1, 6)]
    assert [record.getMessage() for record in caplog.records] == [
        "out: after a restart events may be sent again: no space left"
    ]
