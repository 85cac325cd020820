"""ONNX Runtime: the portable engine (`pip install 'facesieve[onnxruntime]'`). Runs raw ONNX graphs.

Results don't depend on the number of threads (MLAS splits work over the rows and columns of an output, never
over the terms of one sum; tests/engines/test_onnxruntime.py holds it); deterministic kernels are asked for.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..stream.errors import EngineClosed, EngineUnavailable, ModelInvalid
from ..stream.ports import Closing
from . import onnx_wire
from .onnxruntime_providers import Cuda, Options, TensorRT, installing_for_gpus
from .signature import Feeds, PixelInput, Shape, Signature, check_feeds, sole_input

_DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_ERRORS_ONLY = 3
Provider = str | Cuda | TensorRT


def onnxruntime(*, gpu: bool) -> Any:
    """The package; EngineUnavailable if it is missing, which names the extra of GPUs where one is wanted."""
    try:
        import onnxruntime as ort
    except ImportError as missing:
        extra = "onnxruntime-gpu" if gpu else "onnxruntime"
        raise EngineUnavailable(f"ONNX Runtime needs `pip install 'facesieve[{extra}]'`") from missing
    return ort


class OnnxRuntimeEngine(Closing):
    """A network run by ONNX Runtime. Not for use by two threads at once.

    model: an ONNX file, or its bytes. pixels: makes the input (n, h, w, 3) uint8, converted on the host, and
    frees the dimensions that it leaves free. threads: 0 for all cores. providers: execution providers, first
    choice first, each a name or one with its options.

    Raises ModelInvalid for what is not a network, EngineUnavailable for a missing extra, or for a provider
    that is not here or that does not start.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        pixels: PixelInput | None = None,
        threads: int = 0,
        providers: Sequence[Provider] = ("CPUExecutionProvider",),
    ) -> None:
        gpu = any(isinstance(provider, Cuda | TensorRT) for provider in providers)
        ort = onnxruntime(gpu=gpu)
        self.label = str(model) if isinstance(model, Path) else f"model of {len(model)} bytes"
        if isinstance(model, Path) and not model.is_file():
            raise ModelInvalid(f"{self.label}: no such file")
        onnx_wire.check(model, self.label)
        _require(providers, ort.get_available_providers())
        if gpu:
            # CUDA and cuDNN that pip installed lie where no loader looks. What is missing it prints.
            with contextlib.redirect_stdout(sys.stderr):
                ort.preload_dlls()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.use_deterministic_compute = True
        options.log_severity_level = _ERRORS_ONLY
        source: Path | bytes = model
        if pixels is not None:
            source = _with_free_shape(model, self.label, pixels)
        chosen = [_options(ort, source, self.label, provider) for provider in providers]
        self._session: Any = _open(ort, source, self.label, options, chosen)
        _started(self._session, chosen)
        self._pixels = pixels
        self._held: list[Any] = []
        self._inputs = _signature(self._session.get_inputs(), self.label)
        self._outputs = _signature(self._session.get_outputs(), self.label)
        if pixels is not None:
            self._inputs = {sole_input(self._inputs, self.label): (pixels.shape, np.dtype(np.uint8))}
        self._failures = _failures()

    @property
    def inputs(self) -> Signature:
        return self._inputs

    @property
    def outputs(self) -> Signature:
        return self._outputs

    def infer(self, feeds: Feeds) -> Mapping[str, npt.NDArray[Any]]:
        """Run the network. Contiguous feeds are read in place, except uint8 pixels, which are normalised;
        outputs are valid until the next call."""
        if self._session is None:
            raise EngineClosed(f"{self.label}: the engine was closed")
        check_feeds(feeds, self._inputs, self.label)
        if self._pixels is not None:
            feeds = {name: self._pixels.normalise(fed) for name, fed in feeds.items()}
        # Bound by address: plain run() copies every output once more.
        arrays = {name: np.ascontiguousarray(fed) for name, fed in feeds.items()}
        binding = self._session.io_binding()
        try:
            for name, array in arrays.items():
                binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            for name in self._outputs:
                binding.bind_output(name, "cpu")
            self._session.run_with_iobinding(binding)
        except self._failures as failure:
            shapes = {name: fed.shape for name, fed in feeds.items()}
            raise ModelInvalid(f"{self.label}: cannot run on {shapes}: {failure}") from failure
        self._held = binding.get_outputs()
        return {name: value.numpy() for name, value in zip(self._outputs, self._held, strict=True)}

    def close(self) -> None:
        self._session, self._held = None, []


def _require(providers: Sequence[Provider], present: Sequence[str]) -> None:
    for provider in providers:
        name = provider if isinstance(provider, str) else provider.NAME
        if name not in present:
            how = "" if isinstance(provider, str) else f". {installing_for_gpus()}"
            raise EngineUnavailable(f"ONNX Runtime has no {name} here; it has {', '.join(present)}{how}")


def _options(ort: Any, source: Path | bytes, label: str, provider: Provider) -> Options:
    match provider:
        case Cuda():
            return provider.options()
        case TensorRT():
            plain = _open(ort, source, label, ort.SessionOptions(), [("CPUExecutionProvider", {})])
            return provider.options(_signature(plain.get_inputs(), label), label)
        case _:
            return provider, {}


def _started(session: Any, providers: Sequence[Options]) -> None:
    """ONNX Runtime itself goes on without a provider whose libraries or GPU are missing, after a warning."""
    running = session.get_providers()
    missing = [name for name, _ in providers if name not in running]
    if missing:
        raise EngineUnavailable(
            f"ONNX Runtime cannot start {', '.join(missing)} here; it runs {running}. Its reason stands "
            "above: most often a driver, or a library of CUDA, cuDNN or TensorRT, is missing. "
            f"{installing_for_gpus()}"
        )


def _with_free_shape(model: Path | bytes, label: str, pixels: PixelInput) -> bytes:
    """The model with its input declared as pixels wants it."""
    whole = model if isinstance(model, bytes) else model.read_bytes()
    name = sole_input(onnx_wire.input_names(whole), label)
    return onnx_wire.with_input_shapes(whole, {name: pixels.network_shape})


def _failures() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    named = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile)
    return (*named, state.NotImplemented, state.RuntimeException, state.EPFail, ValueError, RuntimeError)


def _open(ort: Any, source: Path | bytes, label: str, options: Any, providers: Sequence[Options]) -> Any:
    try:
        session = ort.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=list(providers)
        )
    except _failures() as failure:
        raise ModelInvalid(f"{label}: not a network that ONNX Runtime reads: {failure}") from failure
    return session


def _signature(ports: Any, label: str) -> Signature:
    found: dict[str, tuple[Shape, np.dtype[Any]]] = {}
    for port in ports:
        if port.type not in _DTYPES:
            raise ModelInvalid(f"{label}: {port.name!r} has the type {port.type}, which no engine here takes")
        shape = tuple(d if isinstance(d, int) else None for d in port.shape)
        found[port.name] = (shape, np.dtype(_DTYPES[port.type]))
    return found
