"""Ports for servers that are started after their address has to be known."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LEAST, _MOST = 10_000, 65_536
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_dice = random.SystemRandom()
_kept: list[int] = []


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """An even port of 127.0.0.1 that nobody uses, nor will until this process ends. The one after it, where
    RTP has its reports, is free as well.

    It is none of those that the kernel hands out, unless it hands out all: one of them may be a client's
    before the server has it, and who connects to it before the server listens may even meet himself. Other
    test runs on this machine keep off it too: a name of this process stands for it.
    """
    low, high = map(int, _RANGE.read_text().split())
    every = range(_LEAST, _MOST - 1, 2)
    fixed = [port for port in every if not low - 1 <= port <= high] or list(every)
    for port in _dice.sample(fixed, len(fixed)):
        if _is_free(port, kind) and _is_free(port + 1, kind) and _is_ours(port):
            return port
    raise OSError(f"none of {len(fixed)} ports of 127.0.0.1 is free")


def _is_ours(port: int) -> bool:
    """Whether the port's name could be taken: of one network, like the port, and gone with the process."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0facesieve-tests-port-{port}")
    except OSError:
        name.close()
        return False
    _kept.append(name.detach())
    return True


def _is_free(port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
