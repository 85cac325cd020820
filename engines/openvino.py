"""OpenVINO: the engine of CPUs (and of Intel's GPUs and NPUs). Reads ONNX, TensorFlow Lite and OpenVINO IR.

Results don't depend on the number of threads: OpenVINO's CPU kernels split work over rows and channels of the
output, never over the terms of one sum (tests/engines/test_openvino.py holds it for every model here). They
do depend, in the last bits, on precision, on the shape a graph was compiled for and on the processor.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import openvino as ov

from ..stream.errors import EngineClosed, EngineUnavailable, ModelInvalid
from ..stream.ports import Closing
from . import compiled_cache
from .openvino_graphs import fold_stem
from .openvino_networks import GRAPH_FORM, core, digest, read, reason, signature
from .openvino_requests import Shares, divisible, parts
from .signature import Feeds, PixelInput, Signature, check_feeds

Precision = Literal["fp32", "bf16", "fp16", "auto"]
Hint = Literal["latency", "throughput"]
_SPECIALISED_LIMIT = 16
log = logging.getLogger(__name__)
_PRECISION = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16, "fp16": ov.Type.f16}


class OpenVinoEngine(Closing):
    """A network compiled by OpenVINO. Not for use by two threads at once.

    model: a file, or the bytes of an ONNX model. name: what the log calls it, default as errors do. sha256:
    its hash, if known, of all there is of it; it is not read then where what it compiles to is stored.
    pixels: makes the input (n, h, w, 3) uint8 and compiles the conversion into the graph. precision: of the
    arithmetic; "auto" is the device's own choice (bf16 on CPUs with AMX). threads: 0 for all cores. hint:
    "throughput" shares the rows of a batch out over streams that run at the same time, as many as the device
    finds best, or `streams`; they share the threads. specialise: compile anew for each input shape (at most
    16 are kept), which is faster to run; False compiles once for all shapes. rows: specialise for batches of
    these sizes, 1 among them; others are run in parts, where the network can be (see
    openvino_requests.divisible). cache_dir: keeps compiled networks.

    Raises ModelInvalid for what is not a network, EngineUnavailable for an absent device or precision.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        name: str | None = None,
        sha256: str | None = None,
        pixels: PixelInput | None = None,
        device: str = "CPU",
        precision: Precision = "auto",
        threads: int = 0,
        hint: Hint = "latency",
        streams: int | None = None,
        specialise: bool = False,
        rows: tuple[int, ...] = (),
        cache_dir: Path | None = None,
    ) -> None:
        self.label = str(model) if isinstance(model, Path) else f"model of {len(model)} bytes"
        self._name = name or self.label
        self._device = _available(device)
        self._config = _config(self._device, precision, threads, hint, streams)
        self._cache_dir = cache_dir
        self._read = functools.partial(read, model, self.label, pixels)
        self._is_known = sha256 is not None
        self._network: Any = None if self._is_known else self._read()
        self._key = (sha256 or digest(model)) + repr(
            (GRAPH_FORM, pixels, self._device, sorted(map(repr, self._config.items())))
        )
        self._inputs, self._outputs = self._stored_signatures() or self._signatures()
        self._rows = rows if divisible(self._inputs, self._outputs) else ()
        self._specialise = specialise or bool(self._rows)
        self._requests: OrderedDict[tuple[tuple[int, ...], ...], Any] = OrderedDict()
        self._shares: Shares | None = None
        self._closed = False
        if not self._specialise:
            compiled = self._compiled(())
            self._requests[()] = compiled.create_infer_request()
            if hint == "throughput" and divisible(self._inputs, self._outputs):
                self._shares = Shares(compiled, self._outputs)

    @property
    def _graph(self) -> Any:
        """What is compiled; of a model whose compiled form is stored nobody asks."""
        if self._network is None:
            self._network = self._read()
        return self._network

    @property
    def inputs(self) -> Signature:
        return self._inputs

    @property
    def outputs(self) -> Signature:
        return self._outputs

    @property
    def precision(self) -> Literal["fp32", "bf16", "fp16"]:
        """Of the arithmetic, as the device decided; compiles if nothing is compiled yet."""
        if self._closed:
            raise EngineClosed(f"{self.label}: the engine was closed")
        request = next(iter(self._requests.values())) if self._requests else None
        compiled = request.get_compiled_model() if request is not None else self._compiled(())
        kind = compiled.get_property("INFERENCE_PRECISION_HINT")
        return "bf16" if kind == ov.Type.bf16 else "fp16" if kind == ov.Type.f16 else "fp32"

    def infer(self, feeds: Feeds) -> Mapping[str, npt.NDArray[Any]]:
        """Run the network. Contiguous feeds are read in place; outputs are valid until the next call."""
        if self._closed:
            raise EngineClosed(f"{self.label}: the engine was closed")
        check_feeds(feeds, self._inputs, self.label)
        arrays = [np.ascontiguousarray(feeds[name]) for name in self._inputs]
        if self._shares is not None and len({len(a) for a in arrays}) == 1 and len(arrays[0]) > 1:
            return self._shared(self._shares, arrays)
        if self._rows and len({len(a) for a in arrays}) == 1:
            return self._in_parts(arrays)
        return self._run(arrays)

    def close(self) -> None:
        self._closed = True
        self._requests.clear()
        self._network = self._shares = None

    def _run(self, arrays: list[npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        request = self._request(tuple(a.shape for a in arrays))
        # The request keeps pointers into the feeds, so they live as long as the call.
        for i, array in enumerate(arrays):
            request.set_input_tensor(i, ov.Tensor(array, shared_memory=True))
        try:
            # Not infer(): that makes a copy of every output first, and is slower on a thread of ours.
            request.start_async()
            request.wait()
        except RuntimeError as failure:
            raise self._refused(arrays, failure) from failure
        return {name: request.get_output_tensor(i).data for i, name in enumerate(self._outputs)}

    def _in_parts(self, arrays: list[npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        sizes = parts(len(arrays[0]), self._rows)
        if len(sizes) == 1:
            return self._run(arrays)
        found: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in self._outputs}
        start = 0
        for size in sizes:
            for name, values in self._run([a[start : start + size] for a in arrays]).items():
                found[name].append(values.copy())  # the next part may take the same request
            start += size
        return {name: np.concatenate(values) for name, values in found.items()}

    def _shared(self, shares: Shares, arrays: list[npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        try:
            return dict(zip(self._outputs, shares.infer(arrays), strict=True))
        except RuntimeError as failure:
            raise self._refused(arrays, failure) from failure

    def _refused(self, arrays: list[npt.NDArray[Any]], failure: RuntimeError) -> ModelInvalid:
        shapes = {n: a.shape for n, a in zip(self._inputs, arrays, strict=True)}
        return ModelInvalid(f"{self.label}: cannot run on {shapes}: {reason(failure)}")

    def _request(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        key = shapes if self._specialise else ()
        request = self._requests.get(key)
        if request is None:
            request = self._requests[key] = self._compile(key)
            if len(self._requests) > _SPECIALISED_LIMIT:
                self._requests.popitem(last=False)
        self._requests.move_to_end(key)
        return request

    def _arithmetic(self) -> Any:
        """The type that kernels will compute in: the configured one, else the device's own choice."""
        chosen = self._config.get("INFERENCE_PRECISION_HINT")
        return chosen or core().get_property(self._device, "INFERENCE_PRECISION_HINT")

    def _compile(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        return self._compiled(shapes).create_infer_request()

    def _signatures(self) -> tuple[Signature, Signature]:
        found = signature(self._graph.inputs), signature(self._graph.outputs)
        if self._is_known and self._cache_dir is not None:
            with contextlib.suppress(EngineUnavailable):  # then the next start reads the graph, too
                compiled_cache.save(self._cache_dir, self._signature_key(), _packed(found))
        return found

    def _signature_key(self) -> str:
        return hashlib.sha256(f"{self._key} signature {ov.get_version()}".encode()).hexdigest()

    def _stored_signatures(self) -> tuple[Signature, Signature] | None:
        """Inputs and outputs as the graph has them: a compiled network may call its ports by other names."""
        if not self._is_known or self._cache_dir is None:
            return None
        stored = compiled_cache.load(self._cache_dir, self._signature_key())
        return None if stored is None else _unpacked(stored)

    def _compiled(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        key = hashlib.sha256(f"{self._key} {shapes} {ov.get_version()}".encode()).hexdigest()
        blob = compiled_cache.load(self._cache_dir, key) if self._cache_dir is not None else None
        if blob is not None:
            try:
                return core().import_model(blob, self._device, self._config)
            except RuntimeError as failure:  # compiled on another processor: cache folders move with disks
                log.info("%s: its stored compilation is not for here: %s", self._name, reason(failure))
        graph = self._graph
        if shapes:
            graph = graph.clone()
            graph.reshape({i: ov.PartialShape(list(s)) for i, s in enumerate(shapes)})
            if self._arithmetic() == ov.Type.bf16:
                fold_stem(graph)
        sizes = "".join(f", {'×'.join(map(str, shape))}" for shape in shapes)
        once = "" if self._cache_dir is None else " (once; later starts load it)"
        log.info("compiling %s for the %s%s%s", self._name, self._device, sizes, once)
        try:
            compiled = core().compile_model(graph, self._device, self._config)
        except RuntimeError as failure:
            raise ModelInvalid(
                f"{self.label}: {self._device} cannot compile it: {reason(failure)}"
            ) from failure
        if self._cache_dir is not None:
            compiled_cache.save(self._cache_dir, key, compiled.export_model().getvalue())
        if self._is_known:
            self._network = None
        return compiled


def _packed(signatures: tuple[Signature, Signature]) -> bytes:
    found = [[(name, shape, dtype.str) for name, (shape, dtype) in ports.items()] for ports in signatures]
    return json.dumps(found).encode()


def _unpacked(stored: bytes) -> tuple[Signature, Signature]:
    inputs, outputs = (
        {name: (tuple(shape), np.dtype(dtype)) for name, shape, dtype in ports}
        for ports in json.loads(stored)
    )
    return inputs, outputs


def can_compute(precision: Precision, device: str = "CPU") -> bool:
    """Whether the device computes in that precision by itself."""
    return precision.upper() in core().get_property(_available(device), "OPTIMIZATION_CAPABILITIES")


def _available(device: str) -> str:
    present = core().available_devices
    if device not in present and device.split(".")[0] not in present:
        raise EngineUnavailable(f"OpenVINO finds no device {device!r} here; it has {', '.join(present)}")
    return device


def _config(
    device: str, precision: Precision, threads: int, hint: Hint, streams: int | None
) -> dict[str, Any]:
    config: dict[str, Any] = {"PERFORMANCE_HINT": hint.upper()}
    if device == "CPU":
        # Pinned, every network of a process waits for the same first core (detector and student: a fifth).
        config["ENABLE_CPU_PINNING"] = False
    if streams is not None:
        config["NUM_STREAMS"] = streams
    if precision != "auto":
        able = core().get_property(device, "OPTIMIZATION_CAPABILITIES")
        if precision.upper() not in able:
            raise EngineUnavailable(
                f"{device} cannot compute in {precision}; it can in {', '.join(sorted(able))}"
            )
        config["INFERENCE_PRECISION_HINT"] = _PRECISION[precision]
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    return config
