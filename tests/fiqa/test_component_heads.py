"""The small heads behind the components: what they are trained on, that they learn, that they export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from facesieve.fiqa.eyes.labels import Eyes
from facesieve.fiqa.eyes.network import EyeHead
from facesieve.fiqa.eyes.train import Recipe as EyeRecipe
from facesieve.fiqa.eyes.train import chances, framed
from facesieve.fiqa.eyes.train import train as train_eyes
from facesieve.fiqa.occlusion.export import export_head
from facesieve.fiqa.occlusion.network import OcclusionHead
from facesieve.fiqa.occlusion.occluders import KINDS, Kind, Surfaces, cast_shadow, occlude, spectacles
from facesieve.fiqa.occlusion.samples import MAP_PX, Chips, is_held_out, sample
from facesieve.fiqa.occlusion.train import Recipe, read_recipe, train
from facesieve.stream.components.regions import chip_regions
from facesieve.stream.errors import ConfigError
from facesieve.stream.geometry import ARCFACE_POINTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def surfaces() -> Surfaces:
    generator = np.random.default_rng(3)
    textures = generator.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    return Surfaces(textures, np.full((4, 24, 24, 3), (190, 140, 120), np.uint8))


def test_regions_lie_on_the_face() -> None:
    eyes, mouth, face = chip_regions()
    for x, y in ARCFACE_POINTS[:2].round().astype(int):
        assert eyes[y, x] == face[y, x] == 1
    for x, y in ARCFACE_POINTS[3:].round().astype(int):
        assert mouth[y, x] > 0.9
    assert (eyes * mouth).max() == 0
    assert face[:30].max() == 0, "a fringe covers nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_change_where_something_covers_them(kind: Kind, surfaces: Surfaces) -> None:
    chip = np.full((112, 112, 3), (120, 200, 90), np.uint8)
    covered = []
    for seed in range(12):
        image, cover = occlude(chip, kind, surfaces, np.random.default_rng(seed))
        assert image.shape == chip.shape
        assert image.dtype == np.uint8
        assert cover.shape == (112, 112)
        assert 0 <= cover.min() <= cover.max() <= 1
        assert (image[cover == 0] <= chip[cover == 0]).all(), "beside it there is at most its shadow"
        if (cover > 0.95).any():
            assert np.abs(image[cover > 0.95].astype(int) - chip[0, 0]).max() > 10
        covered.append(float((cover * chip_regions()[2]).sum() / chip_regions()[2].sum()))
        again, _ = occlude(chip, kind, surfaces, np.random.default_rng(seed))
        assert (again == image).all()
    assert np.mean(covered) > 0.03


def test_shadows_and_spectacles_cover_little(surfaces: Surfaces) -> None:
    chip = np.full((112, 112, 3), 180, np.uint8)
    generator = np.random.default_rng(0)
    assert (cast_shadow(chip, generator) <= 180).all()
    changed = (spectacles(chip, generator) != 180).any(2)
    assert 0.005 < changed.mean() < 0.15
    _, cover = sample(chip, surfaces, generator, KINDS, free=1.0)
    assert cover.shape == (MAP_PX, MAP_PX)
    assert cover.max() == 0


def test_people_are_held_out_by_name() -> None:
    names = [f"person {i}" for i in range(2000)]
    held = [is_held_out(name, 0.1) for name in names]
    assert held == [is_held_out(name, 0.1) for name in names]
    assert 0.07 < np.mean(held) < 0.13


def test_training_goes_on_from_its_checkpoint(surfaces: Surfaces, tmp_path: Path) -> None:
    chips = np.random.default_rng(0).integers(60, 200, (12, 112, 112, 3), dtype=np.uint8)
    data = Chips(chips, np.arange(12) >= 8, [surfaces, surfaces])
    recipe = Recipe(steps=6, batch=4, warm_up_steps=2, width=4, suspect_from=2.0)
    whole = train(data, recipe, tmp_path / "whole.pt")
    assert train(data, recipe, tmp_path / "parts.pt", seconds=0) is None
    parts = None
    while parts is None:
        parts = train(data, recipe, tmp_path / "parts.pt", seconds=0)
    assert whole is not None
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, msg=name)


def test_eyes_are_learnt() -> None:
    """A dark bar on skin whose height is the opening."""
    generator = np.random.default_rng(0)
    openings = generator.uniform(0.1, 0.5, 120).astype(np.float32)
    patches = np.full((120, 48, 48, 3), 170, np.uint8)
    for patch, opening in zip(patches, openings, strict=True):
        half = max(1, round(opening * 14))
        patch[24 - half : 24 + half, 17:31] = 30
    eyes = Eyes(patches, openings, np.arange(120) >= 100)
    head = train_eyes(eyes, EyeRecipe(steps=150, batch=32, width=6, rate=5e-3))
    seen = np.stack([framed(patch, None) for patch in patches[100:]])
    with torch.no_grad():
        found = head(torch.from_numpy(seen)).numpy()
    assert np.corrcoef(found, openings[100:])[0, 1] > 0.8


def test_rare_openings_are_drawn_more_often() -> None:
    openings = np.array([0.1] + [0.37] * 99)
    even, plain = chances(openings, 1.0), chances(openings, 0.0)
    assert even[0] == pytest.approx(0.5)
    assert plain[0] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("head", "size", "output", "shape"),
    [(OcclusionHead(4), (112, 112), "covered", (3, 3)), (EyeHead(4), (32, 32), "opening", (3,))],
    ids=["occlusion", "eyes"],
)
@pytest.mark.filterwarnings("ignore")  # of the exporter's own deprecations
def test_the_exported_graph_computes_the_same(
    tmp_path: Path, head: torch.nn.Module, size: tuple[int, int], output: str, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "head.onnx"
    export_head(head, size, "pixels", output, path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    (found,) = onnxruntime.InferenceSession(str(path)).run([output], {"pixels": pixels})
    assert found.shape == shape
    with torch.no_grad():
        assert found == pytest.approx(head.eval()(torch.from_numpy(pixels)).numpy(), abs=5e-3)


def test_shipped_heads_say_how_well_they_do() -> None:
    weights = ROOT / "engines/zoo/weights"
    eyes = json.loads((weights / "eye-opening.json").read_text())["held_out"]
    assert eyes["auc"] > 0.95
    cover = json.loads((weights / "occlusion.json").read_text())["held_out"]
    assert max(row["face_error"] for row in cover.values()) < 0.08
    for name in ("eye-opening", "occlusion"):
        assert (weights / f"{name}.onnx").stat().st_size < 300_000


def test_a_recipe_with_a_typing_error(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("stepps = 3")
    with pytest.raises(ConfigError, match="stepps"):
        read_recipe(path)
    assert read_recipe(ROOT / "configs/occlusion.toml").held_out == 0.1
