"""A running service with its page and API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live_servers import film
from web_stack import WebStack, camera_toml


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """320×240 at 15 frames a second, five seconds."""
    return film(tmp_path_factory.mktemp("web") / "moving.mp4", seconds=5)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WebStack]]:
    """Makes services, which end with the test."""
    made: list[WebStack] = []

    def make(config: str = "", **options: object) -> WebStack:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(WebStack(folder, config, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for stack in made:
        stack.close()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Iterator[WebStack]:
    """One for tests that change nothing: a paused camera, people, no cameras over the API allowed."""
    stack = WebStack(tmp_path_factory.mktemp("quiet"), camera_toml("gate", clip), people=True)
    stack.until(lambda: stack.service.look("gate"))
    stack.until(lambda: stack.feed.shots())
    stack.service.pause("gate")
    yield stack
    stack.close()
