"""Compiling an ONNX graph with TensorRT: every call that it takes, and nothing else.

Written against the documented API as engines/tensorrt_device.py is, and like it not yet run on a GPU.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..stream.errors import ModelInvalid
from .tensorrt_device import logger
from .tensorrt_plans import PlanOptions

log = logging.getLogger(__name__)


def build_plan(
    trt: Any, model: bytes, where: Path | None, label: str, options: PlanOptions, timings: bytes
) -> tuple[bytes, bytes]:
    """(plan, timing cache) of an ONNX model for the calling thread's device. Takes seconds to many minutes.

    where: the model's file, for external data beside it. timings: of earlier builds, b"" for none. Raises
    ModelInvalid with TensorRT's own words if it cannot read or compile the model.
    """
    said = logger(trt)
    said.forget()
    builder = trt.Builder(said)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, said)
    parsed = parser.parse(model, str(where)) if where is not None else parser.parse(model)
    if not parsed:
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        reasons = "; ".join(f"{e.desc()} (node {e.node_name()!r}, {e.node_operator()})" for e in errors[:3])
        raise ModelInvalid(f"{label}: TensorRT cannot read it: {reasons or said.last}")
    config = builder.create_builder_config()
    _set_options(trt, config, options)
    _add_profile(builder, network, config, options, label)
    cache = config.create_timing_cache(timings)
    if cache is None or not config.set_timing_cache(cache, False):
        log.info("kernel timings of earlier builds do not fit this GPU or TensorRT: timing anew")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelInvalid(f"{label}: TensorRT cannot compile it: {said.last}")
    return bytes(plan), bytes(cache.serialize())


def _set_options(trt: Any, config: Any, options: PlanOptions) -> None:
    config.builder_optimization_level = options.optimisation_level
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    # TensorRT allows TF32 unless told otherwise; fp32 then ranks unlike fp32 elsewhere.
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    levels = trt.HardwareCompatibilityLevel
    config.hardware_compatibility_level = {
        "this": levels.NONE,
        "same_compute_capability": levels.SAME_COMPUTE_CAPABILITY,
        "ampere_plus": levels.AMPERE_PLUS,
    }[options.hardware]


def _add_profile(builder: Any, network: Any, config: Any, options: PlanOptions, label: str) -> None:
    """One profile for all inputs with free dimensions; none for a network without."""
    profile, free = builder.create_optimization_profile(), False
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        declared = tuple(int(size) for size in tensor.shape)
        if min(declared, default=0) < 0:
            least, opt, most = options.profile.shapes(tensor.name, declared, label)
            profile.set_shape(tensor.name, least, opt, most)
            free = True
    if free and config.add_optimization_profile(profile) < 0:
        raise ModelInvalid(f"{label}: TensorRT refuses the profile {options.profile}")
