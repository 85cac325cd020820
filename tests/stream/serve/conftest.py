"""Fixtures of live sources."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live_servers import Rtsp, film, missing


@pytest.fixture
def rtsp() -> Iterator[Callable[..., Rtsp]]:
    """Makes RTSP servers, which end with the test."""
    lacking = missing()
    if lacking is not None:
        if os.environ.get("FACESIEVE_REQUIRE_ALL"):
            pytest.fail(f"{lacking} is missing and FACESIEVE_REQUIRE_ALL is set")
        pytest.skip(f"{lacking} is missing")
    made: list[Rtsp] = []

    def make(*, user: str | None = None, password: str | None = None) -> Rtsp:
        made.append(Rtsp(user=user, password=password))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """320×240 at 15 frames a second."""
    return film(tmp_path_factory.mktemp("live") / "moving.mp4")


@pytest.fixture(scope="session")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """480×320 at 15 frames a second."""
    return film(tmp_path_factory.mktemp("live") / "larger.mp4", width=480, height=320)
