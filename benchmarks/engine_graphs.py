"""The networks of the engine benchmark in every precision, int8 and bf16 with what their gate says."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

from facesieve.engines.build import graph
from facesieve.engines.build.gate import Chips
from facesieve.engines.build.half import to_half
from facesieve.engines.build.int8 import to_int8
from facesieve.engines.build.make import DetectorKind, build_detector, build_student
from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.models.scrfd import Scrfd
from facesieve.engines.models.yunet import YuNet
from facesieve.engines.zoo.store import Store
from facesieve.stream.errors import FacesieveError, GateFailed
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import Frame

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "engines/zoo/weights/facesieve-t.onnx"
CLIPS = {"walking_crowd_1080p.mp4": 6, "short_hamilton_clip.mp4": 15}
PRECISIONS = ("fp32", "fp16", "int8", "bf16")


@dataclass(slots=True)
class Network:
    """A network to time. kind: how the worker feeds it. graphs, gates: file and verdict by precision."""

    name: str
    kind: str
    sizes: tuple[tuple[int, int], ...]
    graphs: dict[str, Path] = field(default_factory=dict)
    gates: dict[str, str] = field(default_factory=dict)


def students(wanted: list[str], out: Path, shared: Path, gated: bool) -> Iterator[Network]:
    """The shipped student and eDifFIQA's shapes with random weights (whose ranks mean nothing: no gate)."""
    chips = _chips(shared / "data/ytf-dev", 2700 if gated else 120)
    learning = _chips(shared / "data/lfw-train", 128 if gated else 16)
    for name in wanted:
        model = SHIPPED if name == "facesieve-t" else _random(name, out)
        network = Network(name, "chips", ((112, 112),), {"fp32": model, "bf16": model})
        samples = [{"chips": learning.chips[i : i + 1]} for i in range(len(learning))]
        _plain(network, graph.read(model), samples, out)
        if gated and name == "facesieve-t":
            _gate(
                network,
                out,
                lambda kind, to, model=model: (
                    build_student(model, kind, to, chips=chips, calibrate_on=learning, say=_say).path
                ),
            )
        yield network


def detectors(
    wanted: list[str], widths: list[int], out: Path, shared: Path, gated: bool
) -> Iterator[Network]:
    """Those whose weights are here."""
    kinds: dict[str, tuple[Callable[[], Path], str, DetectorKind]] = {
        "centerface": (
            lambda: Store().path("centerface"),
            "plain",
            DetectorKind(CenterFace, CenterFace.PIXELS, "rgb", 0.5),
        ),
        "yunet-n": (
            lambda: shared / "models/yunet_n_dynamic.onnx",
            "plain",
            DetectorKind(YuNet, YuNet.PIXELS, "bgr", 0.6),
        ),
        "yunet-s": (
            lambda: shared / "models/yunet_s_dynamic.onnx",
            "plain",
            DetectorKind(YuNet, YuNet.PIXELS, "bgr", 0.6),
        ),
        "scrfd-500m": (
            lambda: shared / "models/scrfd_500m_kps.onnx",
            "scrfd",
            DetectorKind(Scrfd, Scrfd.PIXELS, "rgb", 0.5),
        ),
    }
    frames = list(_frames(shared, 1 if gated else 8))
    sizes = tuple((max(1, round(w * 9 / 16 / 32)) * 32, w) for w in widths)
    for name in wanted:
        where, feeding, kind = kinds[name]
        try:
            model = where()
        except FacesieveError as absent:
            print(f"{name}: left out: {absent}", flush=True)
            continue
        network = Network(name, feeding, sizes, {"fp32": model, "bf16": model})
        port = graph.sole_input(model)
        opened = graph.read(model, {port: (None, *kind.pixels.network_shape[1:])})
        samples = [{port: _input(frame, kind)} for frame in frames[:: max(1, len(frames) // 16)]]
        _plain(network, opened, samples, out)
        if gated:
            _gate(
                network,
                out,
                lambda to_kind, to, model=model, kind=kind: (
                    build_detector(model, to_kind, to, kind=kind, frames=frames, say=_say).path
                ),
            )
        yield network


def _plain(network: Network, original: Any, samples: list[Any], out: Path) -> None:
    """fp16 and int8 of every layer, as they are before the gate."""
    made = {"fp16": to_half(original), "int8": to_int8(original, samples)}
    for precision, model in made.items():
        network.graphs[precision] = out / f"{network.name}-{precision}-all.onnx"
        network.graphs[precision].write_bytes(model.SerializeToString(deterministic=True))


def _gate(network: Network, out: Path, build: Callable[[Any, Path], Path]) -> None:
    """Verdicts are kept: the same network under the same builder and measure has the same."""
    kept_path = out / "gates.json"
    kept = json.loads(kept_path.read_text()) if kept_path.is_file() else {}
    for precision in ("fp16", "int8", "bf16"):
        path = out / f"{network.name}-{precision}.onnx"
        key = f"{network.name} {precision} {_maker(network.graphs['fp32'])}"
        if key not in kept or (kept[key] == "passed" and not path.is_file()):
            print(f"{network.name} {precision}: gate …", flush=True)
            try:
                build(precision, path)
                kept[key] = "passed"
            except GateFailed as failed:
                kept[key] = f"refused: {_told(failed)}"
            except FacesieveError as absent:
                network.gates[precision] = f"not measured: {_told(absent)}"
                continue
            kept_path.write_text(json.dumps(kept, indent=1) + "\n")
        network.gates[precision] = kept[key]
        if kept[key] == "passed":
            network.graphs[precision] = path


def _told(error: FacesieveError) -> str:
    """Its words, with files by their names: the results are for other machines too."""
    return re.sub(r"/\S*/", "", str(error))


def _maker(model: Path) -> str:
    """Names the network and everything that makes and measures its graphs."""
    state = hashlib.sha256(model.read_bytes())
    for source in sorted((ROOT / "engines/build").glob("*.py")):
        state.update(source.read_bytes())
    return state.hexdigest()[:16]


def _random(name: str, out: Path) -> Path:
    """eDifFIQA's shape with random weights, exported once."""
    path = out / f"{name}.onnx"
    if not path.is_file():
        import torch

        from facesieve.fiqa.export import export_student
        from facesieve.fiqa.networks import build_student as network

        torch.manual_seed(0)
        student = network(name)  # type: ignore[arg-type]
        _settle(student)
        export_student(student, path)
    return path


def _settle(student: Any) -> None:
    """Batch norms of random weights learn the statistics of noise; a hundred layers would overflow else."""
    import torch

    student.train()
    for part in student.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.momentum = None
    with torch.no_grad():
        student(torch.randn(4, 3, 112, 112))
    student.eval()


def _chips(folder: Path, most: int) -> Chips:
    from facesieve.fiqa.faces import aligned_chips, read_faces

    faces = read_faces(folder)
    if len(faces) > most:
        faces = faces.take(np.linspace(0, len(faces) - 1, most).astype(np.intp))
    return Chips(aligned_chips(faces), faces.videos, faces.eye_distances_px())


def _frames(shared: Path, sparser: int) -> Iterator[Frame]:
    for name, step in CLIPS.items():
        with av.open(str(shared / "videos" / name)) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i % (step * sparser) == 0:
                    yield Frame(name, i, i / 25, None, ArrayPicture(frame.to_ndarray(format="rgb24")))


def _input(frame: Frame, kind: DetectorKind) -> Any:
    from facesieve.engines.models.letterbox import Letterbox

    box = Letterbox.fit(frame.picture.width, frame.picture.height, kind.long_side_px)
    return kind.pixels.normalise(box.pixels(frame.picture, kind.order))


def _say(line: str) -> None:
    print(f"    {line}", flush=True)
