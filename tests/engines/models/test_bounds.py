"""The estimator beside a quality network: when it is taken, and what it gives."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facesieve.engines.models.bounds import BoundFacts, ScoreEstimator
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.stream.errors import ModelInvalid
from facesieve.stream.types import Crop

CHIPS = np.random.default_rng(3).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
POINTS = np.zeros((5, 2), np.float32)
CROPS = [
    Crop(1, i, i / 25, None, chip, None, (0, 0), np.zeros(4, np.float32), POINTS, 0.9, 30.0, 0.0)
    for i, chip in enumerate(CHIPS)
]
WEIGHTS = Path(__file__).resolve().parents[3] / "engines/zoo/weights"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def beside(folder: Path, **changes: Any) -> Path:
    """A model x.onnx with a bound beside it."""
    model, weights = folder / "x.onnx", folder / "x-bound.onnx"
    model.write_bytes(b"a scorer")
    weights.write_bytes(b"an estimator")
    record = {
        "scorer_sha256": sha256(model), "sha256": sha256(weights), "margin": 0.25, "quantile": 0.8, **changes,
    }  # fmt: skip
    (folder / "x-bound.json").write_text(json.dumps(record))
    return model


def test_the_bound_of_this_very_model(tmp_path: Path) -> None:
    model = beside(tmp_path)
    facts = BoundFacts.beside(model, sha256(model))
    assert facts == BoundFacts(
        tmp_path / "x-bound.onnx", sha256(tmp_path / "x-bound.onnx"), sha256(model), 0.25, 0.8
    )


def test_no_bound_or_that_of_another_model_is_none(tmp_path: Path) -> None:
    assert BoundFacts.beside(tmp_path / "x.onnx", "0" * 64) is None
    model = beside(tmp_path)
    assert BoundFacts.beside(model, "0" * 64) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"margin": "wide"}, "not a bound"),
        ({"margin": -0.1}, "margin of 0 or more"),
        ({"margin": float("nan")}, "margin of 0 or more"),
        ({"sha256": "0" * 64}, "not the network that"),
    ],
)
def test_a_damaged_bound_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    model = beside(tmp_path, **changes)
    with pytest.raises(ModelInvalid, match=said):
        BoundFacts.beside(model, sha256(model))


def test_an_estimate_a_crop(student: Callable[..., bytes]) -> None:
    with ScoreEstimator(OpenVinoEngine(student(embedding=False), precision="fp32")) as estimate:
        np.testing.assert_allclose(estimate(CROPS), CHIPS.mean((1, 2, 3)), rtol=1e-5)
        assert estimate([]) == []


def test_another_graph_is_refused(affine: bytes) -> None:
    with pytest.raises(ModelInvalid, match="expected an estimator of chips"):
        ScoreEstimator(OpenVinoEngine(affine))
