"""`facesieve models list|pull|verify|build`, mounted by the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer

from .stream.errors import ConfigError, WeightsCorrupt

if TYPE_CHECKING:
    from .engines.build.gate import Chips
    from .engines.build.make import Built, DetectorKind
    from .engines.zoo.manifest import Model
    from .engines.zoo.store import Entry
    from .stream.types import Frame

FRAMES = 60
Licences = Literal["any", "commercial"]
Licence = Annotated[Licences, typer.Option(help="commercial refuses what does not allow it.")]


def list_models(
    long: Annotated[
        bool, typer.Option("--long", help="Also inputs, outputs, pixels, authors, paper and sources.")
    ] = False,
) -> None:
    """What the zoo knows: what is here, what is not, size and licence."""
    from rich.table import Table

    from .engines.zoo.store import Store
    from .terminal import Terminal

    entries = Store().list()
    if long:
        for entry in entries:
            typer.echo("\n".join(_described(entry)) + "\n")
        return
    table = Table("model", "task", "here", "size", "licence", "commercial", box=None, pad_edge=False)
    for entry in entries:
        model = entry.model
        allowed = "yes" if model.commercial else "no"
        table.add_row(model.name, model.task, entry.state, _size(model), model.licence, allowed)
    Terminal().print(table)


def _described(entry: Entry) -> Iterator[str]:
    """Lines about one model of the zoo."""
    model = entry.model
    use = "" if model.commercial else ", no commercial use"
    yield f"{model.name}: {model.task}, {entry.state}, {_size(model)}, licence {model.licence}{use}"
    yield f"  file: {entry.path}"
    yield f"  sha256: {model.sha256}"
    yield f"  authors: {model.authors}"
    if model.paper is not None:
        yield f"  paper: {model.paper}"
    for source in model.sources:
        yield f"  source: {source}"
    if (network := model.network) is None:
        return
    normal = "" if (network.mean, network.std) == (0, 1) else f", (x − {network.mean:g}) / {network.std:g}"
    yield f"  pixels: {network.colour.upper()}, 0 to 255{normal}"
    for kind, ports in (("input", network.inputs), ("output", network.outputs)):
        for name, shape in ports.items():
            yield f"  {kind}: {name} ({', '.join(map(str, shape))})"


def _size(model: Model) -> str:
    return f"{model.size_bytes / 1e6:.1f} MB" if model.size_bytes else "?"


def pull(
    names: Annotated[list[str], typer.Argument(help="Names from `facesieve models list`.")],
    print_path: Annotated[
        bool, typer.Option("--print-path", help="Print where each lies, nothing else.")
    ] = False,
    licence: Licence = "any",
) -> None:
    """Fetch models; each is checked against its SHA-256 before it is used."""
    from .engines.zoo.store import Store
    from .notices import fetching

    store = Store(commercial_use=licence == "commercial")
    for name in names:
        store.model(name)
    for name in names:
        with fetching(name, quiet=print_path) as progress:
            path = store.path(name, progress=progress)
        typer.echo(path if print_path else f"{name}: {path}")


def verify() -> None:
    """Check the SHA-256 of every model that is here; exit code 32 if one differs."""
    from .engines.zoo.store import Store

    entries = Store().verify()
    for entry in entries:
        typer.echo(f"{entry.model.name}: {entry.state}")
    if any(entry.state == "corrupt" for entry in entries):
        raise typer.Exit(WeightsCorrupt.exit_code)


def build_model(
    model: Annotated[str, typer.Argument(help="An fp32 ONNX file, or a name from `facesieve models list`.")],
    precision: Annotated[Literal["fp16", "int8", "bf16"], typer.Option(help="Of the network to make.")],
    faces: Annotated[
        list[str],
        typer.Option(
            help="What to measure on. For a quality network a folder with faces.csv and a column video; for "
            "a detector videos or folders of images."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the model and its report.")] = Path(),
    calibrate: Annotated[
        Path | None, typer.Option(help="A folder with faces.csv for int8's scales; else part of --faces.")
    ] = None,
    margin: Annotated[
        float,
        typer.Option(help="A best frame may be replaced by one this much worse, in deviations of the score."),
    ] = 0.05,
    detector: Annotated[
        Literal["centerface", "yunet", "scrfd"] | None,
        typer.Option(help="MODEL is a detector of this kind. Left out: a quality network."),
    ] = None,
    licence: Licence = "any",
) -> None:
    """Make MODEL in another precision; install it only if it chooses as fp32 does. Exit code 35 if not."""
    path = _located(model, licence)
    target = out / f"{path.stem}-{precision}.onnx"
    typer.echo(f"{path.name} → {target}", err=True)
    if detector is None:
        built = _student(path, precision, target, faces, calibrate, margin)
    else:
        built = _detector(path, precision, target, faces, detector)
    for arithmetic, figures in built.figures.items():
        shown = ", ".join(f"{k} {v:.5g}" for k, v in figures.items() if isinstance(v, int | float))
        typer.echo(f"computed in {arithmetic}: {shown}", err=True)
    typer.echo(built.path)


def _located(model: str, licence: Licences) -> Path:
    from .engines.zoo.store import Store
    from .notices import fetching

    store, path = Store(commercial_use=licence == "commercial"), Path(model)
    if path.suffix == ".onnx":
        store.allow(path)
        return path
    store.model(model)
    with fetching(model) as progress:
        return store.path(model, progress=progress)


def _student(
    model: Path,
    precision: Literal["fp16", "int8", "bf16"],
    target: Path,
    faces: list[str],
    calibrate: Path | None,
    margin: float,
) -> Built:
    from .engines.build.make import build_student

    if len(faces) != 1:
        raise ConfigError(f"expected one folder of faces for a quality network, got {len(faces)}")
    if not 0 <= margin < 1:
        raise ConfigError(f"expected --margin in [0, 1) deviations of the score, got {margin}")
    return build_student(
        model,
        precision,
        target,
        chips=_chips(Path(faces[0])),
        calibrate_on=None if calibrate is None else _chips(calibrate, limit=512),
        margin=margin,
        say=_say,
    )


def _detector(
    model: Path,
    precision: Literal["fp16", "int8", "bf16"],
    target: Path,
    faces: list[str],
    detector: Literal["centerface", "yunet", "scrfd"],
) -> Built:
    from .engines.build.make import build_detector

    frames = [frame for source in faces for frame in _frames(source)]
    return build_detector(model, precision, target, kind=_kind(detector), frames=frames, say=_say)


def _kind(detector: Literal["centerface", "yunet", "scrfd"]) -> DetectorKind:
    from .engines.build.make import DetectorKind
    from .engines.models.centerface import CenterFace
    from .engines.models.scrfd import Scrfd
    from .engines.models.yunet import YuNet

    match detector:
        case "centerface":
            return DetectorKind(CenterFace, CenterFace.PIXELS, "rgb", 0.5)
        case "scrfd":
            return DetectorKind(Scrfd, Scrfd.PIXELS, "rgb", 0.5)
        case "yunet":
            return DetectorKind(YuNet, YuNet.PIXELS, "bgr", 0.6)


def _chips(folder: Path, limit: int | None = None) -> Chips:
    """Aligned chips of a folder with faces.csv; an even choice of `limit` of them."""
    from .engines.build.gate import Chips
    from .fiqa.faces import aligned_chips, read_faces

    faces = read_faces(folder)
    if limit is not None and len(faces) > limit:
        faces = faces.take(np.linspace(0, len(faces) - 1, limit).astype(np.intp))
    return Chips(aligned_chips(faces), faces.videos, faces.eye_distances_px())


def _frames(source: str) -> Iterator[Frame]:
    """At most FRAMES, evenly, of a video or a folder of images; their pictures held in memory."""
    from dataclasses import replace

    from .stream.decode.sources import open_source
    from .stream.testing import ArrayPicture

    with closing(open_source(source)) as counted:
        total = sum(1 for _ in counted)
    step = max(1, -(-total // FRAMES))
    with closing(open_source(source)) as frames:
        for frame in islice(frames, 0, None, step):
            whole = frame.picture.region(0, 0, frame.picture.width, frame.picture.height)
            yield replace(frame, picture=ArrayPicture(whole))


def _say(line: str) -> None:
    typer.echo(line, err=True)
