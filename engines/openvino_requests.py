"""A batch shared out over infer requests that run at the same time: OpenVINO's throughput mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from .signature import Signature

Arrays = list[npt.NDArray[Any]]


def divisible(inputs: Signature, outputs: Signature) -> bool:
    """Whether rows of every input give rows of every output: a free first dimension, and no other free one
    among the outputs."""
    ports = (*inputs.values(), *outputs.values())
    rows = all(shape and shape[0] is None for shape, _ in ports)
    return rows and all(None not in shape[1:] for shape, _ in outputs.values())


def parts(rows: int, sizes: Sequence[int]) -> list[int]:
    """So many rows in as few parts of these sizes, 1 among them, as taking the largest first gives."""
    cut: list[int] = []
    for size in sorted(sizes, reverse=True):
        count, rows = divmod(rows, size)
        cut += [size] * count
    return cut


class Shares:
    """As many requests of one compiled network as its device finds best, each with a share of the rows.

    Inputs are read and outputs written in place: shares are views of one array each.
    """

    def __init__(self, compiled: Any, outputs: Signature) -> None:
        count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests = [compiled.create_infer_request() for _ in range(count)]
        self._outputs = outputs

    def __len__(self) -> int:
        return len(self._requests)

    def infer(self, arrays: Sequence[npt.NDArray[Any]]) -> Arrays:
        """The outputs for C-contiguous inputs of equally many rows; RuntimeError where a request fails."""
        rows = len(arrays[0])
        made: Arrays = [
            np.empty((rows, *(size for size in shape[1:] if size is not None)), dtype)
            for shape, dtype in self._outputs.values()
        ]
        cuts = np.linspace(0, rows, min(rows, len(self._requests)) + 1).astype(int)
        busy = []
        for request, start, end in zip(self._requests, cuts[:-1], cuts[1:], strict=False):
            for i, array in enumerate(arrays):
                request.set_input_tensor(i, ov.Tensor(array[start:end], shared_memory=True))
            for i, array in enumerate(made):
                request.set_output_tensor(i, ov.Tensor(array[start:end], shared_memory=True))
            request.start_async()
            busy.append(request)
        failures = [failure for request in busy if (failure := _waited(request)) is not None]
        if failures:
            raise failures[0]
        return made


def _waited(request: Any) -> RuntimeError | None:
    try:
        request.wait()
    except RuntimeError as failure:
        return failure
    return None
