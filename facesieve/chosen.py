"""The configuration that a command line describes: a file's, with the options over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import typer

from .config import Config, parse_config, read_config
from .stream.errors import ConfigError

Detectors = Literal["centerface", "yunet", "scrfd", "blazeface", "mediapipe"]
Trackers = Literal["bytetrack", "ocsort"]
Engines = Literal["openvino", "onnxruntime", "tensorrt"]
DEBUG = "FACESIEVE_DEBUG"
"""The environment variable that --debug sets."""


def named(name: str | Path) -> Path:
    """An empty name, say of a shell's unset variable, would mean the current folder."""
    if name == "":
        raise typer.BadParameter("expected a file or folder, got an empty name")
    return Path(name)


def chosen(
    path: Path | None,
    *,
    detector: Detectors | None = None,
    tracker: Trackers | None = None,
    scorer: str | None = None,
    engine: Engines | None = None,
    values: Mapping[str, Mapping[str, object]] | None = None,
) -> Config:
    """The file's configuration, or the default, with what the command line chose over it.

    A part of another kind than the file's begins with that kind's defaults. scorer: see _scorer. values: by
    table and key; None stands for an option that was not given. Raises ConfigError.
    """
    table = (read_config(path) if path is not None else Config()).model_dump()
    kinds = {"detector": detector, "tracker": tracker, "engine": engine}
    for part, kind in kinds.items():
        if kind is not None and table[part]["kind"] != kind:
            table[part] = {"kind": kind}
    if scorer is not None:
        table["scorer"] = _scorer(scorer, table["scorer"])
    for part, given in (values or {}).items():
        table[part] |= {key: value for key, value in given.items() if value is not None}
    return parse_config(table, "command line")


def _scorer(asked: str, present: dict[str, Any]) -> dict[str, Any]:
    """The table that --scorer means: a kind (which keeps the file's settings of it), a file, or NAME:PATH."""
    if asked in ("student", "analytical"):
        return present if present["kind"] == asked else {"kind": asked}
    if Path(asked).is_file():
        return {"kind": "student", "weights": asked}
    if ":" in asked:
        return {"kind": "baseline", "spec": asked}
    raise ConfigError(
        f"--scorer {asked}: expected `student`, `analytical`, a file, or NAME:PATH of a baseline"
    )
