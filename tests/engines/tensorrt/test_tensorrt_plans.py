"""Plans on disk: keys, profiles, when one is loaded, when it is built anew, and what is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facesieve.engines import compiled_cache
from facesieve.engines.onnx_wire import model_digest
from facesieve.engines.signature import PixelInput
from facesieve.engines.tensorrt import TensorRTEngine
from facesieve.engines.tensorrt_plans import (
    FreeSize,
    Gpu,
    PlanCache,
    PlanKey,
    PlanOptions,
    Profile,
)
from facesieve.stream.errors import ConfigError, EngineUnavailable

GPU = Gpu("NVIDIA L4", (8, 9))
VERSION = "11.4.0.106"
KEY = PlanKey.of("a" * 64, None, PlanOptions(), GPU, VERSION)


@pytest.mark.parametrize(
    "other",
    [
        PlanKey.of("b" * 64, None, PlanOptions(), GPU, VERSION),
        PlanKey.of("a" * 64, PixelInput(), PlanOptions(), GPU, VERSION),
        PlanKey.of("a" * 64, None, PlanOptions(precision="int8"), GPU, VERSION),
        PlanKey.of("a" * 64, None, PlanOptions(profile=Profile(1, 8, 64)), GPU, VERSION),
        PlanKey.of(
            "a" * 64, None, PlanOptions(profile=Profile(free=(FreeSize("x", 1, 1, 2, 3),))), GPU, VERSION
        ),
        PlanKey.of("a" * 64, None, PlanOptions(optimisation_level=5), GPU, VERSION),
        PlanKey.of("a" * 64, None, PlanOptions(workspace_bytes=1 << 30), GPU, VERSION),
        PlanKey.of("a" * 64, None, PlanOptions(tf32=True), GPU, VERSION),
        PlanKey.of("a" * 64, None, PlanOptions(hardware="ampere_plus"), GPU, VERSION),
        PlanKey.of("a" * 64, None, PlanOptions(version_compatible=True), GPU, VERSION),
        PlanKey.of("a" * 64, None, PlanOptions(), Gpu("NVIDIA L40", (8, 9)), VERSION),
        PlanKey.of("a" * 64, None, PlanOptions(), Gpu("NVIDIA L4", (9, 0)), VERSION),
        PlanKey.of("a" * 64, None, PlanOptions(), GPU, "11.5.0.1"),
    ],
)
def test_whatever_a_plan_depends_on_changes_its_key(other: PlanKey) -> None:
    assert other.name != KEY.name
    assert KEY.differs(dict(other.description))


def test_equal_inputs_give_equal_keys() -> None:
    assert PlanKey.of("a" * 64, None, PlanOptions(), Gpu("NVIDIA L4", (8, 9)), VERSION).name == KEY.name


def test_compatible_plans_are_shared_as_far_as_they_are_compatible() -> None:
    def name(gpu: Gpu, version: str, **options: Any) -> str:
        return PlanKey.of("a" * 64, None, PlanOptions(**options), gpu, version).name

    other, newer = Gpu("NVIDIA L40S", (8, 9)), Gpu("NVIDIA H100", (9, 0))
    same = {"hardware": "same_compute_capability"}
    assert name(GPU, VERSION, **same) == name(other, VERSION, **same) != name(newer, VERSION, **same)
    assert name(GPU, VERSION, hardware="ampere_plus") == name(newer, VERSION, hardware="ampere_plus")
    portable = {"version_compatible": True}
    assert name(GPU, VERSION, **portable) == name(GPU, "11.5.0.1", **portable)
    assert name(GPU, VERSION, **portable) != name(GPU, "12.0.0.1", **portable)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Profile(0, 1, 2), "for the batch, got 0, 1, 2"),
        (lambda: Profile(1, 9, 8), "for the batch, got 1, 9, 8"),
        (lambda: FreeSize("x", 2, 4, 3, 5), "for axis 2 of input 'x', got 4, 3, 5"),
        (lambda: FreeSize("x", 0, 1, 1, 1), "0 is the batch"),
        (lambda: PlanOptions(optimisation_level=6), "from 0 to 5, got 6"),
        (lambda: PlanOptions(workspace_bytes=0), "workspace_bytes ≥ 1, got 0"),
        (lambda: Profile().shapes("x", (-1, 3, -1, -1), "m"), r"axes \[2, 3\] of input 'x' are free"),
        (
            lambda: Profile(free=(FreeSize("x", 1, 1, 1, 1),)).shapes("x", (-1, 3), "m"),
            "axis 1 .* is not free",
        ),
    ],
)
def test_impossible_profiles_are_refused(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()


def test_shapes_of_a_profile() -> None:
    profile = Profile(1, 8, 32, free=(FreeSize("x", 2, 64, 128, 256), FreeSize("y", 1, 1, 2, 3)))
    assert profile.shapes("x", (-1, 3, -1, 9), "m") == ((1, 3, 64, 9), (8, 3, 128, 9), (32, 3, 256, 9))
    assert profile.shapes("y", (4, -1), "m") == ((4, 1), (4, 2), (4, 3))


def test_external_data_are_part_of_the_model(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 64]) for n in ("x", "y"))
    model = helper.make_model(
        helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    )
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    before = model_digest(tmp_path / "m.onnx")
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[3] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    assert model_digest(tmp_path / "m.onnx") != before


def test_a_plan_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "plans")
    assert cache.load(KEY) == (None, "there is no plan of it yet")
    path = cache.save(KEY, b"plan")
    assert path.is_file()
    assert cache.load(KEY) == (b"plan", "")


@pytest.mark.parametrize("keep", [0, 20, -1])
def test_a_damaged_plan_is_told_from_a_missing_one(tmp_path: Path, keep: int) -> None:
    cache = PlanCache(tmp_path)
    path = cache.save(KEY, b"plan")
    path.write_bytes(path.read_bytes()[:keep])
    plan, why = cache.load(KEY)
    assert plan is None
    assert why == f"the plan {path} is damaged"


def test_the_nearest_stored_plan_says_what_changed(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.save(PlanKey.of("a" * 64, None, PlanOptions(tf32=True), GPU, "11.3.0.1"), b"two differences")
    cache.save(PlanKey.of("a" * 64, None, PlanOptions(), GPU, "11.3.0.1"), b"one difference")
    cache.save(PlanKey.of("b" * 64, None, PlanOptions(), GPU, VERSION), b"another model")
    _, why = cache.load(KEY)
    assert why == "the stored plan does not fit: TensorRT 11.3.0.1, now 11.4.0.106"


def run(model: bytes | Path, cache: Path, **options: Any) -> None:
    with TensorRTEngine(model, cache_dir=cache, **options) as engine:
        x = np.ones((2, 3), np.float32)
        np.testing.assert_array_equal(engine.infer({"x": x})["y"], 2 * x + 1)


def test_a_second_start_loads_what_the_first_built(
    machine: Any, told: Callable[[], list[str]], affine: bytes, tmp_path: Path
) -> None:
    assert not TensorRTEngine.plan_ready(affine, cache_dir=tmp_path)
    path = TensorRTEngine.build(affine, cache_dir=tmp_path)
    assert path.parent == tmp_path
    assert path.is_file()
    assert TensorRTEngine.plan_ready(affine, cache_dir=tmp_path)
    assert TensorRTEngine.build(affine, cache_dir=tmp_path) == path
    run(affine, tmp_path)
    run(affine, tmp_path, build="now")
    assert len(machine.builds) == 1
    assert len(told()) == 1
    assert told()[0].endswith("there is no plan of it yet")


def test_without_leave_to_build_a_missing_plan_is_an_error(
    machine: Any, affine: bytes, tmp_path: Path
) -> None:
    with pytest.raises(EngineUnavailable, match=r"no TensorRT plan for device 0, .*TensorRTEngine\.build"):
        TensorRTEngine(affine, cache_dir=tmp_path)
    with pytest.raises(EngineUnavailable, match="no cache folder is given"):
        TensorRTEngine(affine)
    assert not machine.builds


def damage(machine: Any, path: Path, cache: Path) -> str:
    path.write_bytes(path.read_bytes()[:-1])
    return f"the plan {path} is damaged"


def other_version(machine: Any, path: Path, cache: Path) -> str:
    machine.version = "11.5.0.7"
    return "the stored plan does not fit: TensorRT 11.4.0.106, now 11.5.0.7"


def other_gpu(machine: Any, path: Path, cache: Path) -> str:
    machine.gpus[0] = ("NVIDIA Test C", (12, 0))
    return (
        "the stored plan does not fit: GPU NVIDIA Test A (compute capability 8.6), "
        "now NVIDIA Test C (compute capability 12.0)"
    )


def refused_by_tensorrt(machine: Any, path: Path, cache: Path) -> str:
    """The checksum holds, but TensorRT does not take it: say, after a change of driver."""
    stored = compiled_cache.load(cache, path.stem)
    assert stored is not None
    compiled_cache.save(cache, path.stem, stored.replace(b"PLAN", b"FLAN"))
    return "TensorRT does not load the stored plan (Serialization assertion magicTag failed)"


@pytest.mark.parametrize("change", [damage, other_version, other_gpu, refused_by_tensorrt])
def test_a_plan_that_does_not_load_is_rebuilt_with_one_line_that_says_why(
    machine: Any,
    told: Callable[[], list[str]],
    affine: bytes,
    tmp_path: Path,
    change: Callable[[Any, Path, Path], str],
) -> None:
    why = change(machine, TensorRTEngine.build(affine, cache_dir=tmp_path), tmp_path)
    with pytest.raises(EngineUnavailable) as refused:
        TensorRTEngine(affine, cache_dir=tmp_path)
    assert why in str(refused.value)
    run(affine, tmp_path, build="now")
    assert len(told()) == 2
    assert told()[1].endswith(why)
    run(affine, tmp_path)
    assert len(machine.builds) == 2


def test_a_version_compatible_plan_loads_in_a_later_release(
    machine: Any, affine: bytes, tmp_path: Path
) -> None:
    options = PlanOptions(version_compatible=True)
    TensorRTEngine.build(affine, options=options, cache_dir=tmp_path)
    machine.version = "11.9.0.1"
    run(affine, tmp_path, options=options)
    assert len(machine.builds) == 1


def test_a_hardware_compatible_plan_loads_on_another_gpu(machine: Any, affine: bytes, tmp_path: Path) -> None:
    options = PlanOptions(hardware="ampere_plus")
    TensorRTEngine.build(affine, options=options, cache_dir=tmp_path)
    run(affine, tmp_path, options=options, device=1)
    assert len(machine.builds) == 1


def test_options_reach_the_builder(machine: Any, affine: bytes, tmp_path: Path) -> None:
    options = PlanOptions(
        optimisation_level=5,
        workspace_bytes=1 << 28,
        tf32=True,
        hardware="same_compute_capability",
        version_compatible=True,
        profile=Profile(2, 3, 4),
    )
    TensorRTEngine.build(affine, options=options, cache_dir=tmp_path)
    TensorRTEngine.build(affine, cache_dir=tmp_path)
    asked, plain = machine.builds
    assert asked.builder_optimization_level == 5
    assert asked._pools == {"WORKSPACE": 1 << 28}
    assert asked._flag_names == {"TF32", "VERSION_COMPATIBLE"}
    assert asked.hardware_compatibility_level.name == "SAME_COMPUTE_CAPABILITY"
    assert asked._profiles[0]._shapes == {"x": [(2, 3), (3, 3), (4, 3)]}
    assert plain._flag_names == set(), "fp32 must rank as fp32 does elsewhere: TF32 is off"
    assert plain._pools == {}


def test_kernel_timings_are_kept_for_each_gpu_and_reused(
    machine: Any, affine: bytes, student: Callable[..., bytes], tmp_path: Path
) -> None:
    TensorRTEngine.build(affine, cache_dir=tmp_path)
    TensorRTEngine.build(student(), cache_dir=tmp_path)
    TensorRTEngine.build(affine, cache_dir=tmp_path, device=1)
    assert [config._timings for config in machine.builds] == [b"", b"NVIDIA Test A", b""]


def test_kernel_timings_that_tensorrt_refuses_are_taken_anew(
    machine: Any, affine: bytes, tmp_path: Path
) -> None:
    TensorRTEngine.build(affine, cache_dir=tmp_path)
    (timings,) = tmp_path.glob("timings-*.compiled")
    compiled_cache.save(tmp_path, timings.stem, b"of another GPU")
    run(affine, tmp_path, build="now", options=PlanOptions(tf32=True))
    assert machine.builds[1]._timings == b""


def test_two_builds_at_once_make_one_plan(machine: Any, affine: bytes, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=TensorRTEngine.build, args=(affine,), kwargs={"cache_dir": tmp_path})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(machine.builds) == 1
    assert len(list(tmp_path.glob("*-*.compiled"))) == 2  # the plan and the timings


def test_a_folder_that_takes_nothing_is_told_before_the_build(
    machine: Any, affine: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineUnavailable, match=r"cannot store plans there \(Not a directory\)"):
        TensorRTEngine.build(affine, cache_dir=tmp_path / "file" / "plans")
    assert not machine.builds


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_one_clear_error(
    machine: Any, affine: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> tuple[int, str]:
        made = tmp_path / "temporary"
        made.symlink_to("/dev/full")
        return os.open(made, os.O_WRONLY), str(made)

    monkeypatch.setattr(compiled_cache.tempfile, "mkstemp", full)
    with pytest.raises(EngineUnavailable, match="No space left on device"):
        TensorRTEngine.build(affine, cache_dir=tmp_path)
    assert not list(tmp_path.glob("*.compiled"))


def test_a_key_holds_the_device_not_its_index(machine: Any, affine: bytes, tmp_path: Path) -> None:
    machine.gpus[1] = machine.gpus[0]
    TensorRTEngine.build(affine, cache_dir=tmp_path, device=0)
    assert TensorRTEngine.plan_ready(affine, cache_dir=tmp_path, device=1)
    assert not TensorRTEngine.plan_ready(
        affine, cache_dir=tmp_path, options=replace(PlanOptions(), precision="fp16")
    )
