"""Two services never share a state folder, and one that cannot have its port touches nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from subprocess import PIPE

import pytest

from facesieve.serve import serve, serving
from facesieve.serve_config import ServeConfig, parse_serve_config
from facesieve.serve_state import sole_user
from facesieve.stream.errors import ConfigError, OutputUnwritable


def config(state: Path, port: int = 8340) -> ServeConfig:
    table = {"serve": {"state": str(state), "port": port}, "camera": [{"name": "a", "url": "/none.mp4"}]}
    return parse_serve_config(table, "cameras.toml")


def test_a_second_service_on_a_state_folder_is_refused_and_told_whose_it_is(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with sole_user(state):
        told = pytest.raises(ConfigError, match="in use by another facesieve serve")
        with told as refused, serving(config(state)):
            pass
        assert f"process {os.getpid()}" in str(refused.value)
        assert not (state / "spool.db").exists(), "the other's spool is not looked at"
    with sole_user(state):
        pass


def test_a_process_that_died_holds_nothing(tmp_path: Path) -> None:
    held = "with sole_user(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    code = f"import sys\nfrom pathlib import Path\nfrom facesieve.serve_state import sole_user\n{held}"
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match=f"process {other.pid}"), sole_user(tmp_path):
            pass
        other.kill()
        other.wait()
        with sole_user(tmp_path):
            pass


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(OutputUnwritable, match="lock"), sole_user(tmp_path):
        pass


def test_a_port_that_is_taken_is_told_before_the_state_is_touched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        wanted = config(tmp_path / "state", other.getsockname()[1])
        with pytest.raises(ConfigError, match=r"cannot be had \(Address already in use\)"):
            serve(wanted, threading.Event(), path=tmp_path / "cameras.toml")
    assert not (tmp_path / "state").exists()
