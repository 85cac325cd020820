"""Trainers on tiny data: they learn, and a stopped run ends where an unbroken one does."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from facesieve.fiqa.checkpoints import read_checkpoint
from facesieve.fiqa.diffiqa import Diffusion, UNet
from facesieve.fiqa.diffiqa.training import train_diffusion
from facesieve.fiqa.distill.data import batches, batches_per_epoch, read_labels, read_training_faces
from facesieve.fiqa.distill.recipes import (
    AIKDRecipe,
    DifFIQARRecipe,
    DiffusionRecipe,
    EDifFIQARecipe,
    read_recipe,
)
from facesieve.fiqa.distill.student_training import build_optimiser, prepare, steps_of, train_student
from facesieve.fiqa.networks import AIKD, DifFIQAR, EDifFIQA
from facesieve.stream.errors import ConfigError, OutputExists, SourceUnreadable

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


class TinyBackbone(nn.Module):
    """(n, 3, 112, 112) → (n, 8), with batch norm as the real ones have."""

    embedding_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 7, stride=8)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 14 * 14, 8)

    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.conv(x))).flatten(1))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def faces(tmp_path):
    """24 chips of 3 people, labelled by their brightness."""
    folder = tmp_path / "faces"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows, labels = ["file,identity"], ["file,score,model"]
    for i in range(24):
        image = np.clip(rng.normal(40 + 7 * i, 20, (112, 112, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), image)
        rows.append(f"{i}.png,person{i % 3}")
        labels.append(f"{i}.png,{i / 30 + 0.1:.4f},t" if i != 5 else "5.png,,t")
    (folder / "faces.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "labels.csv").write_text("\n".join(labels) + "\n")
    return read_training_faces([folder], [tmp_path / "labels.csv"])


TEACHER = np.random.default_rng(1).normal(size=(23, 8)).astype(np.float32)

RUNS = {
    "ediffiqa": (
        EDifFIQARecipe(batch_size=8, epochs=3, fewest_images=1, high_quality_share=0.5, checkpoint_every=1),
        EDifFIQA,
    ),
    "diffiqa-r": (DifFIQARRecipe(batch_size=8, epochs=3, checkpoint_every=2), DifFIQAR),
    "aikd": (AIKDRecipe(batch_size=3, epochs=2, validation_share=0.1, validate_every=0.2), AIKD),
}


def start(kind):
    torch.manual_seed(3)
    return kind(TinyBackbone())


@pytest.mark.parametrize("method", RUNS)
def test_a_stopped_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, faces, method):
    recipe, kind = RUNS[method]
    lesson = prepare(recipe, faces, TEACHER)
    whole = train_student(recipe, lesson, tmp_path / "whole", start(kind))
    train_student(recipe, lesson, tmp_path / "cut", start(kind), stop_after=3)
    torch.manual_seed(99)
    cut = train_student(recipe, lesson, tmp_path / "cut", kind(TinyBackbone()))
    assert whole.step == cut.step > 3
    assert (whole.resumed, cut.resumed) == (0, 3)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, cut.network.state_dict()[name]), name
    assert whole.curve == cut.curve
    assert (tmp_path / "whole" / "curve.csv").read_bytes() == (tmp_path / "cut" / "curve.csv").read_bytes()
    best, again = (read_checkpoint(tmp_path / side / "best.pth") for side in ("whole", "cut"))
    assert all(torch.equal(best[name], again[name]) for name in best)
    assert (tmp_path / "cut" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_is_told_to_stop_is_saved_at_that_step(tmp_path, faces):
    recipe = DifFIQARRecipe(batch_size=8, epochs=3, checkpoint_every=1000)
    answers = iter([False, True])
    lesson = prepare(recipe, faces, None)
    run = train_student(recipe, lesson, tmp_path, start(DifFIQAR), stop=lambda: next(answers))
    assert run.step == 2 < steps_of(recipe, lesson)
    assert read_checkpoint(tmp_path / "checkpoint.pt")["step"] == 2


def test_it_learns(tmp_path, faces):
    recipe = DifFIQARRecipe(batch_size=8, epochs=40, checkpoint_every=1000, trained_tensors="all")
    run = train_student(recipe, prepare(recipe, faces, None), tmp_path, start(DifFIQAR))
    losses = [row["validation_loss"] for row in run.curve if "validation_loss" in row]
    assert len(losses) == 40
    assert run.best == min(losses) < 0.6 * losses[0]


def test_another_recipe_does_not_resume(tmp_path, faces):
    recipe, kind = RUNS["diffiqa-r"]
    lesson = prepare(recipe, faces, None)
    train_student(recipe, lesson, tmp_path, start(kind), stop_after=1)
    other = recipe.model_copy(update={"seed": 1})
    with pytest.raises(OutputExists, match=rf"same recipe to resume, got seed {recipe.seed} \(now 1\): "):
        train_student(other, lesson, tmp_path, start(kind))
    relabelled = dataclasses.replace(lesson, labels=lesson.labels + 1)
    with pytest.raises(OutputExists, match="same faces, labels"):
        train_student(recipe, relabelled, tmp_path, start(kind))


def test_labels_are_what_the_method_wants(faces):
    raw = faces.labels
    assert len(raw) == 23  # the row without a score is left out
    aikd = prepare(RUNS["aikd"][0], faces, TEACHER)
    np.testing.assert_allclose(aikd.labels, raw, rtol=1e-6)
    reduced = prepare(RUNS["diffiqa-r"][0], faces, None)
    assert (reduced.labels.min(), reduced.labels.max()) == (0, 1)
    ediffiqa = prepare(RUNS["ediffiqa"][0], faces, TEACHER)
    good = raw >= np.sort(raw)[::-1][int(0.5 * 23)]
    own = faces.identities == faces.identities[0]
    np.testing.assert_allclose(ediffiqa.centres[0], TEACHER[own & good].mean(0), rtol=1e-5)
    for lesson in (aikd, reduced, ediffiqa):
        assert not set(lesson.train) & set(lesson.validation)
        assert len(lesson.train) + len(lesson.validation) == 23


def test_missing_teacher_and_centres_are_errors(faces):
    with pytest.raises(ConfigError, match="teacher's embedding for each of 23"):
        prepare(EDifFIQARecipe(), faces, None)
    with pytest.raises(ConfigError, match="fewest_images"):
        prepare(EDifFIQARecipe(), faces, TEACHER)
    recipe, kind = RUNS["aikd"]
    with pytest.raises(ConfigError, match="width 8, got 5"):
        train_student(recipe, prepare(recipe, faces, TEACHER[:, :5]), Path("nowhere"), start(kind))


def test_optimiser_groups_are_the_papers():
    student = start(EDifFIQA)
    head, backbone = build_optimiser(EDifFIQARecipe(trained_tensors=2), student).param_groups
    assert (head["lr"], backbone["lr"]) == (1e-3, 1e-4)
    assert [p.shape for p in backbone["params"]] == [(8, 784), (8,)]
    assert not student.base_model.conv.weight.requires_grad
    head, backbone = build_optimiser(AIKDRecipe(), start(AIKD)).param_groups
    assert (head["momentum"], head["weight_decay"], head["lr"]) == (0.9, 5e-4, 0.05)
    assert (backbone["momentum"], backbone["weight_decay"], backbone["lr"]) == (0.1, 0, 0.05)


def test_diffusion_resumes_to_identical_weights(tmp_path, faces):
    recipe = DiffusionRecipe(
        dim=8,
        multipliers=(1, 1, 1, 2),
        batch_size=1,
        accumulate=2,
        steps=2,
        average_every=1,
        checkpoint_every=1,
    )
    whole = train_diffusion(recipe, faces, tmp_path / "whole")
    train_diffusion(recipe, faces, tmp_path / "cut", stop_after=1)
    cut = train_diffusion(recipe, faces, tmp_path / "cut")
    saved = read_checkpoint(tmp_path / "cut" / "checkpoint.pt")
    assert saved["step"] == whole.step == 2
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, saved["model"][name]), name
    assert set(saved) >= {"step", "model", "opt", "ema", "scaler"}
    assert not torch.equal(saved["ema"]["model.init_conv.weight"], saved["model"]["model.init_conv.weight"])
    Diffusion(UNet(8, (1, 1, 1, 2))).load_state_dict(saved["model"])
    assert whole.average.state.keys() == cut.average.state.keys()


def test_batches_see_every_row_once_an_epoch():
    rows = np.arange(100, 117)
    seen = [row for batch in batches(rows, 4, 0, 0) for row in batch.tolist()]
    assert len(set(seen)) == len(seen) == 16  # the last batch of one is left out
    assert batches_per_epoch(17, 4) == 4
    assert batches_per_epoch(18, 4) == 5
    assert seen != [row for batch in batches(rows, 4, 0, 1) for row in batch.tolist()]


def test_jittered_chips_move_with_the_landmarks(faces):
    plain = faces.chips([2, 3])
    still = faces.chips([2, 3], np.zeros((2, 5, 2)))
    np.testing.assert_array_equal(plain, still)
    moved = faces.chips([2, 3], np.full((2, 5, 2), 4.0))
    np.testing.assert_array_equal(moved[:, :100, :100], plain[:, 4:104, 4:104])


def test_bad_labels_are_named(tmp_path):
    (tmp_path / "l.csv").write_text("file,score\na,nan\n")
    with pytest.raises(SourceUnreadable, match=r"finite.*l\.csv"):
        read_labels(tmp_path / "l.csv")
    (tmp_path / "l.csv").write_text("file,quality\na,1\n")
    with pytest.raises(SourceUnreadable, match="columns file and score"):
        read_labels(tmp_path / "l.csv")


@pytest.mark.parametrize("name", ["ediffiqa", "aikd", "diffiqa-r", "diffusion"])
def test_recipes_state_the_papers_values(name):
    """Each file spells out every default, so that a reader sees them and a changed default shows."""
    recipe = read_recipe(CONFIGS / f"{name}.toml")
    assert recipe.method == name
    assert recipe == type(recipe)()
    assert recipe.model_fields_set == set(type(recipe).model_fields)


@pytest.mark.parametrize(
    ("name", "kind"), [("ediffiqa-s", EDifFIQARecipe), ("diffusion-small", DiffusionRecipe)]
)
def test_our_recipes_state_every_value_that_there_is(name, kind):
    recipe = read_recipe(CONFIGS / f"{name}.toml")
    assert isinstance(recipe, kind)
    assert recipe.model_fields_set == set(kind.model_fields)


def test_unknown_keys_are_refused_with_the_nearest(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('method = "aikd"\njiter_px = 2\n')
    with pytest.raises(ConfigError, match=r"jiter_px.*jitter_px.*r\.toml"):
        read_recipe(path)
    path.write_text('method = "magic"\n')
    with pytest.raises(ConfigError, match="ediffiqa"):
        read_recipe(path)


def test_curve_has_a_row_per_step_of_which_something_is_known(tmp_path, faces):
    recipe = DifFIQARRecipe(batch_size=8, epochs=2)
    train_student(recipe, prepare(recipe, faces, None), tmp_path, start(DifFIQAR))
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6"]
    assert [bool(row["training_loss"]) for row in rows] == [False, True]  # every tenth step and the last
    assert all(float(row["validation_loss"]) > 0 for row in rows)
