"""Thresholds are what was measured, and of the weights that it was measured on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facesieve.engines.zoo.fetch import digest
from facesieve.stream.errors import ConfigError, ModelInvalid
from facesieve.stream.identity.thresholds import LinkThresholds, VerificationTable

TABLE = VerificationTable((1e-2, 1e-3, 1e-4), (0.3, 0.5, 0.6), 0.1)
SHIPPED = Path(__file__).resolve().parents[3] / "engines/zoo/weights/facesieve-t.onnx"


@pytest.mark.parametrize(
    ("fmr", "threshold"),
    [(1e-2, 0.3), (1e-3, 0.5), (1e-4, 0.6), (10**-2.5, 0.4), (10**-3.5, 0.55)],
)
def test_between_measured_rates_it_is_linear_in_the_logarithm(fmr: float, threshold: float) -> None:
    assert TABLE.at(fmr) == pytest.approx(threshold)


@pytest.mark.parametrize("fmr", [1e-5, 0.1])
def test_beyond_what_was_measured_nothing_is_guessed(fmr: float) -> None:
    with pytest.raises(ConfigError, match=r"identity\.fmr.*measured from 0\.0001 to 0\.01"):
        TABLE.at(fmr)


def test_hysteresis_is_ten_times_the_rate_where_that_was_measured() -> None:
    assert TABLE.thresholds(1e-4) == LinkThresholds(0.6, 0.5, 0.1, 0.3)
    assert TABLE.thresholds(10**-2.5).stay == 0.3


@pytest.mark.parametrize(
    ("fmr", "threshold"),
    [
        ((1e-2,), (0.3,)),
        ((1e-3, 1e-2), (0.3, 0.5)),
        ((1e-2, 1e-3), (0.5, 0.3)),
        ((1e-2, 1e-3), (0.5, 1.3)),
        ((1e-2, 0.0), (0.5, 0.6)),
        ((1e-2, 1e-3), (0.3, 0.4, 0.5)),
    ],
)
def test_a_table_that_cannot_be_is_refused(fmr: tuple[float, ...], threshold: tuple[float, ...]) -> None:
    with pytest.raises(ModelInvalid, match="false match rates"):
        VerificationTable(fmr, threshold, 0.1)


def test_stay_above_join_is_refused() -> None:
    with pytest.raises(ConfigError, match="stay <= join"):
        LinkThresholds(0.5, 0.6)


def test_a_table_of_other_weights_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "own.onnx"
    assert VerificationTable.beside(model, "a" * 64) is None
    card = {
        "verification": {
            "model_sha256": "b" * 64,
            "fmr": [0.01, 0.001],
            "threshold": [0.3, 0.4],
            "min_quality": 0,
        }
    }
    model.with_suffix(".json").write_text(json.dumps(card))
    found = VerificationTable.beside(model, "b" * 64)
    assert found is not None
    assert found.at(0.001) == 0.4
    with pytest.raises(ModelInvalid, match=r"own\.json.*other weights"):
        VerificationTable.beside(model, "a" * 64)
    model.with_suffix(".json").write_text('{"verification": {"fmr": 3}}')
    with pytest.raises(ModelInvalid, match=r"own\.json: not a verification table"):
        VerificationTable.beside(model, "a" * 64)
    model.with_suffix(".json").write_text('{"name": "own"}')
    assert VerificationTable.beside(model, "a" * 64) is None


def test_the_shipped_student_has_a_table_of_its_own_weights() -> None:
    """Whoever trains it anew measures again: python -m facesieve.fiqa.linking."""
    table = VerificationTable.beside(SHIPPED, digest(SHIPPED))
    assert table is not None
    assert table.fmr[0] == 0.1, "where shots of one track begin to be doubted"
    assert table.fmr[-1] <= 1e-5, "the default rate"
    assert 0.05 < table.threshold[0] < table.threshold[-1] < 0.9
