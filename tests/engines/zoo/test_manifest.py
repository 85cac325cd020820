"""The manifest that is shipped: every entry sound, every shipped file what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino as ov
import pytest

from facesieve.engines.models.blazeface import BlazeFace
from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.models.facemesh import FaceMesh
from facesieve.engines.models.recognisers import KNOWN, PIXELS
from facesieve.engines.models.students import OnnxScorer
from facesieve.engines.models.yunet import YuNet
from facesieve.engines.signature import PixelInput
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


def test_every_network_says_what_it_takes() -> None:
    assert [name for name, model in MODELS.items() if model.network is None] == ["sample-clip"]
    assert MODELS["yunet"].network is not None
    assert MODELS["yunet"].network.colour == "bgr"
    assert {m.network.colour for m in MODELS.values() if m.network and m.name != "yunet"} == {"rgb"}


@pytest.mark.parametrize(
    "name",
    ["facesieve-t", "eye-opening", "occlusion", "centerface", "blazeface-full-range", "face-mesh"],
)
def test_inputs_and_outputs_are_those_of_the_file(name: str, weights: Callable[[str], Path]) -> None:
    """Where the declared size is a number, the file has that number or leaves it free."""
    graph, network = ov.Core().read_model(weights(name)), MODELS[name].network
    assert network is not None
    for ports, declared in ((graph.inputs, network.inputs), (graph.outputs, network.outputs)):
        found = {port.get_any_name(): port.get_partial_shape() for port in ports}
        assert found.keys() == declared.keys()
        for port, shape in declared.items():
            assert len(found[port]) == len(shape)
            for got, said in zip(found[port], shape, strict=True):
                assert isinstance(said, str) or got == ov.Dimension(said), (port, shape)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("centerface", CenterFace.PIXELS),
        ("yunet", YuNet.PIXELS),
        ("blazeface-full-range", BlazeFace.PIXELS),
        ("mediapipe-full-range", BlazeFace.PIXELS),
        ("face-mesh", FaceMesh.PIXELS),
        *((f"ediffiqa-{size}", OnnxScorer.PIXELS) for size in "tsml"),
        ("sface", PIXELS[KNOWN[MODELS["sface"].sha256]]),
    ],
)
def test_pixels_are_those_that_the_library_gives(name: str, pixels: PixelInput) -> None:
    network: Any = MODELS[name].network
    assert (pixels.mean, pixels.std) == ((network.mean,) * 3, (network.std,) * 3)
