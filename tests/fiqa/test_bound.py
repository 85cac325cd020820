"""The estimator of a student's scores: it learns what a scorer says, and is shipped beside it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from facesieve.engines.models.bounds import BoundFacts, ScoreEstimator
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.zoo.fetch import digest
from facesieve.fiqa.bound import ScoreEstimate, fit, left_over, release, teach
from facesieve.stream.types import U8, Crop

WEIGHTS = Path(__file__).resolve().parents[2] / "engines/zoo/weights"


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quality network whose score is the chip's mean grey level over 64."""
    nodes = [
        helper.make_node("Cast", ["chips"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["quality"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("chips", TensorProto.UINT8, ["n", 112, 112, 3])],
        [helper.make_tensor_value_info("quality", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 64])],
    )
    path = tmp_path_factory.mktemp("scorer") / "grey.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def chips(count: int) -> U8:
    generator = np.random.default_rng(5)
    levels = generator.uniform(20, 235, (count, 1, 1, 3)) + generator.normal(0, 12, (count, 28, 28, 3))
    return np.clip(np.kron(levels, np.ones((1, 4, 4, 1))), 0, 255).astype(np.uint8)


def test_it_learns_the_scorer_and_ships_beside_it(scorer: Path, tmp_path: Path) -> None:
    taught = teach(scorer, chips(320), np.arange(320), tmp_path)
    assert taught.pixels.shape == (640, 56, 56, 3)
    # the first pass is of the chips as they are, whatever their order
    plain = taught.pixels[:320].reshape(320, -1).mean(1) / 64
    np.testing.assert_allclose(taught.scores[:320], plain, atol=0.01)
    assert not np.allclose(taught.pixels[320:], taught.pixels[:320])
    network = fit(taught, epochs=12)
    rest = left_over(network, taught)
    assert len(rest) == 32
    assert rest.std() < 0.5 * taught.scores.std()

    path = release(network, scorer, rest, quantile=0.8)
    facts = BoundFacts.beside(scorer, digest(scorer))
    assert facts is not None
    assert facts.margin == pytest.approx(np.quantile(rest, 0.8), abs=1e-3) or np.quantile(rest, 0.8) < 0
    box, points = np.zeros(4, np.float32), np.zeros((5, 2), np.float32)
    crops = [
        Crop(i, 0, 0.0, None, chip, None, (0, 0), box, points, 0.9, 40.0, 0.0)
        for i, chip in enumerate(chips(4))
    ]
    with ScoreEstimator(OpenVinoEngine(path, precision="fp32")) as estimator, torch.inference_mode():
        pixels = torch.from_numpy(np.stack([c.chip for c in crops])).permute(0, 3, 1, 2).float()
        expected = network(torch.nn.functional.avg_pool2d(pixels, 2)).numpy()
        np.testing.assert_allclose(estimator(crops), expected, atol=1e-4)


def test_the_shipped_bound_is_the_shipped_students() -> None:
    student = WEIGHTS / "facesieve-t.onnx"
    facts = BoundFacts.beside(student, digest(student))
    assert facts is not None, "the student was made anew: run python -m facesieve.fiqa.bound"
    assert 0 < facts.margin < 0.5
    assert facts.weights.stat().st_size < 400_000


def test_its_size() -> None:
    assert sum(weight.numel() for weight in ScoreEstimate().parameters()) == 73_105
