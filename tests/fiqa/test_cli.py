"""The offline commands from end to end on tiny data, and that mounting them is light."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
import typer
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from facesieve.fiqa import cli
from facesieve.stream.errors import ConfigError, ModelInvalid

ROOT = Path(__file__).resolve().parents[2]

app = typer.Typer()
app.command("label")(cli.label)
app.command("import")(cli.import_model)
app.add_typer(cli.train, name="train")


def call(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def faces(tmp_path):
    """12 chips of 2 people."""
    folder = tmp_path / "faces"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["file,identity"]
    for i in range(12):
        image = np.clip(rng.normal(60 + 12 * i, 25, (112, 112, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), image)
        rows.append(f"{i}.png,person{i % 2}")
    (folder / "faces.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def recogniser(tmp_path):
    """A linear 512-d embedder of pooled pixels, as ONNX for one image at a time."""
    rng = np.random.default_rng(1)
    weights = {"shape": np.array([1, -1]), "k": rng.normal(0, 0.1, (512, 588)).astype(np.float32)}
    nodes = [
        helper.make_node("AveragePool", ["x"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "k"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 112, 112))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 512))],
        [numpy_helper.from_array(v, n) for n, v in weights.items()],
    )
    path = tmp_path / "fr.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.slow
def test_label_then_train_then_import(tmp_path, faces, recogniser):
    labels, run = tmp_path / "q.csv", tmp_path / "run"
    said = call("label", faces, "--fr", recogniser, "--fr-preprocessing", "symmetric", "--out", labels)
    assert "12 faces scored" in said
    with labels.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["faceqan-fr"] * 12
    assert len({row["score"] for row in rows}) == 12
    recipe = tmp_path / "t.toml"
    recipe.write_text(
        'method = "ediffiqa"\narchitecture = "ediffiqa-t"\nepochs = 1\nbatch_size = 4\n'
        'fewest_images = 1\nhigh_quality_share = 0.5\ntrained_tensors = "all"\n'
    )
    common = ("--faces", faces, "--recipe", recipe, "--labels", labels, "--out", run)
    teacher = ("--teacher", recogniser, "--teacher-preprocessing", "symmetric")
    assert "best validation loss" in call("train", "ediffiqa", *common, *teacher)
    assert "best validation loss" in call("train", "ediffiqa", *common, *teacher)  # nothing left to do
    assert {p.name for p in run.iterdir()} >= {"best.pth", "checkpoint.pt", "curve.csv", "curve.png"}
    out = tmp_path / "student.onnx"
    assert "1.73 M parameters" in call("import", run / "best.pth", "--arch", "ediffiqa-t", "--out", out)
    again = call(
        "train", "ediffiqa", *common, "--teacher", recogniser, "--teacher-preprocessing", "symmetric"
    )
    assert "steps" in again
    assert onnx.load(out).graph.input[0].name == "chips"


def test_diffusion_from_training_to_labels(tmp_path, faces, recogniser):
    recipe, run, labels = tmp_path / "d.toml", tmp_path / "run", tmp_path / "d.csv"
    recipe.write_text(
        'method = "diffusion"\ndim = 8\nmultipliers = [1, 1, 1, 1, 1]\nsteps = 1\n'
        "batch_size = 1\naccumulate = 1\n"
    )
    assert "1 steps" in call("train", "diffusion", "--faces", faces, "--recipe", recipe, "--out", run)
    few = tmp_path / "few"
    few.mkdir()
    for i in range(2):
        shutil.copy(faces / "images" / f"{i}.png", few)
    common = ("--fr", recogniser, "--fr-preprocessing", "symmetric", "--out", labels, "--copies", "1")
    call("label", few, "--method", "diffiqa", "--diffusion", run / "checkpoint.pt", "--batch", "2", *common)
    with labels.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["diffiqa-fr"] * 2
    assert all(-1 <= float(row["score"]) <= 1 for row in rows)
    assert "diffusion_sha256" in (tmp_path / "d.csv.json").read_text()


def test_what_is_missing_is_said(tmp_path, faces, recogniser):
    with pytest.raises(ConfigError, match="preprocessing"):
        call("label", faces, "--fr", recogniser, "--out", tmp_path / "q.csv")
    with pytest.raises(ConfigError, match="--diffusion"):
        call("label", faces, "--fr", recogniser, "--fr-preprocessing", "symmetric", "--method", "diffiqa")
    with pytest.raises(ConfigError, match="method diffusion, got aikd"):
        call("train", "diffusion", "--faces", faces, "--recipe", ROOT / "configs" / "aikd.toml")
    (tmp_path / "t.pth").write_bytes(b"")
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ModelInvalid, match=r"a\.pth"):
        call("import", tmp_path / "a.pth", "--arch", "ediffiqa-t", "--out", tmp_path / "a.onnx")


def test_mounting_imports_neither_torch_nor_onnx():
    script = "import sys, facesieve.fiqa.cli; print({'torch', 'onnx', 'matplotlib'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
