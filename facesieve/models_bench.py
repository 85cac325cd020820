"""`facesieve models bench`: what the engines of this machine make of a network."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .stream.errors import ConfigError

if TYPE_CHECKING:
    from .engines.signature import PixelInput
    from .engines.zoo.manifest import Network

DEFAULT = ("facesieve-t", "centerface")
WIDTH = 110  # of the table, wherever it goes


def bench(
    models: Annotated[
        list[str] | None, typer.Argument(help="ONNX files, or names from `facesieve models list`.")
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Images a call; repeat it for more.")] = None,
    size: Annotated[
        str, typer.Option(help="Width×height of pictures for networks that take any.")
    ] = "640x352",
    threads: Annotated[int, typer.Option(min=0, help="Of each network; 0 for all cores.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.0, help="On each engine and batch.")] = 1.0,
) -> None:
    """Time networks here: each engine and arithmetic, against ONNX Runtime in fp32.

    benchmarks/engines.py in the source times more, in separate processes, behind the gate.
    """
    from rich.table import Table

    from .engines.timing import timings
    from .engines.zoo.store import Store
    from .notices import fetching
    from .terminal import Terminal

    columns = "model", "pixels", "batch", "engine", "ms an image", "images/s", "× ONNX Runtime"
    table = Table(*columns, box=None, pad_edge=False)
    asked, store = _size(size), Store()
    for name in models or DEFAULT:
        path, pixels = Path(name), None
        if path.suffix not in (".onnx", ".tflite"):
            pixels = _pixels(store.model(name).network)
            with fetching(name) as progress:
                path = store.path(name, progress=progress)
        typer.echo(f"{name}: timing …", err=True)
        found = timings(
            path,
            size=asked,
            batches=batch or (1, 8),
            threads=threads,
            seconds=seconds,
            pixels=pixels,
            say=lambda line: typer.echo(f"  {line}", err=True),
        )
        for t in found:
            n, height, width, _ = t.shape
            times = "" if t.times_onnxruntime is None else f"{t.times_onnxruntime:.2f}"
            engine, speed = f"{t.engine} {t.arithmetic}", f"{1e3 / t.ms_an_image:.0f}"
            table.add_row(
                path.stem, f"{width}×{height}", str(n), engine, f"{t.ms_an_image:.3f}", speed, times
            )
    console = Terminal()
    console.print(table, width=max(console.width, WIDTH), crop=False, no_wrap=True)
    typer.echo(f"{_processor()}, {os.cpu_count()} cores, {threads or 'all'} threads a network", err=True)


def _size(text: str) -> tuple[int, int]:
    """Height and width."""
    width, _, height = text.lower().replace("×", "x").partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ConfigError(f"--size {text}: expected width and height in pixels, like 640x352")
    return int(height), int(width)


def _pixels(network: Network | None) -> PixelInput | None:
    """Of a network of the zoo with sides of its own choice; None where its file says it all."""
    from .engines.signature import PixelInput

    if network is None:
        raise ConfigError("expected networks, got a film of the zoo")
    shapes: Sequence[Sequence[int | str]] = list(network.inputs.values())
    free = not shapes or any(isinstance(side, str) and side in "hw" for shape in shapes for side in shape)
    if not free or (network.mean, network.std) != (0, 1):
        return None
    return PixelInput(batch=None)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
