"""The embedding read out of all levels: what it recovers, and that nothing else of the student changes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from facesieve.fiqa.student import __main__ as command
from facesieve.fiqa.student.footage import FOOTAGE
from facesieve.fiqa.student.head import student_of
from facesieve.fiqa.student.network import Student
from facesieve.fiqa.student.readout import fit_readout, unit_rows, with_readout
from facesieve.fiqa.student.recipe import Readout
from facesieve.stream.errors import ConfigError
from facesieve.stream.types import F32

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "engines" / "zoo" / "weights" / "facesieve-t.onnx"
RNG = np.random.default_rng(5)


def _random(*shape: int) -> F32:
    return RNG.standard_normal(shape).astype(np.float32)


def _chips(count: int) -> torch.Tensor:
    return torch.from_numpy(RNG.integers(0, 256, (count, 112, 112, 3), dtype=np.uint8))


def test_a_teacher_that_is_linear_in_the_means_is_recovered() -> None:
    features = _random(900, 160) * RNG.uniform(0.1, 4, 160).astype(np.float32) + 3
    teacher = unit_rows((features - 3) @ _random(160, 20))
    own = unit_rows(_random(900, 128))  # says nothing
    rows = np.arange(600)
    settings = Readout(shares={"teacher": 1.0}, own_share=0.01, decay=1e-4)
    weight, bias = fit_readout(features, {"teacher": teacher}, own, rows, settings)
    found = unit_rows(features @ weight.T + bias)
    unseen = np.arange(600, 900)
    one, other = found[unseen] @ found[unseen].T, teacher[unseen] @ teacher[unseen].T
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.95


def test_only_rows_to_learn_from_count() -> None:
    features, own = _random(500, 140), unit_rows(_random(500, 128))
    teacher = unit_rows(_random(500, 32))
    rows = np.arange(0, 400)
    settings = Readout(shares={"teacher": 1.0})
    first = fit_readout(features, {"teacher": teacher}, own, rows, settings)
    others = teacher.copy()
    others[400:] = unit_rows(_random(100, 32))
    second = fit_readout(features, {"teacher": others}, own, rows, settings)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)


def test_quality_stays_bit_for_bit() -> None:
    torch.manual_seed(0)
    student, chips = Student().eval(), _chips(3)
    wide = with_readout(student, _random(128, 736), _random(128))
    with torch.inference_mode():
        (before, old), (after, new) = student(chips), wide(chips)
    assert torch.equal(before, after)
    assert not torch.allclose(old, new, atol=0.1)
    assert torch.linalg.vector_norm(new, dim=1).numpy() == pytest.approx(np.ones(3), abs=1e-5)


def test_reading_the_last_level_alone_is_a_special_case() -> None:
    torch.manual_seed(0)
    student, chips = Student().eval(), _chips(2)
    weight = np.zeros((128, 736), np.float32)
    weight[:, -256:] = student.fc.weight.detach().numpy()
    wide = with_readout(student, weight, student.fc.bias.detach().numpy())
    with torch.inference_mode():
        assert wide(chips)[1].numpy() == pytest.approx(student(chips)[1].numpy(), abs=1e-5)


def test_of_the_shipped_student_too_only_the_embedding_changes() -> None:
    student, chips = student_of(WEIGHTS), _chips(2)
    wide = with_readout(student, _random(128, 736), _random(128))
    with torch.inference_mode():
        assert torch.equal(student(chips)[0], wide(chips)[0])


def test_too_few_chips_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected 384 chips or more"):
        fit_readout(_random(300, 9), {}, _random(300, 128), np.arange(300), Readout())


def _write_material(folder: Path, people: int, sources: int, versions: list[int]) -> None:
    """What prepare and embed leave: random chips, and embeddings that are a little alike within a person."""
    folder.mkdir()
    version = np.tile(np.array(versions, np.int8), people * sources)
    source = np.repeat(np.arange(people * sources, dtype=np.int32), len(versions))
    identity = source // sources
    eyes = np.full(len(source), 40, np.float32)
    np.savez(folder / "versions.npz", source=source, version=version, identity=identity, eyes_px=eyes)
    np.save(folder / "chips.npy", _chips(len(source)).numpy())
    for name in ("foamliu", "dlib"):
        vectors = np.random.default_rng(3).standard_normal((people, 128))[identity]
        rows = [unit_rows((vectors + 3 * _random(len(source), 128)).astype(np.float32)) for _ in range(2)]
        np.save(folder / f"{name}.npy", np.stack(rows).astype(np.float16))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of torch's exporter
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in (".onnx", ".json", "-bound.json"):
        shutil.copy(WEIGHTS.with_name(f"facesieve-t{suffix}"), tmp_path)
    _write_material(tmp_path / "data", 30, 4, [0, 1, 2])
    _write_material(tmp_path / "tracks", 30, 4, [FOOTAGE])
    weights, recipe = tmp_path / "facesieve-t.onnx", ROOT / "configs" / "facesieve-t.toml"
    places = [
        "--data",
        str(tmp_path / "data"),
        "--tracks",
        str(tmp_path / "tracks"),
        "--weights",
        str(weights),
    ]
    monkeypatch.setattr("sys.argv", ["student", "readout", str(recipe), *places])
    assert command.main() == 0
    chips = _chips(2)
    with torch.inference_mode():
        (before, old), (after, new) = (student_of(path)(chips) for path in (WEIGHTS, weights))
    assert torch.equal(before, after)
    assert not torch.allclose(old, new, atol=0.1)
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert "verification" not in card  # of the old embedding
    bound = json.loads((tmp_path / "facesieve-t-bound.json").read_text())
    assert bound["scorer_sha256"] == card["sha256"]  # same scores, same bound
