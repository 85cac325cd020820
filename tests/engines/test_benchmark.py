"""The engine benchmark: a run that is cut off goes on where it stopped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from engine_journal import Journal  # noqa: E402
from engine_report import compared, markdown, targets  # noqa: E402


def options(fresh: bool = False, **chosen: object) -> argparse.Namespace:
    return argparse.Namespace(shared=Path("shared"), out=Path("out"), fresh=fresh, **chosen)


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    first = Journal(tmp_path, options(rounds=5))
    first.add("a", [{"ms": 1.0}], {"fp32": 2.0})
    first.add("b", [{"ms": 3.0}], {"fp32": 2.5})
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text() + '{"network": "c", "ro')  # killed while it wrote
    second = Journal(tmp_path, options(rounds=5))
    assert [second.has(name) for name in "abc"] == [True, True, False]
    assert second.done[1] == {"network": "b", "rows": [{"ms": 3.0}], "rates": {"fp32": 2.5}}
    assert not Journal(tmp_path, options(rounds=3)).has("a")
    assert not Journal(tmp_path, options(fresh=True, rounds=5)).has("a")
    second.add("c", [], {})
    assert [Journal(tmp_path, options(rounds=5)).has(name) for name in "abc"] == [True] * 3
    second.close()
    assert list(tmp_path.iterdir()) == []


def row(engine: str, graph: str, batch: int, ms: float, gate: str = "") -> dict[str, object]:
    names = {"model": "ediffiqa-t", "size": [112, 112], "engine": engine, "graph": graph}
    return {**names, "arithmetic": "fp32", "batch": batch, "ms": ms, "mmacs": 100.0, "gate": gate}


def test_a_target_counts_no_graph_that_the_gate_refused() -> None:
    rows = [
        row("onnxruntime", "fp32", 1, 8.0),
        row("onnxruntime", "fp32", 8, 6.0),
        row("openvino", "int8", 8, 1.0, "refused: it ranks otherwise"),
        row("openvino", "bf16", 8, 1.5, "passed"),
    ]
    rates = {"fp32": 1e11, "bf16": 4e11, "int8": 8e11}
    compared(rows, rates)
    (target,) = [t for t in targets(rows) if t["target"].startswith("ediffiqa-t")]
    assert (target["got"], target["reached"]) == (
        pytest.approx(4.0),
        True,
    )  # 6.0 / 1.5: the lesser of the two
    assert rows[3]["floor_ms"] == pytest.approx(1.0)
    record = {"machine": "m", "threads": 1, "load_average": 0.0, "gmacs": rates, "rows": rows}
    told = markdown({**record, "targets": targets(rows)})
    assert "- ediffiqa-t int8: refused: it ranks otherwise" in told
    line = next(line for line in told.splitlines() if line.startswith("| ediffiqa-t 112×112, batch 8, int8"))
    # 100 million multiply-accumulates at 1e11 a second are a millisecond.
    assert line.endswith("| 6.00 | openvino bf16 | 1.50 | **4.00** (≥ 3) | 1.00 |")
    assert "| yunet-n 640×352, batch 1, int8 or bf16 | | not measured | | (≥ 2) | |" in told
