from __future__ import annotations

import os
from pathlib import Path

import pytest

from facesieve.stream.errors import OutputUnwritable
from facesieve.stream.sinks.files import write_whole


def test_a_file_is_replaced_and_so_is_a_link(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept", tmp_path / "link"
    kept.write_bytes(b"old")
    link.symlink_to(kept)
    for path in (link, tmp_path / "new"):
        write_whole(path, b"new")
        assert path.read_bytes() == b"new"
    assert kept.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["kept", "link", "new"]


def test_nothing_takes_the_place_of_a_device_or_a_pipe(tmp_path: Path) -> None:
    """Root could replace /dev/null, for everybody."""
    pipe, link = tmp_path / "pipe", tmp_path / "null"
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    for path in (pipe, link, Path("/dev/facesieve")):
        with pytest.raises(OutputUnwritable, match=f"{path.name}' is a device or a pipe"):
            write_whole(path, b"text")
    assert not Path("/dev/facesieve").exists()
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["null", "pipe"]


def test_a_file_has_a_name() -> None:
    with pytest.raises(OutputUnwritable, match=r"expected the name of a file, got '\.'"):
        write_whole(Path(""), b"text")
