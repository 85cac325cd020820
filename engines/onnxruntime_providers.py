"""ONNX Runtime's execution providers for NVIDIA GPUs, with options by type. Not yet run on a GPU.

Names and meanings: onnxruntime.ai/docs/execution-providers, CUDA and TensorRT. Precision is that of the
graph; nothing here lowers it, but TensorRT's provider does (TF32).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .signature import Signature
from .tensorrt_plans import Profile

Options = tuple[str, Mapping[str, str]]
_GPU_PACKAGE, _CPU_PACKAGE = "onnxruntime-gpu", "onnxruntime"
_EXTRA = "pip install 'facesieve[onnxruntime-gpu]'"
_TF32_SWITCH = "NVIDIA_TF32_OVERRIDE"
log = logging.getLogger(__name__)


def installing_for_gpus() -> str:
    """What to install for these providers, in view of what is installed, as a sentence for an error.

    Both packages of ONNX Runtime unpack into one folder: beside each other the one that came last runs, and
    removing either breaks the other.
    """
    match _installed(_GPU_PACKAGE), _installed(_CPU_PACKAGE):
        case True, True:
            return (
                f"{_CPU_PACKAGE} and {_GPU_PACKAGE} are both installed and overwrite each other: "
                f"`pip uninstall {_CPU_PACKAGE} {_GPU_PACKAGE}`, then `{_EXTRA}`"
            )
        case False, True:
            return (
                f"{_CPU_PACKAGE} is the package for CPUs, and shares its folder with the one for GPUs: "
                f"`pip uninstall {_CPU_PACKAGE}`, then `{_EXTRA}`"
            )
        case True, False:
            return (
                "It needs an NVIDIA driver (`nvidia-smi` shows it), and TensorRT of the version that "
                f"{_GPU_PACKAGE} was built with where that is asked for"
            )
        case _:
            return f"It needs `{_EXTRA}`"


def _installed(package: str) -> bool:
    from importlib import metadata  # costs every start otherwise

    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Cuda:
    """device: index of the GPU. memory_bytes: most that its arena may take; None for no limit. tf32: let
    float32 products lose 13 of their 23 bits."""

    device: int = 0
    memory_bytes: int | None = None
    tf32: bool = False

    NAME = "CUDAExecutionProvider"

    def options(self) -> Options:
        """As a session takes them."""
        chosen = {
            "device_id": str(self.device),
            "use_tf32": str(int(self.tf32)),
            # Sizes of batches vary: an exhaustive search anew for each would cost more than it finds.
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
        }
        if self.memory_bytes is not None:
            chosen["gpu_mem_limit"] = str(self.memory_bytes)
        return self.NAME, chosen


@dataclass(frozen=True, slots=True)
class TensorRT:
    """What TensorRT takes of the graph runs there; list Cuda behind it for the rest.

    cache_dir: keeps compiled engines and kernel timings (its key knows model, GPU and versions). profile: the
    shapes to serve. workspace_bytes, optimisation_level: of the builder. tf32: as Cuda's; this provider has
    no option against it (microsoft/onnxruntime issue 26029), so False warns where the environment allows it.
    """

    cache_dir: Path
    device: int = 0
    profile: Profile = field(default_factory=Profile)
    workspace_bytes: int | None = None
    optimisation_level: int = 3
    tf32: bool = False

    NAME = "TensorrtExecutionProvider"

    def options(self, inputs: Signature, label: str) -> Options:
        """For a graph with those inputs; ConfigError for a free dimension without a range."""
        if not self.tf32 and os.environ.get(_TF32_SWITCH) != "0":
            log.warning(
                "%s: float32 products may lose 13 of their 23 bits (TF32), against which ONNX Runtime's "
                "TensorRT provider has no option: set %s=0 in the environment, say tf32 = true, or take the "
                "engine tensorrt",
                label,
                _TF32_SWITCH,
            )
        shapes: list[list[str]] = [[], [], []]
        for name, (shape, _) in inputs.items():
            declared = tuple(-1 if size is None else size for size in shape)
            for spelt, chosen in zip(shapes, self.profile.shapes(name, declared, label), strict=True):
                spelt.append(f"{name}:{'x'.join(map(str, chosen))}")
        least, opt, most = (",".join(spelt) for spelt in shapes)
        folder = str(self.cache_dir)
        chosen_options = {
            "device_id": str(self.device),
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
            "trt_builder_optimization_level": str(self.optimisation_level),
            "trt_profile_min_shapes": least,
            "trt_profile_opt_shapes": opt,
            "trt_profile_max_shapes": most,
        }
        if self.workspace_bytes is not None:
            chosen_options["trt_max_workspace_size"] = str(self.workspace_bytes)
        return self.NAME, chosen_options
