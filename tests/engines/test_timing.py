"""Timing of networks: what is timed on what, and the command that prints it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facesieve.cli import app
from facesieve.engines import timing
from facesieve.engines.openvino import can_compute
from facesieve.engines.signature import PixelInput
from facesieve.engines.timing import ARITHMETICS, timings
from facesieve.stream.errors import EngineUnavailable, ModelInvalid

HERE = {("openvino", arithmetic) for arithmetic in ARITHMETICS if can_compute(arithmetic)}


def saved(model: bytes, folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(model)
    return path


def test_every_engine_and_arithmetic_on_every_batch(student: Callable[..., bytes], tmp_path: Path) -> None:
    found = timings(saved(student(), tmp_path), size=(64, 64), batches=(1, 3), seconds=0.01)
    assert {(t.engine, t.arithmetic) for t in found} == HERE | {("onnxruntime", "fp32")}
    assert {t.shape for t in found} == {(1, 112, 112, 3), (3, 112, 112, 3)}
    assert all(t.ms_an_image > 0 for t in found)
    reference = {t.shape: t.ms_an_image for t in found if t.engine == "onnxruntime"}
    for t in found:
        assert t.times_onnxruntime == pytest.approx(reference[t.shape] / t.ms_an_image)


def test_float_images_of_any_size_get_the_size_that_was_asked_for(mean_colour: bytes, tmp_path: Path) -> None:
    path = saved(mean_colour, tmp_path)
    fixed = {t.shape for t in timings(path, size=(64, 96), batches=(2,), seconds=0.0)}
    free = {
        t.shape
        for t in timings(path, size=(64, 96), batches=(2,), seconds=0.0, pixels=PixelInput(batch=None))
    }
    assert (len(fixed), free) == (1, {(2, 64, 96, 3)})


def test_without_onnx_runtime_the_others_are_timed(
    student: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise EngineUnavailable("ONNX Runtime needs `pip install 'facesieve[onnxruntime]'`")

    monkeypatch.setattr(timing, "OnnxRuntimeEngine", missing)
    said: list[str] = []
    path = saved(student(), tmp_path)
    found = timings(path, size=(64, 64), batches=(1,), seconds=0.0, say=said.append)
    assert {(t.engine, t.arithmetic, t.times_onnxruntime) for t in found} == {(*key, None) for key in HERE}
    assert said[-1] == "onnxruntime: ONNX Runtime needs `pip install 'facesieve[onnxruntime]'`"


def test_a_network_without_images_is_named(affine: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"expected an input of images .*, got \{'x': '\(\?, 3\)'\}"):
        timings(saved(affine, tmp_path), size=(64, 64), batches=(1,))


def bench(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["models", "bench", *arguments])
    return done.exit_code, done.stdout


def test_the_command_prints_a_table(student: Callable[..., bytes], tmp_path: Path) -> None:
    path = saved(student(eyes=True), tmp_path)
    code, printed = bench(str(path), "--batch", "2", "--seconds", "0")
    assert code == 0
    head, *rows = printed.splitlines()
    assert " ".join(head.split()) == "model pixels batch engine ms an image images/s × ONNX Runtime"
    assert len(rows) == len(HERE) + 1
    assert rows[-1].split()[:5] == ["m", "112×112", "2", "onnxruntime", "fp32"]
    assert rows[-1].split()[-1] == "1.00"


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["sample-clip"], ["none.onnx"], ["x.onnx", "--size", "640"], ["--size", "0x0"]]
)
def test_what_cannot_be_timed_is_an_error(arguments: list[str]) -> None:
    code, printed = bench(*arguments)
    assert code != 0
    assert not printed
