"""What a run shows while it goes on."""

from __future__ import annotations

import re
import time

import pytest

from facesieve import console
from facesieve.stream.progress import Progress
from facesieve.stream.testing import ListSource


def test_rates_count_from_the_source_s_first_moment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "PLAIN_EVERY_S", 0.2)
    screen = console.Screen(quiet=False, as_json=False)
    with screen.following():
        screen.watch("film.mp4", ListSource([], name="film.mp4"), Progress(frames=10, pts_s=1.0))
        time.sleep(0.5)
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines
    for line in lines:
        rates = re.fullmatch(
            r"film\.mp4: 10 frames, (\d+) fps \(([\d.]+)× real time\), 0 faces, 0 tracks", line
        )
        assert rates is not None, line
        assert int(rates[1]) <= 100  # they need .1 s at least
        assert float(rates[2]) <= 10
