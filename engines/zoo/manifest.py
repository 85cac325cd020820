"""The zoo's table of models, read from manifest.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...stream.errors import ConfigError

Task = Literal["detection", "landmarks", "quality", "recognition", "sample"]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class WheelMember:
    """One file inside a wheel of the Python package index.

    python, platform: for wheels that are not pure Python, the tags of the one that is meant.
    """

    package: str
    version: str
    member: str
    python: str | None = None
    platform: str | None = None

    def __str__(self) -> str:
        return f"{self.package}=={self.version} ({self.member})"


@dataclass(frozen=True, slots=True)
class Url:
    """A file on the web."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class Shipped:
    """A file in the package's own folder of weights."""

    shipped: str

    def __str__(self) -> str:
        return f"{self.shipped} (part of facesieve)"


Source = WheelMember | Url | Shipped
Shape = tuple[int | str, ...]
Colour = Literal["rgb", "bgr"]


@dataclass(frozen=True, slots=True)
class Network:
    """What a network takes and gives.

    inputs, outputs: name → shape, letters where it depends; empty where nobody here has seen the file.
    colour: order of the channels. mean, std: the network sees (pixel − mean) / std, pixels being 0 to 255; in
    a graph of uint8 pixels these are nodes already, and both say nothing (0 and 1).
    """

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    colour: Colour
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the zoo.

    file: the name it gets on disk. size_bytes: None where it was never published. commercial: whether the
    licence as stated allows commercial use. paper: where one describes it. sources: tried in order.
    """

    name: str
    task: Task
    file: str
    sha256: str
    size_bytes: int | None
    licence: str
    commercial: bool
    authors: str
    paper: str | None
    sources: tuple[Source, ...]
    network: Network | None = None
    """None for what is none (films)."""


def read(path: Path) -> Mapping[str, Model]:
    """Every model of a manifest by name, in its order; ConfigError if it is not one."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: _model(name, table) for name, table in tables.items()}
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError, ValueError) as damage:
        raise ConfigError(f"{path}: not a manifest of models: {damage!r}") from damage


def _model(name: str, table: Mapping[str, Any]) -> Model:
    if not _SHA256.fullmatch(table["sha256"]):
        raise ValueError(f"{name}: expected 64 hexadecimal digits as sha256, got {table['sha256']!r}")
    if not _FILE.fullmatch(table["file"]):
        raise ValueError(f"{name}: expected a plain file name, got {table['file']!r}")
    return Model(
        name=name,
        task=table["task"],
        file=table["file"],
        sha256=table["sha256"],
        size_bytes=table.get("size_bytes"),
        licence=table["licence"],
        commercial=table["commercial"],
        authors=table["authors"],
        paper=table.get("paper"),
        sources=tuple(_source(source) for source in table["sources"]),
        network=_network(name, table["network"]) if "network" in table else None,
    )


def _network(name: str, table: Mapping[str, Any]) -> Network:
    if table["colour"] not in ("rgb", "bgr"):
        raise ValueError(f"{name}: expected the colour rgb or bgr, got {table['colour']!r}")
    inputs, outputs = (
        {port: tuple(shape) for port, shape in table.get(kind, {}).items()} for kind in ("inputs", "outputs")
    )
    return Network(inputs, outputs, table["colour"], float(table.get("mean", 0)), float(table.get("std", 1)))


def _source(table: Mapping[str, str]) -> Source:
    match table:
        case {"package": package, "version": version, "member": member}:
            return WheelMember(package, version, member, table.get("python"), table.get("platform"))
        case {"url": url}:
            return Url(url)
        case {"shipped": shipped}:
            return Shipped(shipped)
    raise ValueError(f"expected a source as package/version/member, url or shipped, got {dict(table)}")
