"""benchmarks/engines_gpu.py on the machine that answers in a GPU's place: all of it but the figures."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "engines_gpu.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("engines_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "engines_gpu", module)  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    for name, value in {"BATCHES": (1, 3), "LEAST_S": 0.0, "LEAST_RUNS": 2, "WARM_UP_RUNS": 1}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_one_command_prints_the_table(
    machine: Any, benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--work", str(tmp_path / "work"), "--results", str(tmp_path)]
    assert benchmark.main([*folders, "--students"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("NVIDIA Test A (compute capability 8.6), TensorRT 11.")
    assert "| facesieve-t | TensorRT, TF32, CUDA graphs | " in printed
    rows = json.loads((tmp_path / "engines_gpu.json").read_text())["rows"]
    assert [(row["engine"], row["batch"]) for row in rows] == [
        (engine, batch) for engine in benchmark.VARIANTS for batch in (1, 3)
    ]
    assert all(row["ms_an_image"] > 0 for row in rows)
    assert len(machine.builds) == 2, "TF32 is another plan; CUDA graphs are not"
    assert benchmark.main([*folders, "--students"]) == 0
    assert len(machine.builds) == 2, "a second run builds nothing"


def test_without_a_gpu_it_is_one_line(
    machine: Any, benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.failing["cudaGetDeviceCount"] = "cudaErrorNoDevice"
    assert benchmark.main(["--work", str(tmp_path)]) == 41
    said = capsys.readouterr()
    assert not said.out
    assert (
        said.err
        == "engines_gpu: TensorRT needs an NVIDIA GPU, and CUDA finds none here (cudaErrorNoDevice)\n"
    )
