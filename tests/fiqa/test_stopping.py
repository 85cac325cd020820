"""Long work ends when it is told to, and says how far it is."""

from __future__ import annotations

import os
import signal

import pytest

from facesieve.fiqa import progress
from facesieve.fiqa.stopping import Stopping, stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_the_second_ends(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stopping() as stop:  # noqa: PT012 - both signals belong together
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.interrupted
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_terminal_that_closes_is_told_of_twice_and_means_it_once():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        with stopping() as stop:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGHUP)
            assert stop.interrupted
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "heard"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGHUP, False)]
)
def test_of_signals_inherited_as_ignored_only_that_of_the_terminal_stays_so(number, heard):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stopping() as stop:
            os.kill(os.getpid(), number)
            assert stop.interrupted is heard
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_time_that_is_up_is_no_interruption():
    now = [0.0]
    stop = Stopping(until_s=60.0, clock=lambda: now[0])
    assert not stop()
    now[0] = 60.0
    assert stop()
    assert not stop.interrupted


def test_no_minutes_stop_at_once_and_none_never():
    with stopping(0) as stop:
        assert stop()
    with stopping(None) as stop:
        assert not stop()


def test_a_log_gets_a_line_a_minute(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.bar("training") as tick:
        for step in range(1, 7):
            now[0] += 30.0
            tick(step, 6)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "training: 2 of 6, 60 s each",
        "training: 4 of 6, 40 s each",
        "training: 6 of 6, 36 s each",
    ]
