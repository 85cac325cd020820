"""The memory of a process that runs for months: few heaps, and what is free in them goes back to the system.

Measures of glibc's allocator; other C libraries have none of these settings, and are left as they are.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of malloc.h
_HEAPS = 2
_LARGE_BYTES = 256 << 10
_EVERY_S = 10.0


@contextmanager
def tidy_heaps(every_s: float = _EVERY_S) -> Iterator[None]:
    """For as long as the block lasts, free pages are given back to the system, every so many seconds.

    All threads share two heaps from here on: with one for each, threads of cameras that come and go leave
    their scraps in up to eight a core (40 MB in a hundred reconnections on 2 cores). In these, pictures that
    live for milliseconds lie among shots that live for minutes, so that what is free is rarely at the end of
    a heap, the only place from which glibc gives it back unasked: 7 to 22 MB within minutes of three cameras.
    Blocks of 256 KB or more, pictures and the networks' buffers, lie outside the heaps: glibc would take them
    in after the first large one is freed, and what is free between them is in use again before it is given
    back (another 8 MB after a quarter of an hour).
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, _HEAPS)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    left = threading.Event()
    keeper = threading.Thread(target=_keep, args=(left, every_s), name="facesieve-memory", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        left.set()
        keeper.join()


def _keep(left: threading.Event, every_s: float) -> None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return
    while not left.wait(every_s):
        trim(0)
