"""A recogniser of the user's own: its batches, its pixels, and networks that are none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from facesieve.build import build_embedder
from facesieve.config import Config
from facesieve.engines import onnx_wire
from facesieve.engines.models.recognisers import FAMILIES, KNOWN, PIXELS, Family, OnnxEmbedder
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.zoo.fetch import digest
from facesieve.stream.errors import ConfigError, ModelInvalid
from facesieve.stream.geometry import ARCFACE_POINTS
from facesieve.stream.ports import Engine
from facesieve.stream.types import Crop


def crop(seed: int) -> Crop:
    chip = np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8)
    return Crop.of_chip(chip, ARCFACE_POINTS)


class MeanColours:
    """An engine whose embedding of a chip is its mean colour, times a factor."""

    def __init__(self, batch: int | None = None, factor: float = 1.0, dtype: type = np.uint8) -> None:
        self.inputs = {"chips": ((batch, 112, 112, 3), np.dtype(dtype))}
        self.outputs = {"embedding": ((batch, 3), np.dtype(np.float32))}
        self.batches: list[int] = []
        self._factor = factor
        self.closed = False

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.batches.append(len(feeds["chips"]))
        return {"embedding": (feeds["chips"].mean((1, 2)) * self._factor).astype(np.float32)}

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("batch", "batches"),
    [(None, [4, 4, 1]), (1, [1] * 9), (6, [6, 6])],  # the last of a fixed batch is filled up
)
def test_batches_change_nothing(batch: int | None, batches: list[int]) -> None:
    crops = [crop(seed) for seed in range(9)]
    engine = MeanColours(batch)
    embedder = OnnxEmbedder(engine, name="colours", max_batch=4)
    rows = embedder.embed(crops)
    assert engine.batches == batches
    wanted = np.array([c.chip.mean((0, 1)) for c in crops])
    np.testing.assert_allclose(rows, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), rtol=1e-5)
    assert embedder.embed([]).shape == (0, 0)
    embedder.close()
    assert engine.closed


@pytest.mark.parametrize("factor", [0.0, float("nan"), float("inf")])
def test_an_embedding_without_a_direction_is_refused(factor: float) -> None:
    embedder = OnnxEmbedder(MeanColours(factor=factor), name="colours")
    with pytest.raises(ModelInvalid, match="colours"), np.errstate(invalid="ignore"):
        embedder.embed([crop(0)])


def test_other_networks_are_refused() -> None:
    with pytest.raises(ModelInvalid, match="uint8"):
        OnnxEmbedder(MeanColours(dtype=np.float32), name="floats")
    two = MeanColours()
    two.outputs = {**two.outputs, "quality": ((None,), np.dtype(np.float32))}
    with pytest.raises(ModelInvalid, match="one output"):
        OnnxEmbedder(two, name="two")


def test_a_known_recogniser_gives_the_same_through_both_engines(shared: Path) -> None:
    path = shared / "models" / "mobilefacenet_foamliu.onnx"
    pixels = PIXELS[KNOWN[digest(path)]]
    engines: list[Engine] = [
        OnnxRuntimeEngine(path, pixels=pixels, threads=1),
        OpenVinoEngine(path, pixels=pixels, precision="fp32", threads=1),
    ]
    crops = [crop(seed) for seed in range(3)]
    first, second = (OnnxEmbedder(engine, name="foamliu").embed(crops) for engine in engines)
    assert first.shape == (3, 128)
    np.testing.assert_allclose((first * second).sum(1), 1, atol=1e-5)
    assert (first @ first.T)[0, 1] < 0.999  # and not the same of everything


@pytest.mark.parametrize("family", FAMILIES)
def test_published_recognisers_get_the_pixels_of_their_authors(
    mean_colour: bytes, tmp_path: Path, family: Family
) -> None:
    """A made-up graph of their interface: float RGB or BGR in, one embedding out; here the mean colours."""
    path = tmp_path / "published.onnx"
    path.write_bytes(onnx_wire.with_input_shapes(mean_colour, {"x": (None, 3, 112, 112)}))
    chip = np.empty((112, 112, 3), np.uint8)
    chip[:] = (250, 130, 20)
    wanted = (np.array([250, 130, 20]) - 127.5) / 127.5
    if family == "adaface":
        wanted = wanted[::-1]
    with closing(build_embedder(Config(), path, family)) as embedder:
        rows = embedder.embed([Crop.of_chip(chip, ARCFACE_POINTS)] * 3)
    np.testing.assert_allclose(rows, [wanted / np.linalg.norm(wanted)] * 3, atol=1e-5)
    with pytest.raises(ConfigError, match=r"one of imagenet, symmetric, .*adaface"):
        build_embedder(Config(), path)
