"""int8 as a graph: explicit Q/DQ pairs with scales from static calibration.

Weights are symmetric, one scale an output channel; biases stay in float. Activations have one scale a tensor:
int8 around 0, the form that TensorRT compiles and the CPU engines take as well; or uint8 with a zero point,
which gives what comes out of a ReLU twice the levels, and which ONNX Runtime's CPU kernels are made for, but
which TensorRT does not take.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ...stream.errors import ModelInvalid
from ..signature import Feeds
from .graph import OPSET, name_nodes, onnx_package, onnxruntime_tools, tidy

Activations = Literal["int8", "uint8"]
# Of the histogram of a tensor's values. onnxruntime's entropy method starts from 128 bins for 128 levels and
# so never cuts anything: on the shipped student it gave the very graph of the plain minimum and maximum.
_PERCENTILE: Final = 99.999
# Sums of residual branches stay in float: on the shipped student that keeps more picks, at no cost.
_QUANTISED: Final = ("Conv", "Gemm")


def to_int8(
    model: Any,
    samples: Sequence[Feeds],
    *,
    activations: Activations = "int8",
    keep: Iterable[str] = (),
) -> Any:
    """The fp32 graph (as graph.read gives it) with its convolutions and linear layers in int8.

    samples: inputs to calibrate on, each with a batch of 1 or more. keep: names of nodes left in fp32. Raises
    ModelInvalid for no samples, or values that are not numbers; EngineUnavailable without the extra `build`.
    """
    if not samples:
        raise ModelInvalid("expected samples to calibrate on, got none")
    onnx = onnx_package()
    quantization, _ = onnxruntime_tools()
    source = onnx.ModelProto()
    source.CopyFrom(model)
    name_nodes(source)
    kinds = {"int8": quantization.QuantType.QInt8, "uint8": quantization.QuantType.QUInt8}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        try:
            quantization.quantize_static(
                source,
                str(path),
                _reader(quantization, samples),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTISED),
                per_channel=True,
                activation_type=kinds[activations],
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=list(keep),
                calibrate_method=quantization.CalibrationMethod.Percentile,
                extra_options={
                    "ActivationSymmetric": activations == "int8",
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "CalibPercentile": _PERCENTILE,
                },
            )
        except (ValueError, AssertionError, RuntimeError) as failure:
            raise ModelInvalid(f"the graph cannot be calibrated: {failure}") from failure
        made = onnx.load(str(path))
    _check_scales(onnx, made)
    del made.opset_import[:]
    made.opset_import.extend([onnx.helper.make_opsetid("", OPSET)])
    return tidy(made)


def linear(model: Any) -> tuple[str, ...]:
    """Names of the linear layers, which cost little and decide much."""
    return tuple(node.name for node in name_nodes(model).graph.node if node.op_type == "Gemm")


def ends(model: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the first weighted layers, and of the last (those with no weighted layer behind them)."""
    named = name_nodes(model).graph.node
    users: dict[str, list[Any]] = {}
    for node in named:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def weighted_behind(node: Any) -> bool:
        ahead = [user for output in node.output for user in users.get(output, [])]
        seen: set[str] = set()
        while ahead:
            at = ahead.pop()
            if at.op_type in _QUANTISED:
                return True
            if at.name not in seen:
                seen.add(at.name)
                ahead.extend(user for output in at.output for user in users.get(output, []))
        return False

    weighted = [node for node in named if node.op_type in _QUANTISED]
    if not weighted:
        raise ModelInvalid(f"expected a graph with {' or '.join(_QUANTISED)}, got none of them")
    return (weighted[0].name,), tuple(node.name for node in weighted if not weighted_behind(node))


def _reader(quantization: Any, samples: Sequence[Feeds]) -> Any:
    class Samples(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(samples)

        def get_next(self) -> Feeds | None:
            return next(self._left, None)

    return Samples()


def _check_scales(onnx: Any, model: Any) -> None:
    """A calibration over NaN or over nothing gives scales that are no numbers, or 0."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_scale"):
            scale = onnx.numpy_helper.to_array(tensor)
            if not np.isfinite(scale).all() or (scale <= 0).any():
                raise ModelInvalid(
                    f"expected positive scales from the calibration, got {scale.ravel()[0]}: {tensor.name}"
                )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's progress on standard output and its advice in the log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
