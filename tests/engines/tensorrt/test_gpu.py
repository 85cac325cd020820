"""The TensorRT engine on a real GPU: `pytest -m gpu`. Skipped without one; not yet run on any machine.

These skips never become failures: FACESIEVE_REQUIRE_ALL speaks of what a machine could have by downloading.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import facesieve.engines
from facesieve.engines import compiled_cache
from facesieve.engines.models.students import OnnxScorer
from facesieve.engines.onnx_wire import model_digest
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.tensorrt import TensorRTEngine
from facesieve.engines.tensorrt_device import Cuda, tensorrt
from facesieve.engines.tensorrt_plans import Gpu, PlanCache, PlanKey, PlanOptions, Profile
from facesieve.stream.errors import EngineUnavailable, ModelInvalid

pytestmark = pytest.mark.gpu
SHIPPED = Path(facesieve.engines.__file__).parent / "zoo" / "weights" / "facesieve-t.onnx"
OPTIONS = PlanOptions(profile=Profile(1, 4, 8), optimisation_level=1)
TOLERANCE = 1e-3


@pytest.fixture
def gpu() -> Gpu:
    """Device 0; skips where there is none."""
    try:
        tensorrt()
        return Cuda(0).gpu()
    except EngineUnavailable as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the module: kernel timings make the second build quick."""
    return tmp_path_factory.mktemp("plans")


def chips(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 112, 112, 3), dtype=np.uint8)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_the_shipped_student_agrees_with_onnxruntime(gpu: Gpu, plans: Path, cuda_graphs: bool) -> None:
    with (
        TensorRTEngine(
            SHIPPED, options=OPTIONS, build="now", cuda_graphs=cuda_graphs, cache_dir=plans
        ) as ours,
        OnnxRuntimeEngine(SHIPPED) as reference,
    ):
        for n in (1, 8, 3, 20, 1, 3):  # 20 is run in parts; the last two replay their graphs
            got, expected = ours.infer({"chips": chips(n)}), reference.infer({"chips": chips(n)})
            for name in expected:
                np.testing.assert_allclose(got[name], expected[name], atol=TOLERANCE, rtol=TOLERANCE)


def test_convolutions_agree_with_onnxruntime(gpu: Gpu, plans: Path, convolutions: bytes) -> None:
    x = np.random.default_rng(0).normal(size=(5, 3, 112, 112)).astype(np.float32)
    with (
        TensorRTEngine(convolutions, options=OPTIONS, build="now", cache_dir=plans) as ours,
        OnnxRuntimeEngine(convolutions) as reference,
    ):
        expected = reference.infer({"x": x})["y"]
        np.testing.assert_allclose(ours.infer({"x": x})["y"], expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_pixels_in_the_plan_agree_with_pixels_on_the_host(
    gpu: Gpu, plans: Path, student: Callable[..., bytes]
) -> None:
    model, pixels = student(raw=True), OnnxScorer.PIXELS
    with (
        TensorRTEngine(model, pixels=pixels, options=OPTIONS, build="now", cache_dir=plans) as ours,
        OnnxRuntimeEngine(model, pixels=pixels) as reference,
    ):
        got, expected = ours.infer({"input": chips(3)}), reference.infer({"input": chips(3)})
        np.testing.assert_allclose(got["embedding"], expected["embedding"], atol=TOLERANCE)


def test_a_plan_is_loaded_again(
    gpu: Gpu, affine: bytes, tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    path = TensorRTEngine.build(affine, options=OPTIONS, cache_dir=tmp_path)
    with TensorRTEngine(affine, options=OPTIONS, cache_dir=tmp_path) as ours:
        x = np.ones((2, 3), np.float32)
        np.testing.assert_allclose(ours.infer({"x": x})["y"], 2 * x + 1, atol=TOLERANCE)
    assert TensorRTEngine.build(affine, options=OPTIONS, cache_dir=tmp_path) == path
    assert len(told()) == 1


def test_a_plan_of_another_gpu_is_not_taken(
    gpu: Gpu, affine: bytes, tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    other = PlanKey.of(
        model_digest(affine), None, OPTIONS, Gpu("NVIDIA Other", (9, 9)), tensorrt().__version__
    )
    PlanCache(tmp_path).save(other, b"of another GPU")
    with pytest.raises(EngineUnavailable, match="GPU NVIDIA Other"):
        TensorRTEngine(affine, options=OPTIONS, cache_dir=tmp_path)
    TensorRTEngine.build(affine, options=OPTIONS, cache_dir=tmp_path)
    assert "GPU NVIDIA Other" in told()[0]


def test_a_plan_that_tensorrt_refuses_is_rebuilt(
    gpu: Gpu, affine: bytes, tmp_path: Path, told: Callable[[], list[str]]
) -> None:
    """Its checksum holds and its bytes are wrong, as those of another GPU's plan would be."""
    path = TensorRTEngine.build(affine, options=OPTIONS, cache_dir=tmp_path)
    stored = compiled_cache.load(tmp_path, path.stem)
    assert stored is not None
    compiled_cache.save(tmp_path, path.stem, stored[: len(stored) // 2])
    with pytest.raises(EngineUnavailable, match="TensorRT does not load the stored plan"):
        TensorRTEngine(affine, options=OPTIONS, cache_dir=tmp_path)
    with TensorRTEngine(affine, options=OPTIONS, build="now", cache_dir=tmp_path) as ours:
        assert ours.infer({"x": np.zeros((1, 3), np.float32)})["y"].shape == (1, 3)
    assert len(told()) == 2


@pytest.mark.parametrize(
    "options",
    [
        PlanOptions(optimisation_level=0, hardware="same_compute_capability"),
        PlanOptions(optimisation_level=0, hardware="ampere_plus", workspace_bytes=1 << 28),
        PlanOptions(optimisation_level=0, version_compatible=True),
    ],
)
def test_compatible_plans_build_and_load(
    gpu: Gpu, affine: bytes, tmp_path: Path, options: PlanOptions
) -> None:
    if options.hardware == "ampere_plus" and gpu.capability < (8, 0):
        pytest.skip(f"{gpu} is older than Ampere")
    TensorRTEngine.build(affine, options=options, cache_dir=tmp_path)
    with TensorRTEngine(affine, options=options, cache_dir=tmp_path) as ours:
        x = np.ones((2, 3), np.float32)
        np.testing.assert_allclose(ours.infer({"x": x})["y"], 2 * x + 1, atol=TOLERANCE)


def test_memory_is_given_back(gpu: Gpu, plans: Path, convolutions: bytes) -> None:
    options = PlanOptions(profile=Profile(1, 8, 256), optimisation_level=0)
    TensorRTEngine.build(convolutions, options=options, cache_dir=plans)
    cuda = Cuda(0)

    def round_trip() -> int:
        with TensorRTEngine(convolutions, options=options, cuda_graphs=True, cache_dir=plans) as ours:
            ours.infer({"x": np.zeros((2, 3, 112, 112), np.float32)})
        gc.collect()
        return cuda.free_bytes()

    first = round_trip()
    for _ in range(5):
        last = round_trip()
    assert first - last < 32 << 20


def test_nan_and_closing_and_batches(gpu: Gpu, plans: Path, student: Callable[..., bytes]) -> None:
    with TensorRTEngine(student(nan=True), options=OPTIONS, build="now", cache_dir=plans) as ours:
        quality = ours.infer({"chips": chips(2)})["quality"]
        assert np.isnan(quality).all()
        with pytest.raises(ModelInvalid, match="nothing to compute"):
            ours.infer({"chips": np.zeros((0, 112, 112, 3), np.uint8)})
    assert np.isnan(quality).all(), "outputs outlive the engine"


def test_each_gpu_has_its_own_plan(gpu: Gpu, affine: bytes, tmp_path: Path) -> None:
    try:
        second = Cuda(1).gpu()
    except EngineUnavailable:
        pytest.skip("one GPU only")
    for device in (0, 1):
        with TensorRTEngine(affine, options=OPTIONS, device=device, build="now", cache_dir=tmp_path) as ours:
            np.testing.assert_allclose(ours.infer({"x": np.zeros((1, 3), np.float32)})["y"], 1.0)
    assert len(list(tmp_path.glob("*.compiled"))) == (2 if second == gpu else 4)
