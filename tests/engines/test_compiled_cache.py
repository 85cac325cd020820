"""The cache of compiled networks under damage, races and a full disk."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facesieve.engines import compiled_cache
from facesieve.stream.errors import EngineUnavailable


@contextmanager
def small_files_only() -> Iterator[None]:
    """No file may grow beyond 4 kB, which is how a full disk or a quota looks to a writer.

    Not a fixture: pytest reports before it tears fixtures down, and its log may be a file too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    assert compiled_cache.load(tmp_path, "k") is None
    compiled_cache.save(tmp_path / "new", "k", b"network")
    assert compiled_cache.load(tmp_path / "new", "k") == b"network"


@pytest.mark.parametrize("at", [0, 10, 31, 32, 38])
def test_a_flipped_byte_or_a_cut_is_noticed(tmp_path: Path, at: int) -> None:
    compiled_cache.save(tmp_path, "k", b"network")
    path = tmp_path / "k.compiled"
    whole = path.read_bytes()
    path.write_bytes(whole[:at])
    assert compiled_cache.load(tmp_path, "k") is None
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert compiled_cache.load(tmp_path, "k") is None


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    refused = pytest.raises(EngineUnavailable, match="cannot store a compiled network of 100000 bytes")
    with refused, small_files_only():
        compiled_cache.save(tmp_path, "k", bytes(100_000))
    assert list(tmp_path.iterdir()) == []


def test_writers_at_once_never_show_a_half(tmp_path: Path) -> None:
    blobs = [bytes([i]) * 300_000 for i in range(4)]
    compiled_cache.save(tmp_path, "k", blobs[0])
    writers = [
        threading.Thread(target=lambda b=blob: [compiled_cache.save(tmp_path, "k", b) for _ in range(10)])
        for blob in blobs
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert compiled_cache.load(tmp_path, "k") in blobs
    for writer in writers:
        writer.join()
    assert [p.name for p in tmp_path.iterdir()] == ["k.compiled"]
