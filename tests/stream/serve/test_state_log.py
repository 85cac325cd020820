"""What of a camera's fortunes stands in the log."""

from __future__ import annotations

import logging

import pytest

from facesieve.stream.serve.reader import CameraStatus, State
from facesieve.stream.serve.state_log import REMIND_S, StateLog


class Told:
    """A camera's log, and what it says at INFO and above."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "facesieve.serve")
        self._log, self._caplog = StateLog("gate"), caplog

    def __call__(
        self, state: State, reason: str = "", *, at_s: float = 0.0, hz: float = 8.0, now: float = 0.0
    ) -> list[str]:
        self._caplog.clear()
        self._log.tell(CameraStatus("gate", state, at_s, reason), hz=hz, degraded=hz != 8.0, now=now)
        return [f"{record.levelname} {record.getMessage()}" for record in self._caplog.records]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


def test_an_outage_is_told_once_and_its_end_with_how_long_it_was(told: Told) -> None:
    assert told(State.CONNECTING) == []
    assert told(State.LIVE) == ["INFO camera gate: live"]
    assert told(State.STALLED, "silent", at_s=10) == ["WARNING camera gate: stalled: silent"]
    for at_s in (11, 20, 40):
        assert told(State.LOST, "silent", at_s=at_s) == []
        assert told(State.BACKING_OFF, "silent; next try in 3 s", at_s=at_s) == []
        assert told(State.CONNECTING, "again, after: silent", at_s=at_s) == []
    assert told(State.LOST, "refused", at_s=50) == ["WARNING camera gate: lost: refused"]
    assert told(State.LIVE, at_s=70) == ["INFO camera gate: live again after 60 s"]
    assert told(State.LIVE, "waiting for files", at_s=71) == []
    assert told(State.LOST, "refused", at_s=90) == ["WARNING camera gate: lost: refused"]


def test_one_that_stays_away_is_told_of_every_hour_whatever_the_clock_does(told: Told) -> None:
    assert told(State.LOST, "refused", at_s=0)
    assert told(State.LOST, "refused", at_s=REMIND_S - 1) == []
    assert told(State.LOST, "refused", at_s=REMIND_S + 1)
    assert told(State.LOST, "refused", at_s=-REMIND_S), "the clock was set back"


def test_paused_and_overloaded(told: Told) -> None:
    assert told(State.STOPPED) == ["INFO camera gate: stopped"]
    assert told(State.STOPPED) == []
    assert told(State.LIVE) == ["INFO camera gate: live"]
    assert told(State.LIVE, hz=4.0) == ["WARNING camera gate: overloaded, looked at 4 times a second"]
    assert told(State.LIVE, hz=2.0) == []
    assert told(State.LOST, "gone", hz=2.0) == ["WARNING camera gate: lost: gone"]
    assert told(State.LOST, "gone") == []
    assert told(State.LIVE, hz=4.0, now=REMIND_S - 1) == ["INFO camera gate: live again after 0 s"]
    assert told(State.LIVE, now=REMIND_S - 1) == []
    assert told(State.LIVE, hz=4.0, now=REMIND_S) == [
        "WARNING camera gate: overloaded, looked at 4 times a second"
    ], "it came and went for an hour"
