"""Builds end to end: what passes the gate is installed with its report, what does not leaves nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from facesieve.engines.build import gate, make
from facesieve.engines.build.gate import Chips
from facesieve.engines.build.make import DetectorKind, build_detector, build_student
from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.openvino import OpenVinoEngine, can_compute
from facesieve.stream.errors import ConfigError, GateFailed, ModelInvalid, OutputUnwritable
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import U8, Frame

SHIPPED = Path(__file__).resolve().parents[3] / "engines/zoo/weights/facesieve-t.onnx"


def ruined(model: onnx.ModelProto, share: float) -> onnx.ModelProto:
    """Every weight matrix with noise of `share` of its size."""
    generator = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if len(tensor.dims) >= 2:
            weight = numpy_helper.to_array(tensor)
            noise = generator.standard_normal(weight.shape) * weight.std() * share
            tensor.CopyFrom(numpy_helper.from_array((weight + noise).astype(weight.dtype), tensor.name))
    return model


def test_fp16_of_the_shipped_student_keeps_its_choices(
    real_chips: Callable[[int], Chips], tmp_path: Path
) -> None:
    said: list[str] = []
    out = tmp_path / "models/student-fp16.onnx"
    built = build_student(SHIPPED, "fp16", out, chips=real_chips(300), say=said.append)
    report = json.loads(built.report.read_text())
    assert sorted(p.name for p in out.parent.iterdir()) == ["student-fp16.json", "student-fp16.onnx"]
    assert report["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert report["made_from"]["sha256"] == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert report["calibration"] == json.loads(SHIPPED.with_suffix(".json").read_text())["calibration"]
    assert set(report["gate"]) == ({"fp32", "fp16"} if can_compute("fp16") else {"fp32"})
    for figures in report["gate"].values():
        assert figures["chips"] >= 300
        assert figures["spearman"] > 0.9999
        assert figures["kept_best"] == 1
        assert figures["cosine_least"] > 0.999
    assert out.stat().st_size < 13e6
    assert said == ["fp16: converting", "fp16: measuring against fp32"]


def test_true_half_arithmetic_keeps_the_choices_too(real_chips: Callable[[int], Chips]) -> None:
    """CPU engines may compute an fp16 graph in fp32; torch does not."""
    import torch

    from facesieve.fiqa.onnx_torch import OnnxNetwork

    network = OnnxNetwork(SHIPPED).eval()
    network.output_name = "quality"
    chips = real_chips(30)
    pixels = torch.from_numpy(chips.chips)

    def scores(dtype: torch.dtype) -> np.ndarray:
        network.to(dtype)
        with torch.no_grad():
            parts = [network(part.to(dtype)) for part in pixels.split(10)]
        assert parts[0].dtype == dtype
        return torch.cat(parts).double().numpy()

    single = scores(torch.float32)
    found = gate.fidelity(single, scores(torch.float16), chips.tracks)
    gate.require(found, "fp16", "true float16")
    assert found.largest_change > 0  # it did compute otherwise


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_ruined_graph_is_not_installed(
    tiny: Path,
    smooth_chips: Chips,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: gate.Precision,
) -> None:
    converters: dict[str, Any] = {"to_half": make.to_half, "to_int8": make.to_int8}
    for name, convert in converters.items():
        monkeypatch.setattr(
            make,
            name,
            lambda *a, _convert=convert, **k: ruined(_convert(ruined(*a[:1], 2.0), *a[1:], **k), 0),
        )
    out = tmp_path / "models/tiny.onnx"
    with pytest.raises(GateFailed, match=r"Spearman -?0\.\d+ \(expected ≥ 0\.9") as failed:
        build_student(tiny, precision, out, chips=smooth_chips)
    assert "not installed" in str(failed.value)
    assert list(out.parent.iterdir()) == []


def test_a_model_that_was_there_outlives_a_failed_build(
    tiny: Path, smooth_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tiny.onnx"
    out.write_bytes(b"before")
    monkeypatch.setattr(make, "to_half", lambda model: ruined(make.graph.tidy(model), 2.0))
    with pytest.raises(GateFailed):
        build_student(tiny, "fp16", out, chips=smooth_chips)
    assert out.read_bytes() == b"before"


def test_two_builds_at_once_leave_one_model_with_its_report(
    tiny: Path, smooth_chips: Chips, tmp_path: Path
) -> None:
    out = tmp_path / "models/tiny.onnx"
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(build_student, tiny, "fp16", out, chips=smooth_chips) for _ in range(2)]
        assert {future.result().path for future in running} == {out}
    assert sorted(p.name for p in out.parent.iterdir()) == ["tiny.json", "tiny.onnx"]
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()


def test_int8_calibrates_on_other_tracks_than_it_is_measured_on(
    tiny: Path, smooth_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gate.THRESHOLDS, "int8", gate.Thresholds(0.9, 0.7))  # blobs differ by less than faces
    built = build_student(tiny, "int8", tmp_path / "tiny.onnx", chips=smooth_chips)
    assert built.figures["fp32"]["tracks"] == 15
    report = json.loads(built.report.read_text())
    assert report["quantisation"]["samples"] == 25
    assert report["quantisation"]["activations"] in ("int8", "uint8")
    with OpenVinoEngine(built.path, precision="fp32") as engine:
        assert engine.infer({"chips": smooth_chips.chips[:3]})["quality"].shape == (3,)


def test_the_attempts_that_were_refused_are_in_the_report(
    tiny: Path, smooth_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = iter([False, False, True])

    def require(found: gate.Fidelity, precision: str, label: str) -> None:
        if not next(passed):
            raise GateFailed(f"{label}: refused")

    monkeypatch.setattr(make.gate, "require", require)
    built = build_student(tiny, "int8", tmp_path / "tiny.onnx", chips=smooth_chips)
    report = json.loads(built.report.read_text())
    assert len(report["refused_before"]) == 2
    assert report["quantisation"]["activations"] in ("int8", "uint8")


@pytest.mark.skipif(not can_compute("bf16"), reason="this CPU does not compute in bf16")
def test_bf16_is_arithmetic_on_the_fp32_graph(
    tiny: Path, smooth_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gate.THRESHOLDS, "bf16", gate.Thresholds(0.9, 0.7))  # blobs differ less than faces
    built = build_student(tiny, "bf16", tmp_path / "tiny.onnx", chips=smooth_chips)
    assert set(built.figures) == {"bf16"}
    assert built.figures["bf16"]["largest_change"] > 0


@pytest.mark.parametrize("count", [0, 5, 45])
def test_too_few_chips_are_refused(tiny: Path, smooth_chips: Chips, tmp_path: Path, count: int) -> None:
    with pytest.raises(ConfigError, match=f"expected chips of 10 tracks .* got {count} chips"):
        build_student(tiny, "fp16", tmp_path / "tiny.onnx", chips=smooth_chips.take(np.arange(count)))
    assert list(tmp_path.iterdir()) == []


def test_scores_do_not_depend_on_the_batch(tiny: Path, smooth_chips: Chips) -> None:
    with OpenVinoEngine(tiny, precision="fp32") as engine:
        one = gate.qualities(engine, smooth_chips, batch=100)
        split = gate.qualities(engine, smooth_chips, batch=7)  # a batch over the limit is split
    assert [q.score for q in one] == pytest.approx([q.score for q in split], abs=1e-5)


def test_a_network_that_gives_no_numbers_is_refused(
    make_tiny: Callable[..., onnx.ModelProto], smooth_chips: Chips, tmp_path: Path
) -> None:
    path = tmp_path / "huge.onnx"
    onnx.save(make_tiny(scale=3e38), str(path))
    with pytest.raises(ModelInvalid, match="not numbers"):
        build_student(path, "fp16", tmp_path / "out.onnx", chips=smooth_chips)


def test_an_out_folder_that_is_a_file_is_named(tiny: Path, smooth_chips: Chips, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnwritable, match=r"file/tiny\.onnx: cannot be written"):
        build_student(tiny, "fp16", tmp_path / "file/tiny.onnx", chips=smooth_chips)


def test_fp16_of_a_detector_finds_the_same_faces(
    weights: Callable[[str], Path], clip: Callable[..., list[U8]], tmp_path: Path
) -> None:
    kind = DetectorKind(partial(CenterFace, long_side_px=416), CenterFace.PIXELS, "rgb", 0.5)
    frames = [
        Frame("clip", i, float(i), None, ArrayPicture(rgb))
        for i, rgb in enumerate(clip("walking_crowd_1080p.mp4", 12, 8))
    ]
    built = build_detector(weights("centerface"), "fp16", tmp_path / "c.onnx", kind=kind, frames=frames)
    figures = built.figures["fp32"]
    assert figures["found"] == figures["confirmed"] == 1
    assert figures["landmarks_mean"] < 0.005
