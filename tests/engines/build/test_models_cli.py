"""`facesieve models build` as the command line mounts it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from facesieve.engines.build.gate import Chips
from facesieve.models_cli import build_model
from facesieve.stream.errors import ConfigError, GateFailed, SourceMissing

app = typer.Typer()
app.command()(build_model)


@pytest.fixture
def folder(smooth_chips: Chips, tmp_path: Path) -> Path:
    """The chips as a folder with faces.csv, without landmarks: aligned already."""
    root = tmp_path / "faces"
    (root / "images").mkdir(parents=True)
    with (root / "faces.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "identity", "video"])
        for i, (chip, track) in enumerate(zip(smooth_chips.chips, smooth_chips.tracks, strict=True)):
            cv2.imwrite(str(root / f"images/{i}.png"), np.ascontiguousarray(chip[..., ::-1]))
            writer.writerow([f"{i}.png", track, track])
    return root


def call(*arguments: object) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.stdout, result.exception


def test_build_installs_and_prints_the_path(tiny: Path, folder: Path, tmp_path: Path) -> None:
    printed, error = call(tiny, "--precision", "fp16", "--faces", folder, "--out", tmp_path / "out")
    assert error is None
    path = tmp_path / "out/tiny-fp16.onnx"
    assert printed.strip().splitlines()[-1] == str(path)
    assert json.loads(path.with_suffix(".json").read_text())["gate"]["fp32"]["tracks"] == 20


def test_a_failed_gate_leaves_nothing(
    tiny: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facesieve.engines.build import gate

    monkeypatch.setitem(gate.THRESHOLDS, "fp16", gate.Thresholds(1.01, 1.0))
    _, error = call(tiny, "--precision", "fp16", "--faces", folder, "--out", tmp_path / "out")
    assert isinstance(error, GateFailed)
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_options_are_named(tiny: Path, folder: Path, tmp_path: Path) -> None:
    _, error = call(tiny, "--precision", "fp16", "--faces", tmp_path / "nowhere")
    assert isinstance(error, SourceMissing)
    _, error = call(tiny, "--precision", "fp16", "--faces", folder, "--margin", "-1")
    assert isinstance(error, ConfigError)
    _, error = call(tiny, "--precision", "fp16", "--faces", folder, "--faces", folder)
    assert isinstance(error, ConfigError)
