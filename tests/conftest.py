"""Where the real data lies, and what happens when it does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from patience import PATIENCE_S

# A machine that is busy with other things makes no property false, and no strategy too slow. Each run looks
# at other examples, but those of the gate at the same: its verdict is on the change before it.
settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("FACESIEVE_REQUIRE_ALL")),
)
settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", ROOT.parent / "shared"))


def absent(what: str) -> None:
    """Skip the running test because `what` is missing here; fail it where FACESIEVE_REQUIRE_ALL is set."""
    if os.environ.get("FACESIEVE_REQUIRE_ALL"):
        pytest.fail(f"{what} is missing and FACESIEVE_REQUIRE_ALL is set")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared real data (environment variable FACESIEVE_SHARED, default ../shared)."""
    if not SHARED.is_dir():
        absent(f"shared data at {SHARED}")
    return SHARED


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Debian's chromium, driven by Playwright."""
    chromium = shutil.which("chromium")
    if chromium is None:
        absent("Debian's chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright")
    switches = [
        "--no-sandbox",  # needed as root, as in a container; the pages are our own
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=chromium, args=switches, timeout=1000 * PATIENCE_S
        )
        yield running
        running.close()
