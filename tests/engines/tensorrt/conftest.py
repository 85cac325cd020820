"""A machine without a GPU that answers TensorRT's and CUDA's calls, and only the documented ones.

Every name and every argument is checked against api.json (see record_api.py): what the bindings do not have
raises AttributeError or TypeError here too. Behind the calls, device memory is host memory in a heap of its
own, a stream is a queue that runs when it is waited for, and a plan runs its graph in ONNX Runtime, so that
results, addresses, sizes and the order of copies can be tested. It says nothing of speed or real kernels.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

API = json.loads(Path(__file__).with_name("api.json").read_text(encoding="utf-8"))
MAGIC = b"PLAN"
KINDS = {
    "tensor(float)": "FLOAT",
    "tensor(float16)": "HALF",
    "tensor(uint8)": "UINT8",
    "tensor(int64)": "INT64",
    "tensor(double)": "FP8",  # stands for the types that numpy lacks
}
NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "UINT8": np.uint8, "INT64": np.int64, "FP8": np.float64}


def check_call(
    name: str, overloads: list[list[str]], arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    """TypeError unless one of the overloads takes so many arguments under these names."""
    for overload in overloads:
        names = [parameter.rstrip("?") for parameter in overload]
        given = set(names[: len(arguments)])
        wanted = {p for p in overload if not p.endswith("?")}
        fits = len(arguments) <= len(names) and not given & named.keys() and named.keys() <= set(names)
        if fits and wanted <= given | named.keys():
            return
    raise TypeError(f"{name} takes {overloads}, got {len(arguments)} arguments and {sorted(named)}")


class Documented:
    """Base of what stands in for a TensorRT class: public names are those of the table, nothing else."""

    machine: Machine

    def __init__(self, machine: Machine) -> None:
        object.__setattr__(self, "machine", machine)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name == "machine":
            return object.__getattribute__(self, name)
        kind = type(self).__name__
        table, machine = API["tensorrt"]["classes"][kind], object.__getattribute__(self, "machine")
        if name in table["properties"]:
            machine.calls.add(f"{kind}.{name}")
            return object.__getattribute__(self, "_" + name)
        if name not in table["methods"]:
            raise AttributeError(f"TensorRT {API['tensorrt']['version']} has no {kind}.{name}")
        method = object.__getattribute__(self, "_" + name)

        def call(*arguments: Any, **named: Any) -> Any:
            check_call(f"{kind}.{name}", table["methods"][name], arguments, named)
            machine.calls.add(f"{kind}.{name}")
            return method(*arguments, **named)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            return object.__setattr__(self, name, value)
        kind = type(self).__name__
        if API["tensorrt"]["classes"][kind]["properties"].get(name) != "read and written":
            raise AttributeError(f"TensorRT {API['tensorrt']['version']} cannot set {kind}.{name}")
        self.machine.calls.add(f"{kind}.{name}")
        return object.__setattr__(self, "_" + name, value)


class Builder(Documented):
    def _create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(self.machine)

    def _create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self.machine)

    def _create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile(self.machine)

    def _build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> Any:
        machine = self.machine
        machine.builds.append(config)
        if machine.refusal:
            return machine.say(machine.refusal)
        profile = config._profiles[0] if config._profiles else IOptimizationProfile(machine)
        for i in range(len(network._tensors)):
            tensor = network._tensors[i]
            if min(tensor._shape) < 0 and tensor._name not in profile._shapes:
                return machine.say(f"{tensor._name}: dynamic shape without a profile")
        name, capability = machine.gpus[machine.device]
        head = {
            "version": machine.version,
            "gpu": name,
            "capability": capability,
            "hardware": config._hardware_compatibility_level.name,
            "portable": "VERSION_COMPATIBLE" in config._flag_names,
            "profile": profile._shapes,
        }
        return HostMemory(MAGIC + json.dumps(head).encode() + b"\0" + network._model)


class HostMemory:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __bytes__(self) -> bytes:
        return self._content


class IBuilderConfig(Documented):
    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._builder_optimization_level = 3
        self._hardware_compatibility_level = machine.enum("HardwareCompatibilityLevel").NONE
        self._flag_names = {"TF32"}
        self._pools: dict[str, int] = {}
        self._profiles: list[IOptimizationProfile] = []

    def _set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._pools[pool.name] = pool_size

    def _set_flag(self, flag: Any) -> None:
        self._flag_names.add(flag.name)

    def _clear_flag(self, flag: Any) -> None:
        self._flag_names.discard(flag.name)

    def _add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def _create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        made = ITimingCache(self.machine)
        made._content = serialized_timing_cache
        return made

    def _set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        name = self.machine.gpus[self.machine.device][0]
        self._timings = cache._content
        return cache._content in (b"", name.encode())


class ITimingCache(Documented):
    def _serialize(self) -> HostMemory:
        return HostMemory(self.machine.gpus[self.machine.device][0].encode())


class IOptimizationProfile(Documented):
    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def _set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True))
        self._shapes[input] = [min, opt, max]


class ITensor(Documented):
    pass


class INetworkDefinition(Documented):
    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._tensors: list[ITensor] = []
        self._model = b""

    @property
    def _num_inputs(self) -> int:
        return len(self._tensors)

    def _get_input(self, index: int) -> ITensor:
        return self._tensors[index]


class ParserError(Documented):
    def _desc(self) -> str:
        return self._text

    def _node_name(self) -> str:
        return self._node

    def _node_operator(self) -> str:
        return self._operator


class OnnxParser(Documented):
    def __init__(self, machine: Machine, network: INetworkDefinition, logger: Any) -> None:
        super().__init__(machine)
        self._network, self._found = network, []

    def _parse(self, model: bytes, path: str | None = None) -> bool:
        self.machine.parsed.append(path)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._network._model = model
        uint8 = {i.name for i in session.get_inputs() if i.type == "tensor(uint8)"}
        for node in onnx.load_from_string(model).graph.node:
            said = self.machine.unreadable
            if node.op_type != "Cast" and uint8 & set(node.input):
                said = "no kernel for UINT8"
            if said:
                error = ParserError(self.machine)
                error._text, error._node, error._operator = said, node.name, node.op_type
                self._found.append(error)
        for port in session.get_inputs():
            tensor = ITensor(self.machine)
            tensor._name = port.name
            tensor._shape = tuple(size if isinstance(size, int) else -1 for size in port.shape)
            self._network._tensors.append(tensor)
        return not self._found

    @property
    def _num_errors(self) -> int:
        return len(self._found)

    def _get_error(self, index: int) -> ParserError:
        return self._found[index]


class Runtime(Documented):
    _engine_host_code_allowed = False

    def _deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        machine = self.machine
        if not serialized_engine.startswith(MAGIC):
            return machine.say("Serialization assertion magicTag failed")
        head, _, model = serialized_engine[len(MAGIC) :].partition(b"\0")
        made = json.loads(head)
        if made["version"] != machine.version and not (made["portable"] and self._engine_host_code_allowed):
            return machine.say(f"The engine was built by TensorRT {made['version']}")
        name, capability = machine.gpus[machine.device]
        same = [name, list(capability)] == [made["gpu"], made["capability"]]
        if not same and made["hardware"] == "NONE":
            return machine.say(f"The engine was built on {made['gpu']}")
        engine = ICudaEngine(machine)
        engine._profile = made["profile"]
        engine._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return engine


class ICudaEngine(Documented):
    _device_memory_size_v2 = 512

    def _ports(self) -> list[Any]:
        return [*self._session.get_inputs(), *self._session.get_outputs()]

    def _port(self, name: str) -> Any:
        return next(port for port in self._ports() if port.name == name)

    @property
    def _num_io_tensors(self) -> int:
        return len(self._ports())

    def _get_tensor_name(self, index: int) -> str:
        return str(self._ports()[index].name)

    def _get_tensor_dtype(self, name: str) -> Any:
        return self.machine.enum("DataType")[KINDS[self._port(name).type]]

    def _get_tensor_mode(self, name: str) -> Any:
        mode = self.machine.enum("TensorIOMode")
        return mode.INPUT if name in [port.name for port in self._session.get_inputs()] else mode.OUTPUT

    def _get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self._port(name).shape)

    def _get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        shapes = self._profile.get(name, [self._get_tensor_shape(name)] * 3)
        return [tuple(shape) for shape in shapes]

    def _create_execution_context(self, strategy: Any) -> IExecutionContext:
        assert strategy.name == "USER_MANAGED"
        return IExecutionContext(self.machine, self)


class IExecutionContext(Documented):
    def __init__(self, machine: Machine, engine: ICudaEngine) -> None:
        super().__init__(machine)
        self._plan = engine
        self._inputs: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._captured_as: dict[str, tuple[int, ...]] | None = None
        self._scratch: tuple[int, int] | None = None

    def _set_device_memory(self, memory: int, size: int) -> None:
        self.machine.block(memory, size)
        self._scratch = (memory, size)

    def _set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._plan._get_tensor_profile_shape(name, 0)
        if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            self.machine.say(f"{shape} is outside the profile")
            return False
        assert self._captured_as in (None, {**self._inputs, name: shape}), "reshaped what a graph holds"
        self._inputs[name] = shape
        return True

    def _set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def _output(self, name: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return np.asarray(self._plan._session.run([name], inputs)[0])

    def _zeros(self) -> dict[str, np.ndarray]:
        return {name: np.zeros(shape, self._numpy(name)) for name, shape in self._inputs.items()}

    def _numpy(self, name: str) -> Any:
        return NUMPY[self._plan._get_tensor_dtype(name).name]

    def _get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = self._output(name, self._zeros()).shape
        return (-1, *shape[1:]) if self.machine.data_dependent else shape

    def _get_max_output_size(self, name: str) -> int:
        if not self._inputs:
            return -1
        most = {n: self._plan._get_tensor_profile_shape(n, 0)[2] for n in self._inputs}
        return self._output(name, {n: np.zeros(s, self._numpy(n)) for n, s in most.items()}).nbytes

    def _execute_async_v3(self, stream_handle: int) -> bool:
        assert self._scratch is not None, "no scratch memory"
        assert isinstance(stream_handle, int)
        assert stream_handle != 0
        if self.machine.refusal:
            self.machine.say(self.machine.refusal)
            return False
        shapes, addresses = dict(self._inputs), dict(self._addresses)
        if self.machine.put(stream_handle, lambda: self._run(shapes, addresses)) == "captured":
            self._captured_as = shapes
        return True

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        inputs = {}
        for name, shape in shapes.items():
            inputs[name] = self.machine.array(addresses[name], shape, self._numpy(name)).copy()
        for port in self._plan._session.get_outputs():
            made = self._output(port.name, inputs)
            self.machine.array(addresses[port.name], made.shape, made.dtype)[...] = made


class ILogger:
    """Subclassed by ours, so it is a plain class; Severity is set when the module is made."""

    Severity: Any

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class Machine:
    """GPUs that are not there.

    refusal: what TensorRT answers to a build or a run instead of doing it. unreadable: to a node it parses.
    failing: CUDA call → error that it returns. data_dependent: whether outputs have shapes of that kind.
    """

    def __init__(self) -> None:
        self.gpus = [("NVIDIA Test A", (8, 6)), ("NVIDIA Test B", (9, 0))]
        self.device = 0
        self.version = str(API["tensorrt"]["version"])
        self.refusal = self.unreadable = ""
        self.data_dependent = False
        self.failing: dict[str, str] = {}
        self.calls: set[str] = set()
        self.builds: list[IBuilderConfig] = []
        self.parsed: list[str | None] = []
        self.loggers: list[Any] = []
        self.heap: dict[int, Any] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.enums: dict[str, Any] = {}
        self.handles = itertools.count(7000)

    def enum(self, name: str) -> Any:
        """An enumeration of the table, one for the machine's life."""
        if name not in self.enums:
            names = API["tensorrt"]["enums"].get(name) or API["cuda"]["enums"][name]
            self.enums[name] = enum.IntEnum(name, names, start=0)
        return self.enums[name]

    def say(self, text: str) -> None:
        self.loggers[-1].log(self.enum("ILogger.Severity").ERROR, text)

    def block(self, address: int, size: int) -> None:
        """AssertionError unless these bytes lie within one block that was allocated and not freed."""
        assert any(a <= address and address + size <= a + len(m) for a, m in self.heap.items()), "not ours"

    def array(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.block(address, size)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)

    def put(self, stream: int, work: Callable[[], None]) -> str:
        if stream in self.capturing:
            self.capturing[stream].append(work)
            return "captured"
        self.streams[stream].append(work)
        return "queued"


class TensorRTModule(ModuleType):
    """The module `tensorrt`."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("tensorrt")
        self._machine = machine
        severity = machine.enum("ILogger.Severity")
        self._logger = type("ILogger", (ILogger,), {"Severity": severity})

    def __getattr__(self, name: str) -> Any:
        machine = self._machine
        if name == "__version__":
            return machine.version
        if name == "ILogger":
            return self._logger
        if name in API["tensorrt"]["enums"]:
            return machine.enum(name)
        table = API["tensorrt"]["classes"].get(name)
        if table is None or not table["methods"]["__init__"]:
            raise AttributeError(f"TensorRT {API['tensorrt']['version']} has no {name} to call")

        def construct(*arguments: Any, **named: Any) -> Any:
            check_call(name, table["methods"]["__init__"], arguments, named)
            machine.calls.add(name)
            machine.loggers.append(arguments[-1])
            return OnnxParser(machine, *arguments) if name == "OnnxParser" else globals()[name](machine)

        return construct


class CudaModule(ModuleType):
    """The module `cuda.bindings.runtime`."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("runtime")
        self._machine = machine

    def __getattr__(self, name: str) -> Any:
        if name in API["cuda"]["enums"]:
            return self._machine.enum(name)
        if name in API["cuda"]["constants"]:
            return 1
        if name not in API["cuda"]["functions"]:
            raise AttributeError(f"cuda-bindings {API['cuda']['version']} has no {name}")
        function = object.__getattribute__(self, "_" + name)

        def call(*arguments: Any, **named: Any) -> tuple[Any, ...]:
            check_call(name, API["cuda"]["functions"][name], arguments, named)
            self._machine.calls.add(name)
            errors = self._machine.enum("cudaError_t")
            if name in self._machine.failing:
                return (errors[self._machine.failing[name]], None)
            results = function(*arguments, **named)
            return (errors.cudaSuccess, *(results if isinstance(results, tuple) else (results,)))

        return call

    def _cudaGetDeviceCount(self) -> int:
        return len(self._machine.gpus)

    def _cudaSetDevice(self, device: int) -> tuple[()]:
        self._machine.device = device
        return ()

    def _cudaGetDeviceProperties(self, device: int) -> Any:
        name, (major, minor) = self._machine.gpus[device]
        assert {"name", "major", "minor"} <= set(API["cuda"]["cudaDeviceProp"])
        return SimpleNamespace(name=name.encode().ljust(256, b"\0"), major=major, minor=minor)

    def _cudaMemGetInfo(self) -> tuple[int, int]:
        return 1 << 30, 1 << 31

    def _cudaMalloc(self, size: int) -> int:
        memory = (ctypes.c_uint8 * size)(*([0xAB] * min(size, 64)))
        address = ctypes.addressof(memory)
        self._machine.heap[address] = memory
        return address

    _cudaMallocHost = _cudaMalloc

    def _cudaFree(self, devPtr: int) -> tuple[()]:
        del self._machine.heap[devPtr]
        return ()

    _cudaFreeHost = _cudaFree

    def _cudaStreamCreateWithFlags(self, flags: int) -> int:
        assert flags == self.cudaStreamNonBlocking
        handle = next(self._machine.handles)
        self._machine.streams[handle] = []
        return handle

    def _cudaStreamDestroy(self, stream: int) -> tuple[()]:
        del self._machine.streams[stream]
        return ()

    def _cudaStreamSynchronize(self, stream: int) -> tuple[()]:
        assert stream not in self._machine.capturing
        queue, self._machine.streams[stream] = self._machine.streams[stream], []
        for work in queue:
            work()
        return ()

    def _cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: int) -> tuple[()]:
        assert kind.name in ("cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost")
        self._machine.block(dst, count)
        self._machine.block(src, count)
        self._machine.put(stream, lambda: ctypes.memmove(dst, src, count) and None)
        return ()

    def _cudaStreamBeginCapture(self, stream: int, mode: Any) -> tuple[()]:
        assert mode.name == "cudaStreamCaptureModeThreadLocal"
        self._machine.capturing[stream] = []
        return ()

    def _cudaStreamEndCapture(self, stream: int) -> Any:
        return (self._machine.capturing.pop(stream),)

    def _cudaGraphInstantiate(self, graph: Any, flags: int) -> int:
        handle = next(self._machine.handles)
        self._machine.graphs[handle] = graph
        return handle

    def _cudaGraphDestroy(self, graph: Any) -> tuple[()]:
        return ()

    def _cudaGraphLaunch(self, graphExec: int, stream: int) -> tuple[()]:
        self._machine.streams[stream].extend(self._machine.graphs[graphExec])
        return ()

    def _cudaGraphExecDestroy(self, graphExec: int) -> tuple[()]:
        del self._machine.graphs[graphExec]
        return ()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Two GPUs in place of the packages tensorrt and cuda, for one test."""
    made = Machine()
    runtime = CudaModule(made)
    bindings = SimpleNamespace(runtime=runtime)
    monkeypatch.setitem(sys.modules, "tensorrt", TensorRTModule(made))
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(bindings=bindings))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    return made


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines logged about building plans."""
    caplog.set_level(logging.INFO, logger="facesieve")
    return lambda: [r.getMessage() for r in caplog.records if "building a TensorRT plan" in r.getMessage()]
