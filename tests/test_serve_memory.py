"""What is free in the heaps of a running service goes back to the system."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S, until

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
        until(lambda: resident_mb() <= full - 40, resident_mb)
    assert len(kept) == BLOCKS // KEPT_EVERY


LARGE = """
import ctypes
from facesieve.serve_memory import tidy_heaps


class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    _fields_ = [(name, ctypes.c_size_t) for name in names]


info = ctypes.CDLL(None).mallinfo2
info.restype = Info
large = bytearray(16 << 20)
del large  # from here on glibc would take blocks up to 16 MB into its heaps
with tidy_heaps():
    before = info().hblks
    pictures = [bytearray(1 << 20) for _ in range(8)]
    print(info().hblks - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a measure of glibc's heaps")
def test_large_blocks_stay_out_of_the_heaps() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 8


def test_it_ends_at_once() -> None:
    began = time.monotonic()
    with tidy_heaps(every_s=3600.0):
        pass
    assert time.monotonic() - began < PATIENCE_S
