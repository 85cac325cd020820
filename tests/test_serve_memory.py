"""What is free in the heaps of a running service goes back to the system."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import pytest

from facesieve.serve_memory import tidy_heaps

BLOCK, BLOCKS, KEPT_EVERY = 4096, 16384, 16


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps free pages for so long")
def test_free_pages_between_what_is_in_use_go_back() -> None:
    blocks = [bytearray(BLOCK) for _ in range(BLOCKS)]  # 67 MB of one heap
    kept = blocks[::KEPT_EVERY]
    full = resident_mb()
    del blocks
    with tidy_heaps(every_s=0.05):
        until = time.monotonic() + 20
        while resident_mb() > full - 40 and time.monotonic() < until:
            time.sleep(0.05)
    assert resident_mb() <= full - 40
    assert len(kept) == BLOCKS // KEPT_EVERY


def test_it_ends_at_once() -> None:
    began = time.monotonic()
    with tidy_heaps(every_s=3600.0):
        pass
    assert time.monotonic() - began < 5
