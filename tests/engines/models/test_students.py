"""OnnxScorer on graphs of known answers, in both engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from facesieve.engines.models.students import Calibration, OnnxScorer, scorer_name
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.signature import PixelInput
from facesieve.fiqa.calibration import Calibration as Fitted
from facesieve.stream.errors import EngineClosed, ModelInvalid
from facesieve.stream.ports import Engine
from facesieve.stream.types import Crop

RNG = np.random.default_rng(7)
CHIPS = RNG.integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
EYES = (10.0, 20.0, 30.0, 40.0, 50.0)
CROPS = [
    Crop(
        1, i, i / 25, None, CHIPS[i], None, (0, 0), np.zeros(4, np.float32), np.zeros((5, 2), np.float32),
        0.9, EYES[i], 0.0,
    )
    for i in range(5)
]  # fmt: skip
MEANS = CHIPS.mean((1, 2, 3))
NORMALISED = (MEANS / 255 - 0.5) / 0.5
ENGINES = [lambda model: OpenVinoEngine(model, precision="fp32"), OnnxRuntimeEngine]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("raw", "eyes"), [(False, False), (False, True), (True, False)])
def test_scores_and_embeddings(
    engine: Callable, student: Callable[..., bytes], raw: bool, eyes: bool
) -> None:
    with OnnxScorer(engine(student(raw=raw, eyes=eyes)), name="s@1") as scorer:
        quality = scorer.score(CROPS)
    expected = (NORMALISED if raw else MEANS) + (np.array(EYES) if eyes else 0)
    np.testing.assert_allclose([q.score for q in quality], expected, rtol=1e-4, atol=1e-5)
    assert {q.model for q in quality} == {"s@1"}
    assert all(q.calibrated is None for q in quality)
    for q, chip in zip(quality, CHIPS, strict=True):
        direction = chip.mean((0, 1))
        if not raw:
            np.testing.assert_allclose(q.embedding, direction / np.linalg.norm(direction), rtol=1e-4)
        assert np.linalg.norm(q.embedding) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("max_batch", [1, 2, 5, 32])
def test_lists_are_split(student: Callable[..., bytes], max_batch: int) -> None:
    with OnnxScorer(OpenVinoEngine(student(), precision="fp32"), name="s", max_batch=max_batch) as scorer:
        np.testing.assert_allclose([q.score for q in scorer.score(CROPS)], MEANS, rtol=1e-5)
        assert scorer.score([]) == []


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_fixed_batch_is_filled_up(student: Callable[..., bytes], batch: int) -> None:
    with OnnxScorer(OnnxRuntimeEngine(student(batch=batch, eyes=True)), name="s") as scorer:
        scores = [q.score for q in scorer.score(CROPS)]
    np.testing.assert_allclose(scores, MEANS + np.array(EYES), rtol=1e-5)


def test_authors_graph_with_normalisation_compiled_in(student: Callable[..., bytes]) -> None:
    engine = OpenVinoEngine(student(raw=True, embedding=False), pixels=OnnxScorer.PIXELS, precision="fp32")
    with OnnxScorer(engine, name="s") as scorer:
        quality = scorer.score(CROPS)
    np.testing.assert_allclose([q.score for q in quality], NORMALISED, atol=1e-5)
    assert quality[0].embedding is None


@pytest.mark.parametrize("engine", [OpenVinoEngine, OnnxRuntimeEngine])
@pytest.mark.parametrize("pixels", [OnnxScorer.PIXELS, None])
def test_a_batch_of_one_baked_into_the_graph(
    engine: Callable[..., Engine], student: Callable[..., bytes], pixels: PixelInput | None
) -> None:
    model = student(raw=True, embedding=False, baked=True, batch=1)
    with OnnxScorer(engine(model, pixels=pixels), name="s") as scorer:
        scores = [q.score for q in scorer.score(CROPS)]
    np.testing.assert_allclose(scores, NORMALISED, atol=0.01)  # OpenVINO may choose bf16


def test_earlier_embeddings_survive_the_next_call(student: Callable[..., bytes]) -> None:
    with OnnxScorer(OpenVinoEngine(student(), precision="fp32"), name="s") as scorer:
        first = scorer.score(CROPS[:1])[0].embedding.copy()
        kept = scorer.score(CROPS[:1])[0].embedding
        scorer.score(CROPS[1:])
        np.testing.assert_array_equal(kept, first)


def test_not_numbers_are_refused(student: Callable[..., bytes]) -> None:
    with (
        OnnxScorer(OpenVinoEngine(student(nan=True)), name="bad@2") as scorer,
        pytest.raises(ModelInvalid, match=r"bad@2: .* not numbers"),
    ):
        scorer.score(CROPS)


def test_graphs_of_another_shape_are_refused(affine: bytes, mean_colour: bytes) -> None:
    with pytest.raises(ModelInvalid, match=r"expected chips .* got 'x' \(\?, 3\) float32"):
        OnnxScorer(OpenVinoEngine(affine), name="s")
    with pytest.raises(ModelInvalid, match="expected chips"):
        OnnxScorer(OpenVinoEngine(mean_colour), name="s")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_only_output_wider_than_it_says_is_no_quality(engine: Callable) -> None:
    """A recogniser whose graph leaves the embedding's width open: its numbers are not scores."""
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 112, 112])
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["input"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "none"], ["zero"]),
        helper.make_node("Add", ["zero", "two"], ["width"]),
        helper.make_node("Cast", ["width"], ["end"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["end", "first"], ["ends"]),
        helper.make_node("Slice", ["means", "first", "ends", "second"], ["embedding"]),
    ]
    constants = {"none": np.float32(0), "two": np.float32(2), "first": np.int64([0]), "second": np.int64([1])}
    graph = helper.make_graph(
        nodes,
        "open",
        [image],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", "w"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with (
        OnnxScorer(engine(model.SerializeToString()), name="s@1") as scorer,
        pytest.raises(ModelInvalid, match=r"s@1: expected one score a chip, got \(5, 2\) for 5 chips"),
    ):
        scorer.score(CROPS)


def test_closed(student: Callable[..., bytes]) -> None:
    scorer = OnnxScorer(OpenVinoEngine(student()), name="s")
    scorer.close()
    scorer.close()
    with pytest.raises(EngineClosed):
        scorer.score(CROPS)


def test_name_holds_the_hash(tmp_path: Path) -> None:
    model = tmp_path / "facesieve-t.onnx"
    model.write_bytes(b"abc")
    assert scorer_name(model) == "facesieve-t@ba7816bf"
    assert scorer_name(model, "other") == "other@ba7816bf"


def test_calibration_beside_the_model(student: Callable[..., bytes], tmp_path: Path) -> None:
    model = tmp_path / "s.onnx"
    assert Calibration.beside(model) is None
    model.with_suffix(".json").write_text("{}")
    assert Calibration.beside(model) is None
    knots = {"calibration": {"raw": [0, 100, 200], "probability": [0, 0.2, 1]}}
    model.with_suffix(".json").write_text(json.dumps(knots))
    calibration = Calibration.beside(model)
    assert [calibration(x) for x in (-5, 50, 150, 300)] == pytest.approx([0, 0.1, 0.6, 1])
    with OnnxScorer(OpenVinoEngine(student()), name="s", calibration=calibration) as scorer:
        for q in scorer.score(CROPS):
            assert q.calibrated == pytest.approx(calibration(q.score))


def test_calibration_keeps_order_beyond_its_knots() -> None:
    calibration = Calibration((0.0, 2.0), (0.2, 0.8))
    scores = [-3.0, -1.0, 0.0, 1.0, 2.0, 2.5, 6.0]
    probabilities = [calibration(score) for score in scores]
    assert all(0 < p < 1 for p in probabilities)
    assert probabilities == sorted(set(probabilities))
    assert calibration(-1.0) == pytest.approx(0.2 * np.exp(-1))
    assert calibration(3.0) == pytest.approx(1 - 0.2 * np.exp(-1))
    assert [calibration.least_raw(p) for p in probabilities] == pytest.approx(scores)


def test_least_raw_where_all_or_none_reach() -> None:
    calibration = Calibration((0.0, 2.0), (0.2, 0.8))
    assert calibration.least_raw(0.0) == -np.inf
    assert calibration.least_raw(1.0) == np.inf


def test_calibration_tails_are_those_of_the_fit() -> None:
    fitted = Fitted((0.0, 1.0, 2.0), (0.2, 0.5, 0.8))
    scores = np.linspace(-4, 6, 41)
    served = Calibration(fitted.raw, fitted.probability)
    assert [served(float(score)) for score in scores] == pytest.approx(fitted(scores).tolist())


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"calibration": {"raw": [0, 1]}}',
        '{"calibration": {"raw": [0], "probability": [0]}}',
        '{"calibration": {"raw": [1, 0], "probability": [0, 1]}}',
        '{"calibration": {"raw": [0, 1], "probability": [1, 0]}}',
        '{"calibration": {"raw": [0, 1], "probability": [0, 2]}}',
        '{"calibration": {"raw": [0, NaN], "probability": [0, 1]}}',
        '{"calibration": {"raw": ["a", "b"], "probability": [0, 1]}}',
        "[]",
    ],
)
def test_calibration_that_cannot_be_used(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ModelInvalid, match=r"s\.json: not a calibration"):
        Calibration.beside(tmp_path / "s.onnx")
