"""The shipped facesieve-t.onnx: its interface, its invariances, and that worse pictures score worse."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest

from facesieve.fiqa.calibration import Calibration
from facesieve.fiqa.faces import aligned_chips, read_faces
from facesieve.stream.types import F32, U8

WEIGHTS = Path(__file__).resolve().parents[2] / "engines" / "zoo" / "weights" / "facesieve-t.onnx"


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(WEIGHTS), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def chips(shared: Path) -> U8:
    faces = read_faces(shared / "data" / "lfw-train")
    return aligned_chips(faces.take(np.arange(0, len(faces), len(faces) // 24)[:24]))


def _run(session: onnxruntime.InferenceSession, chips: U8) -> tuple[F32, F32]:
    quality, embedding = session.run(["quality", "embedding"], {"chips": chips})
    return quality, embedding


def test_card_names_this_file() -> None:
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert WEIGHTS.stat().st_size < 12_000_000


def test_standard_operators_only() -> None:
    model = onnx.load(WEIGHTS)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [(entry.domain, entry.version <= 20) for entry in model.opset_import] == [("", True)]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_any_batch(session: onnxruntime.InferenceSession, chips: U8, batch: int) -> None:
    quality, embedding = _run(session, chips[:batch])
    assert (quality.shape, quality.dtype) == ((batch,), np.float32)
    assert (embedding.shape, embedding.dtype) == ((batch, 128), np.float32)
    assert np.linalg.norm(embedding, axis=1) == pytest.approx(np.ones(batch), abs=1e-5)


def test_neighbours_in_the_batch_do_not_matter(session: onnxruntime.InferenceSession, chips: U8) -> None:
    quality, embedding = _run(session, chips[:8])
    order = np.random.default_rng(0).permutation(8)
    shuffled, moved = _run(session, chips[:8][order])
    alone = np.concatenate([_run(session, chip[None])[0] for chip in chips[:8]])
    assert shuffled == pytest.approx(quality[order], abs=1e-4)
    assert moved == pytest.approx(embedding[order], abs=1e-4)
    assert alone == pytest.approx(quality, abs=1e-4)


def test_mirror_image_scores_alike(session: onnxruntime.InferenceSession, chips: U8) -> None:
    quality, _ = _run(session, chips)
    mirrored, _ = _run(session, np.ascontiguousarray(chips[:, :, ::-1]))
    assert np.abs(quality - mirrored).mean() < 0.5 * quality.std()


def _blurred(chip: U8, amount: float) -> U8:
    return chip if amount == 0 else np.asarray(cv2.GaussianBlur(chip, (0, 0), amount), np.uint8)


def _shrunk(chip: U8, size: float) -> U8:
    small = cv2.resize(chip, (int(size), int(size)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (112, 112), interpolation=cv2.INTER_LINEAR), np.uint8)


def _noisy(chip: U8, sigma: float) -> U8:
    grain = np.random.default_rng(0).normal(0, sigma, chip.shape)
    return np.clip(chip + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("damage", "amounts"),
    [(_blurred, (0, 1.5, 3, 5, 8)), (_shrunk, (112, 40, 24, 16, 10)), (_noisy, (0, 15, 40, 80))],
)
def test_worse_pictures_score_worse(
    session: onnxruntime.InferenceSession, chips: U8, damage: object, amounts: tuple[float, ...]
) -> None:
    assert callable(damage)
    means = [_run(session, np.stack([damage(c, amount) for c in chips]))[0].mean() for amount in amounts]
    assert (np.diff(means) < 0).all(), means


def test_openvino_agrees_with_onnxruntime(session: onnxruntime.InferenceSession, chips: U8) -> None:
    quality, embedding = _run(session, chips[:8])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(str(WEIGHTS), "CPU", settings)
    outputs = compiled({"chips": chips[:8]})
    assert outputs["quality"] == pytest.approx(quality, abs=2e-3)
    assert outputs["embedding"] == pytest.approx(embedding, abs=1e-3)


def test_calibration_never_changes_the_order() -> None:
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())["calibration"]
    mapping = Calibration(tuple(card["raw"]), tuple(card["probability"]))
    assert (np.diff(mapping(np.linspace(-6, 6, 500))) > 0).all()
