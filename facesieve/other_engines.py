"""The engines besides OpenVINO, from their configurations. Imported only where one is asked for."""

from __future__ import annotations

from pathlib import Path

from .config import OnnxRuntimeConfig, TensorRTConfig
from .engines.models.letterbox import STRIDE, FaceSized
from .engines.onnx_wire import input_names
from .engines.onnxruntime import OnnxRuntimeEngine, Provider, onnxruntime
from .engines.onnxruntime_providers import Cuda
from .engines.onnxruntime_providers import TensorRT as ProviderTensorRT
from .engines.signature import PixelInput
from .engines.tensorrt import TensorRTEngine
from .engines.tensorrt_device import tensorrt
from .engines.tensorrt_plans import FreeSize, PlanOptions, Profile
from .engines.zoo.store import cache_folder
from .stream.errors import ConfigError
from .stream.ports import Engine


def check_package(config: OnnxRuntimeConfig | TensorRTConfig) -> None:
    """Raises EngineUnavailable where what the engine needs is not installed."""
    match config:
        case OnnxRuntimeConfig():
            onnxruntime(gpu=config.provider != "cpu")
        case TensorRTConfig():
            tensorrt()


def other_engine(config: OnnxRuntimeConfig | TensorRTConfig, path: Path, pixels: PixelInput | None) -> Engine:
    """Runs the network at path. Raises ConfigError for a TensorFlow Lite model, which neither reads."""
    if path.suffix == ".tflite":
        raise ConfigError(f"{path}: the {config.kind} engine cannot read TensorFlow Lite; use openvino")
    match config:
        case OnnxRuntimeConfig():
            return OnnxRuntimeEngine(
                path, pixels=pixels, threads=config.threads, providers=_providers(config, path, pixels)
            )
        case TensorRTConfig():
            return TensorRTEngine(
                path,
                pixels=pixels,
                options=_plan_options(config, path, pixels),
                device=config.device,
                build=config.build,
                cuda_graphs=config.cuda_graphs,
                cache_dir=cache_folder() / "compiled",
            )


def _providers(config: OnnxRuntimeConfig, path: Path, pixels: PixelInput | None) -> tuple[Provider, ...]:
    cpu = "CPUExecutionProvider"
    gpu = Cuda(config.device, tf32=config.tf32)
    match config.provider:
        case "cpu":
            return (cpu,)
        case "cuda":
            return (gpu, cpu)
        case "tensorrt":
            profile = _profile(path, pixels, Profile(1, min(8, config.max_batch), config.max_batch), (2, 3))
            folder = cache_folder() / "compiled"
            return (ProviderTensorRT(folder, config.device, profile, tf32=config.tf32), gpu, cpu)


def _profile(path: Path, pixels: PixelInput | None, chips: Profile, axes: tuple[int, int]) -> Profile:
    """chips for a network of chips; one frame of any size a detector may be given on those axes."""
    if pixels is None or pixels.height is not None:
        return chips
    name = input_names(path.read_bytes())[0]
    sides = FaceSized.SIDES_PX
    return Profile(1, 1, 1, tuple(FreeSize(name, axis, STRIDE, sides[0], sides[1]) for axis in axes))


def _plan_options(config: TensorRTConfig, path: Path, pixels: PixelInput | None) -> PlanOptions:
    chips = Profile(config.min_batch, config.opt_batch, config.max_batch)
    return PlanOptions(
        precision=config.precision,
        profile=_profile(path, pixels, chips, (1, 2)),
        optimisation_level=config.optimisation_level,
        workspace_bytes=None if config.workspace_mb is None else config.workspace_mb * 2**20,
        tf32=config.tf32,
        hardware=config.hardware,
        version_compatible=config.version_compatible,
    )
