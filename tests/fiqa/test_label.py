"""Labelling a folder: resumable to the same bytes, honest about what could not be scored."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from patience import until
from torch import nn

from facesieve.fiqa.diffiqa import Diffusion, UNet, load_diffusion
from facesieve.fiqa.distill.data import read_labels
from facesieve.fiqa.label import label_folder
from facesieve.fiqa.teachers import DifFIQA, DifFIQASettings, FaceQAN, FaceQANSettings
from facesieve.stream.errors import ModelInvalid, OutputExists, SourceMissing, SourceUnreadable
from facesieve.stream.geometry import ARCFACE_POINTS


class TinyRecogniser(nn.Module):
    """(n, 3, 112, 112) in [0, 1] → (n, 6)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        conv, head = nn.Conv2d(3, 6, 9, stride=8), nn.Linear(6 * 13 * 13, 6)
        self.net = nn.Sequential(conv, nn.Tanh(), nn.Flatten(), head)

    def forward(self, x):
        return self.net(x)


@pytest.fixture
def chips(tmp_path):
    """Seven chips in two folders, one file that is no image and one of another size."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "chips"
    for i in range(7):
        path = folder / ("a" if i % 2 else "b") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (112, 112, 3)).astype(np.uint8))
    (folder / "a" / "broken.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(folder / "big.png"), np.zeros((130, 120, 3), np.uint8))
    return folder


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tiny.pt"
    path.write_bytes(b"stands for the recogniser's file: only its hash is taken")
    return path


def teacher(seed=0):
    return FaceQAN(TinyRecogniser(), FaceQANSettings(seed=seed, steps=2, copies=3))


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_scores_and_reasons(tmp_path, chips, model):
    out, seen = tmp_path / "labels.csv", []
    done = label_folder(chips, out, teacher(), model, batch=4, progress=lambda *at: seen.append(at))
    rows = {row["file"]: row for row in rows_of(out)}
    assert list(rows) == ["a/1.png", "a/3.png", "a/5.png", "a/broken.jpg", "b/0.png", "b/2.png", "b/4.png",
                          "b/6.png", "big.png"]  # fmt: skip
    assert (done.scored, done.refused, done.resumed) == (7, 2, 0)
    assert seen == [(4, 9), (8, 9), (9, 9)]
    assert "OpenCV cannot read" in rows["a/broken.jpg"]["reason"]
    assert "120×130" in rows["big.png"]["reason"]
    good = rows["b/0.png"]
    assert good["model"] == "faceqan-tiny"
    q = float(good["q_adv"]) * float(good["symmetry"])
    assert float(good["score"]) == pytest.approx(np.sign(q) * abs(q) ** 5, rel=1e-6)
    settings = json.loads((tmp_path / "labels.csv.json").read_text())
    assert settings["copies"] == 3
    assert len(settings["recogniser_sha256"]) == 64


class Overflowing(TinyRecogniser):
    """No numbers for what is white all over."""

    def forward(self, x):
        return super().forward(x) / (x.mean(dim=(1, 2, 3)) < 0.99)[:, None]


def test_what_the_network_gives_no_number_for_has_a_reason(tmp_path, chips, model):
    cv2.imwrite(str(chips / "a/3.png"), np.full((112, 112, 3), 255, np.uint8))
    out = tmp_path / "labels.csv"
    broken = FaceQAN(Overflowing(), FaceQANSettings(steps=2, copies=3))
    done = label_folder(chips, out, broken, model, batch=4)
    (white,) = (row for row in rows_of(out) if row["file"] == "a/3.png")
    assert (white["score"], white["q_adv"], white["reason"]) == ("", "", "the network gives no number for it")
    assert (done.scored, done.refused) == (6, 3)
    assert len(read_labels(out)) == 6


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, chips, model, after):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    label_folder(chips, whole, teacher(), model, batch=3)

    def stop(done, _total):
        if done >= 3 * after:
            raise Interrupt

    with pytest.raises(Interrupt):
        label_folder(chips, cut, teacher(), model, batch=3, progress=stop)
    assert not cut.exists()
    part = cut.with_name("cut.csv.part")
    with part.open("a") as file:
        file.write("b/2.png,0.123")  # a torn row, as a kill in the middle of a write leaves it
    finished = label_folder(chips, cut, teacher(), model, batch=3)
    assert finished.resumed == 3 * after
    assert cut.read_bytes() == whole.read_bytes()
    assert not part.exists()
    again = label_folder(chips, cut, teacher(), model, batch=3)
    assert again.resumed == 9


def test_a_killed_process_goes_on_to_the_same_bytes(tmp_path, chips, model):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    label_folder(chips, whole, teacher(), model, batch=2)
    script = f"""
import sys, time
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1] / "support")!r}]
from pathlib import Path
from test_label import teacher, label_folder
label_folder(Path({str(chips)!r}), Path({str(cut)!r}), teacher(), Path({str(model)!r}), batch=2,
             progress=lambda done, total: time.sleep(3600) if done >= 4 else None)
"""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    child = subprocess.Popen([sys.executable, "-c", script], env=environment)
    part = cut.with_name("cut.csv.part")
    try:
        until(lambda: child.poll() is not None or (part.is_file() and part.read_text().count("\n") == 5))
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
    assert label_folder(chips, cut, teacher(), model, batch=2).resumed == 4
    assert cut.read_bytes() == whole.read_bytes()


def test_scores_do_not_depend_on_the_batch(tmp_path, chips, model):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    label_folder(chips, a, teacher(), model, batch=1)
    label_folder(chips, b, teacher(), model, batch=5)
    for one, other in zip(rows_of(a), rows_of(b), strict=True):
        assert float(one["score"] or 0) == pytest.approx(float(other["score"] or 0), rel=1e-4)


def test_parquet_is_the_csv_typed_and_resumable(tmp_path, chips, model):
    whole, csv_file, cut = (tmp_path / name for name in ("whole.parquet", "whole.csv", "cut.parquet"))
    label_folder(chips, csv_file, teacher(), model, batch=3)
    done = label_folder(chips, whole, teacher(), model, batch=3)
    assert (done.scored, done.refused) == (7, 2)
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(whole)
    assert [str(field.type) for field in table.schema] == [
        "string",
        "double",
        "string",
        "double",
        "double",
        "string",
    ]
    for row, text in zip(table.to_pylist(), rows_of(csv_file), strict=True):
        assert {name: "" if value is None else value for name, value in row.items()} == {
            name: float(value) if value and name in ("score", "q_adv", "symmetry") else value
            for name, value in text.items()
        }

    def stop(done, _total):
        if done >= 6:
            raise Interrupt

    with pytest.raises(Interrupt):
        label_folder(chips, cut, teacher(), model, batch=3, progress=stop)
    assert not cut.exists()
    assert label_folder(chips, cut, teacher(), model, batch=3).resumed == 6
    assert cut.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("cut*")) == ["cut.parquet", "cut.parquet.json"]
    assert label_folder(chips, cut, teacher(), model, batch=3).resumed == 9
    assert read_labels(cut) == read_labels(csv_file)


def test_two_faces_of_one_image_are_told_apart(tmp_path, chips, model):
    """A table may name an image twice, with other landmarks; one of them may be unusable."""
    (tmp_path / "set" / "images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "set" / "images" / "a.png"), cv2.imread(str(chips / "a" / "1.png")))
    points = [f"l{axis}{i}" for i in range(5) for axis in "xy"]
    good = ",".join(f"{v:.2f}" for v in ARCFACE_POINTS.ravel())
    half = ",".join(f"{v / 2:.2f}" for v in ARCFACE_POINTS.ravel())
    rows = [f"a.png,p,{good}", f"a.png,p,{half}", "a.png,p" + ",nan" * 10]
    text = "\n".join([",".join(["file", "identity", *points]), *rows]) + "\n"
    (tmp_path / "set" / "faces.csv").write_text(text)
    label_folder(tmp_path / "set", tmp_path / "l.csv", teacher(), model)
    first, second, third = rows_of(tmp_path / "l.csv")
    assert first["score"] != second["score"]
    assert third["score"] == ""
    assert "not five points" in third["reason"]


def test_other_settings_are_not_mixed(tmp_path, chips, model):
    out = tmp_path / "labels.csv"
    label_folder(chips, out, teacher(), model)
    with pytest.raises(OutputExists, match=r"seed 0 \(now 1\).*labels\.csv"):
        label_folder(chips, out, teacher(seed=1), model)
    model.write_bytes(b"another recogniser")
    with pytest.raises(OutputExists, match="recogniser_sha256"):
        label_folder(chips, out, teacher(), model)


def test_other_faces_are_not_mixed(tmp_path, chips, model):
    out = tmp_path / "labels.csv"
    label_folder(chips, out, teacher(), model)
    (chips / "b" / "0.png").unlink()
    with pytest.raises(OutputExists, match="8 faces"):
        label_folder(chips, out, teacher(), model)


def test_nothing_to_score(tmp_path, model):
    with pytest.raises(SourceMissing, match="nowhere"):
        label_folder(tmp_path / "nowhere", tmp_path / "l.csv", teacher(), model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceMissing, match=r"images or a faces\.csv"):
        label_folder(tmp_path / "empty", tmp_path / "l.csv", teacher(), model)
    (tmp_path / "empty" / "x.png").write_bytes(b"")
    with pytest.raises(SourceUnreadable, match="face that can be scored"):
        label_folder(tmp_path / "empty", tmp_path / "l.csv", teacher(), model)


def test_diffiqa_labels_batches_as_single_faces(tmp_path, chips, model):
    torch.manual_seed(1)
    diffusion = Diffusion(UNet(8, (1, 1, 1, 1, 1))).eval()
    labeller = DifFIQA(TinyRecogniser(), diffusion, DifFIQASettings(repeats=1, t=2))
    rng = np.random.default_rng(0)
    pair = rng.integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
    both = labeller.label(pair, ["x", "y"])
    alone = labeller.label(pair[1:], ["y"])
    assert both[1][0] == pytest.approx(alone[0][0], abs=1e-5)
    assert -1 <= both[0][0] <= 1
    assert labeller.label(pair[1:], ["z"])[0] != alone[0]


def test_diffusion_is_read_from_every_layout(tmp_path):
    diffusion = Diffusion(UNet(16, (1, 2)), timesteps=50)
    state = diffusion.state_dict()
    layouts = {
        "trainer": {"step": 7, "model": state, "opt": {}, "ema": {}, "scaler": None},
        "state": state,
        "unet": diffusion.model.state_dict(),
    }
    for name, content in layouts.items():
        torch.save(content, tmp_path / f"{name}.pt")
        read = load_diffusion(tmp_path / f"{name}.pt")
        assert (read.model.dim, read.model.multipliers) == (16, (1, 2))
        assert torch.equal(read.model.final_conv.weight, diffusion.model.final_conv.weight)
        assert read.timesteps == (1000 if name == "unet" else 50)
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "no.pt")
    with pytest.raises(ModelInvalid, match=r"diffusion UNet.*no\.pt"):
        load_diffusion(tmp_path / "no.pt")


@pytest.mark.parametrize("method", ["faceqan", "diffiqa"])
def test_bfloat16_ranks_much_alike_and_says_so(method):
    torch.manual_seed(1)
    diffusion = Diffusion(UNet(8, (1, 1, 1, 1, 1))).eval()
    pair = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3)).astype(np.uint8)
    scores = {}
    for autocast in ("none", "bfloat16"):
        labeller = (
            FaceQAN(TinyRecogniser(), FaceQANSettings(copies=2, steps=2, autocast=autocast))
            if method == "faceqan"
            else DifFIQA(TinyRecogniser(), diffusion, DifFIQASettings(repeats=1, t=2, autocast=autocast))
        )
        assert labeller.settings()["autocast"] == autocast
        scores[autocast] = [row[0] for row in labeller.label(pair, ["x", "y", "z"])]
    assert scores["none"] != scores["bfloat16"]
    assert scores["none"] == pytest.approx(scores["bfloat16"], abs=0.03)
