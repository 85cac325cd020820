"""TensorRT: the engine of NVIDIA GPUs (`pip install 'facesieve[tensorrt]'`). Compiles ONNX graphs into plans.

A plan is built for one GPU, one TensorRT and one range of batches, which takes seconds to many minutes, so it
is never built while a pipeline runs: TensorRTEngine.build makes it, the constructor loads it. Precision is
the graph's own (TensorRT 11 compiles strongly typed networks only). tests/engines/tensorrt checks every call
against the documented API; it has not yet run on a GPU, for which `pytest -m gpu` is there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..stream.errors import EngineClosed, EngineError, ModelInvalid
from ..stream.ports import Closing
from .signature import Feeds, PixelInput, Shape, Signature, check_feeds
from .tensorrt_device import Context, Cuda
from .tensorrt_plans import GraphPrecision, PlanOptions
from .tensorrt_source import PlanSource

_GRAPHS_LIMIT = 16
_Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _Buffer:
    """device: an address there. host: as many bytes that the device copies from and to by itself."""

    device: int
    host: npt.NDArray[np.uint8]


@dataclass(slots=True)
class _Execution:
    """A context set to the shapes of inputs and outputs; graph: its work on the stream, once captured."""

    context: Context
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    graph: Any = None

    def drop(self, cuda: Cuda) -> None:
        if self.graph is not None:
            cuda.free_graph(self.graph)
            self.graph = None


class TensorRTEngine(Closing):
    """A network compiled by TensorRT, on a stream of its own. Not for use by two threads at once.

    model: an ONNX file, or the bytes of one. pixels: makes the input (n, h, w, 3) uint8 and compiles the
    conversion into the plan. device: CUDA's index of the GPU. build: "never" takes a plan from cache_dir or
    fails, "now" builds a missing or unfit one first and stores it (in memory only if cache_dir is None).
    cuda_graphs: record the work of each batch size once and launch it whole; at most 16 sizes are kept.

    Buffers on both sides are allocated once, for the profile's largest shapes; a batch beyond its maximum is
    run in parts, one below its minimum is filled up with zeros. Outputs are not looked at: NaN stays NaN.

    Raises ModelInvalid for what is not a network or cannot be compiled, EngineUnavailable for a missing
    extra, GPU or plan, EngineError for a call that fails.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        pixels: PixelInput | None = None,
        options: PlanOptions | None = None,
        device: int = 0,
        build: Literal["now", "never"] = "never",
        cuda_graphs: bool = False,
        cache_dir: Path | None = None,
    ) -> None:
        source = PlanSource(model, pixels, options or PlanOptions(), device, cache_dir)
        self.label, self._options = source.label, source.options
        self._closed = False
        self._cuda_graphs = cuda_graphs
        self._executions: OrderedDict[_Shapes, _Execution] = OrderedDict()
        with ExitStack() as stack:
            self._cuda = source.cuda
            self._plan = source.load() if build == "never" else source.load_or_build()
            self._stream = self._cuda.stream()
            stack.callback(self._cuda.free_stream, self._stream)
            self._read_ports()
            self._allocate(stack)
            self._held = stack.pop_all()

    @staticmethod
    def plan_ready(
        model: Path | bytes,
        *,
        pixels: PixelInput | None = None,
        options: PlanOptions | None = None,
        device: int = 0,
        cache_dir: Path,
    ) -> bool:
        """Whether the constructor would find a plan in cache_dir; not whether TensorRT accepts it."""
        source = PlanSource(model, pixels, options or PlanOptions(), device, cache_dir)
        return source.ready()

    @staticmethod
    def build(
        model: Path | bytes,
        *,
        pixels: PixelInput | None = None,
        options: PlanOptions | None = None,
        device: int = 0,
        cache_dir: Path,
    ) -> Path:
        """Have a plan that loads in cache_dir, and say where it lies; builds it if need be, for minutes."""
        source = PlanSource(model, pixels, options or PlanOptions(), device, cache_dir)
        return source.build()

    @property
    def inputs(self) -> Signature:
        return self._inputs

    @property
    def outputs(self) -> Signature:
        return self._outputs

    @property
    def precision(self) -> GraphPrecision:
        """Of the graph, as the options name it."""
        return self._options.precision

    def infer(self, feeds: Feeds) -> Mapping[str, npt.NDArray[Any]]:
        """Run the network. Feeds are copied once; outputs are valid until the next call."""
        if self._closed:
            raise EngineClosed(f"{self.label}: the engine was closed")
        check_feeds(feeds, self._inputs, self.label)
        batch = self._batch(feeds)
        self._cuda.select()
        if batch <= self._max_batch:
            return self._run(feeds, batch)
        parts = [
            {name: array.copy() for name, array in self._run(part, n).items()}
            for part, n in self._parts(feeds, batch)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._cuda.select()
        for execution in self._executions.values():
            execution.drop(self._cuda)
        self._executions.clear()
        del self._context, self._plan
        self._buffers.clear()  # views that the caller still holds keep their memory
        self._held.close()

    def _read_ports(self) -> None:
        self._inputs: dict[str, tuple[Shape, np.dtype[Any]]] = {}
        self._outputs: dict[str, tuple[Shape, np.dtype[Any]]] = {}
        self._ranges: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for name, is_input, shape, dtype in self._plan.tensors():
            free = tuple(None if size < 0 else size for size in shape)
            (self._inputs if is_input else self._outputs)[name] = (free, dtype)
            if is_input:
                self._ranges[name] = self._plan.input_range(name) if None in free else (shape, shape)
        self._batched = {name for name, (shape, _) in self._inputs.items() if shape and shape[0] is None}
        sizes = [(least[0], most[0]) for name, (least, most) in self._ranges.items() if name in self._batched]
        self._min_batch = max((least for least, _ in sizes), default=1)
        self._max_batch = min((most for _, most in sizes), default=1)

    def _allocate(self, stack: ExitStack) -> None:
        """Scratch memory, and a buffer on each side for every input and output at its largest."""

        def allocate(size_bytes: int) -> int:
            address = self._cuda.allocate(max(size_bytes, 1))
            stack.callback(self._cuda.free, address)
            return address

        self._scratch = allocate(self._plan.scratch_bytes)
        self._buffers: dict[str, _Buffer] = {}
        sizes = {name: self._bytes(self._ranges[name][1], dtype) for name, (_, dtype) in self._inputs.items()}
        sizing = self._plan.context(self._scratch)
        for name, (_, most) in self._ranges.items():
            sizing.set_shape(name, most)
        for name in self._outputs:
            sizes[name] = sizing.max_output_bytes(name)
            if sizes[name] < 0 or min(sizing.shape(name), default=0) < 0:
                raise ModelInvalid(f"{self.label}: the shape of {name!r} depends on the data; it must not")
        for name, size in sizes.items():
            self._buffers[name] = _Buffer(allocate(size), self._cuda.allocate_pinned(max(size, 1)))
        self._context = self._bound_context()

    def _bound_context(self) -> Context:
        context = self._plan.context(self._scratch)
        for name, buffer in self._buffers.items():
            context.set_address(name, buffer.device)
        return context

    def _batch(self, feeds: Feeds) -> int:
        """Rows of the feeds; ModelInvalid where they disagree or a shape is outside the profile."""
        rows = {name: feeds[name].shape[0] for name in self._batched}
        if len(set(rows.values())) > 1:
            raise ModelInvalid(f"{self.label}: expected as many rows in every input, got {rows}")
        for name, (least, most) in self._ranges.items():
            first, got = int(name in self._batched), feeds[name].shape
            sizes = zip(least[first:], got[first:], most[first:], strict=True)
            if not all(low <= size <= high for low, size, high in sizes):
                raise ModelInvalid(
                    f"{self.label}: the plan takes input {name!r} from {least} to {most}, got {got}; "
                    "build one with another profile"
                )
        batch = next(iter(rows.values()), 1)
        whole = [name for name, (shape, _) in self._outputs.items() if not shape or shape[0] is not None]
        if whole and rows and not self._min_batch <= batch <= self._max_batch:
            raise ModelInvalid(
                f"{self.label}: expected {self._min_batch} to {self._max_batch} rows, got {batch}; outputs "
                f"{whole} have no row for each, so that they cannot be run in parts"
            )
        return batch

    def _parts(self, feeds: Feeds, batch: int) -> Iterator[tuple[Feeds, int]]:
        for start in range(0, batch, self._max_batch):
            stop = min(start + self._max_batch, batch)
            part = {n: fed[start:stop] if n in self._batched else fed for n, fed in feeds.items()}
            yield part, stop - start

    def _run(self, feeds: Feeds, batch: int) -> dict[str, npt.NDArray[Any]]:
        rows = max(batch, self._min_batch)
        shapes = {n: (rows, *f.shape[1:]) if n in self._batched else f.shape for n, f in feeds.items()}
        for name, fed in feeds.items():
            staged = self._view(name, shapes[name], self._inputs[name][1])
            if name in self._batched:
                staged[:batch] = fed
                staged[batch:] = 0
            else:
                staged[...] = fed
        execution = self._execution(shapes)
        self._compute(execution)
        outputs = {}
        for name, shape in execution.outputs.items():
            declared, dtype = self._outputs[name]
            view = self._view(name, shape, dtype)
            outputs[name] = view[:batch] if declared and declared[0] is None and self._batched else view
        return outputs

    def _execution(self, shapes: Mapping[str, tuple[int, ...]]) -> _Execution:
        """A context of these shapes. A captured graph keeps its own; without graphs one serves all."""
        key = tuple(shapes[name] for name in self._inputs)
        found = self._executions.get(key)
        if found is not None:
            self._executions.move_to_end(key)
            return found
        if len(self._executions) >= (_GRAPHS_LIMIT if self._cuda_graphs else 1):
            self._executions.popitem(last=False)[1].drop(self._cuda)
        context = self._bound_context() if self._cuda_graphs else self._context
        for name, shape in shapes.items():
            context.set_shape(name, shape)
        made = _Execution(context, dict(shapes), {name: context.shape(name) for name in self._outputs})
        self._executions[key] = made
        return made

    def _compute(self, execution: _Execution) -> None:
        if execution.graph is not None:
            self._cuda.launch(execution.graph, self._stream)
            self._cuda.wait(self._stream)
            return
        self._enqueue(execution)
        self._cuda.wait(self._stream)
        if self._cuda_graphs:
            # TensorRT settles what a new shape needs in the first run, which a capture cannot hold.
            try:
                execution.graph = self._cuda.capture(self._stream, lambda: self._enqueue(execution))
            except EngineError as refused:
                raise EngineError(
                    f"{self.label}: cannot be captured as a CUDA graph ({refused}); use cuda_graphs=False"
                ) from refused

    def _enqueue(self, execution: _Execution) -> None:
        for name, shape in execution.inputs.items():
            size, buffer = self._bytes(shape, self._inputs[name][1]), self._buffers[name]
            self._cuda.copy_in(buffer.device, buffer.host, size, self._stream)
        execution.context.enqueue(self._stream)
        for name, shape in execution.outputs.items():
            size, buffer = self._bytes(shape, self._outputs[name][1]), self._buffers[name]
            self._cuda.copy_out(buffer.host, buffer.device, size, self._stream)

    def _view(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        return self._buffers[name].host[: self._bytes(shape, dtype)].view(dtype).reshape(shape)

    @staticmethod
    def _bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
        return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
