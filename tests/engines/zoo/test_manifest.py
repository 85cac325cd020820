"""The manifest that is shipped: every entry sound, every shipped file what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesieve.engines.zoo.manifest import Shipped, WheelMember
from facesieve.engines.zoo.store import Store

WEIGHTS = Path(__file__).resolve().parents[3] / "engines/zoo/weights"
MODELS = Store().models


def test_what_users_need_at_once_comes_without_the_open_internet() -> None:
    for name in ("centerface", "facesieve-t", "sample-clip", "blazeface-full-range", "face-mesh"):
        assert all(isinstance(source, Shipped | WheelMember) for source in MODELS[name].sources), name


def test_every_shipped_file_has_its_hash(tmp_path: Path) -> None:
    states = {entry.model.name: entry.state for entry in Store(tmp_path).verify()}
    shipped = [m for m in MODELS.values() if any(isinstance(s, Shipped) for s in m.sources)]
    assert shipped
    for model in shipped:
        assert states[model.name] == "good", model.name


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.onnx")), ids=lambda path: path.name)
def test_shipped_graphs_name_no_machine(path: Path) -> None:
    """Exporters write the paths of their sources into a graph's metadata."""
    data = path.read_bytes()
    for trace in (b"/home/", b"/root/", b"/work/", b"site-packages", b"Traceback", b".py"):
        assert trace not in data, trace
