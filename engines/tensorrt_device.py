"""Every call into CUDA and TensorRT that running a plan takes, and nothing else.

Written against the documented Python API of TensorRT 11.4 and cuda-python 13 and checked call by call against
a table of its names and signatures (tests/engines/tensorrt/api.json). It has not yet run on a GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..stream.errors import EngineError, EngineUnavailable, ModelInvalid
from .tensorrt_plans import Gpu

_NEEDS = "the TensorRT engine needs `pip install 'facesieve[tensorrt]'`"
_MAJOR = "11"
_DTYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "UINT8": np.uint8,
}
log = logging.getLogger(__name__)


def tensorrt() -> Any:
    """The tensorrt package; EngineUnavailable if it is missing, cannot load or is not version 11."""
    try:
        import tensorrt as trt
    except ImportError as missing:
        raise EngineUnavailable(f"{_NEEDS} ({missing})") from missing
    if trt.__version__.split(".")[0] != _MAJOR:
        raise EngineUnavailable(f"{_NEEDS}: expected TensorRT {_MAJOR}, found {trt.__version__}")
    return trt


class Cuda:
    """One device's memory, streams and graphs. Addresses and handles are plain integers or the runtime's own.

    Raises EngineUnavailable if there is no such device, EngineError for a call that fails.
    """

    def __init__(self, device: int) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as missing:
            raise EngineUnavailable(f"{_NEEDS} ({missing})") from missing
        self._cuda: Any = runtime
        self.device = device
        error, count = runtime.cudaGetDeviceCount()
        if error != runtime.cudaError_t.cudaSuccess or count == 0:
            raise EngineUnavailable(f"TensorRT needs an NVIDIA GPU, and CUDA finds none here ({error.name})")
        if not 0 <= device < count:
            raise EngineUnavailable(f"expected a CUDA device from 0 to {count - 1}, got {device}")
        self.select()

    def gpu(self) -> Gpu:
        (properties,) = self._call("cudaGetDeviceProperties", self.device)
        return Gpu(properties.name.decode().rstrip("\0"), (properties.major, properties.minor))

    def select(self) -> None:
        """Make this device the calling thread's, as every call below needs."""
        self._call("cudaSetDevice", self.device)

    def free_bytes(self) -> int:
        """Memory of the device that nobody holds."""
        free, _ = self._call("cudaMemGetInfo")
        return int(free)

    def stream(self) -> Any:
        (stream,) = self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        return stream

    def allocate(self, size_bytes: int) -> int:
        (address,) = self._call("cudaMalloc", size_bytes)
        return int(address)

    def allocate_pinned(self, size_bytes: int) -> npt.NDArray[np.uint8]:
        """Host memory that the device copies from and to by itself, freed with the last view of it."""
        (address,) = self._call("cudaMallocHost", size_bytes)
        memory = (ctypes.c_uint8 * size_bytes).from_address(int(address))
        weakref.finalize(memory, self._cuda.cudaFreeHost, address)
        return np.ctypeslib.as_array(memory)

    def copy_in(self, address: int, host: npt.NDArray[np.uint8], size_bytes: int, stream: Any) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, host.ctypes.data, size_bytes, kind, stream)

    def copy_out(self, host: npt.NDArray[np.uint8], address: int, size_bytes: int, stream: Any) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", host.ctypes.data, address, size_bytes, kind, stream)

    def wait(self, stream: Any) -> None:
        self._call("cudaStreamSynchronize", stream)

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """What work puts on the stream, as a graph to launch; work itself is not run."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            with contextlib.suppress(EngineError):  # a capture must be ended, and this one is broken
                self._call("cudaStreamEndCapture", stream)
            raise
        (graph,) = self._call("cudaStreamEndCapture", stream)
        try:
            (launchable,) = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        return launchable

    def launch(self, graph: Any, stream: Any) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def free_graph(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def free_stream(self, stream: Any) -> None:
        self._call("cudaStreamDestroy", stream)

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        error, *results = getattr(self._cuda, name)(*arguments)
        if error != self._cuda.cudaError_t.cudaSuccess:
            sizes = [a for a in arguments if isinstance(a, int)]
            raise EngineError(f"CUDA device {self.device}: {name}{tuple(sizes)} failed with {error.name}")
        return tuple(results)


class Plan:
    """A loaded plan: its inputs and outputs, and contexts to run it in.

    Raises EngineError with TensorRT's own words if the plan does not load here.
    """

    def __init__(self, trt: Any, plan: bytes, *, version_compatible: bool) -> None:
        self._trt = trt
        self._logger = logger(trt)
        self._logger.forget()
        self._runtime = trt.Runtime(self._logger)
        if version_compatible:  # such a plan carries the runtime of its own version as host code
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(self._logger.last)

    @property
    def scratch_bytes(self) -> int:
        """Device memory that a context needs for what lies between inputs and outputs."""
        return int(self._engine.device_memory_size_v2)

    def tensors(self) -> Iterator[tuple[str, bool, tuple[int, ...], np.dtype[Any]]]:
        """(name, whether an input, shape with −1 for free dimensions, type) in the graph's order."""
        for i in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(i)
            kind = self._engine.get_tensor_dtype(name)
            if kind.name not in _DTYPES:
                raise ModelInvalid(f"{name!r} has the type {kind.name}, which no engine here takes")
            is_input = self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
            shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
            yield name, is_input, shape, np.dtype(_DTYPES[kind.name])

    def input_range(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Smallest and largest shape that the plan takes of an input."""
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        return tuple(int(size) for size in least), tuple(int(size) for size in most)

    def context(self, scratch: int) -> Context:
        """scratch: address of scratch_bytes on the device; contexts that never run at once may share it."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        made = self._engine.create_execution_context(strategy)
        if made is None:
            raise EngineError(f"TensorRT cannot make an execution context: {self._logger.last}")
        if self.scratch_bytes:
            made.set_device_memory(scratch, self.scratch_bytes)
        return Context(made, self._logger)


class Context:
    """One execution of a plan: shapes, addresses, and putting it on a stream."""

    def __init__(self, context: Any, logger: Any) -> None:
        self._context, self._logger = context, logger

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self._need(self._context.set_input_shape(name, shape), f"the shape {shape} of {name!r}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an output, for the input shapes set; −1 where only the data decide."""
        return tuple(int(size) for size in self._context.get_tensor_shape(name))

    def max_output_bytes(self, name: str) -> int:
        """What an output may take at most, whatever the shapes."""
        return int(self._context.get_max_output_size(name))

    def set_address(self, name: str, address: int) -> None:
        self._need(self._context.set_tensor_address(name, address), f"the address of {name!r}")

    def enqueue(self, stream: Any) -> None:
        self._need(self._context.execute_async_v3(int(stream)), "to run")

    def _need(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise EngineError(f"TensorRT refuses {what}: {self._logger.last}")


@functools.cache
def logger(trt: Any) -> Any:
    """Into this library's log; keeps the last error, because TensorRT's calls only say that they failed.

    One for the process: TensorRT uses the first logger that it is given, whatever it is given later.
    """
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: logging.DEBUG,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.forget()

        def forget(self) -> None:
            self.last = "it gives no reason"

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level == logging.ERROR:
                self.last = " ".join(msg.split())
            log.log(min(level, logging.WARNING), "TensorRT: %s", msg)

    return Logger()
