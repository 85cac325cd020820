"""What every engine checks the same way: declared inputs and outputs, the feeds of a call, pixel inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..stream.errors import ModelInvalid

Shape = tuple[int | None, ...]
Signature = Mapping[str, tuple[Shape, np.dtype[Any]]]
Feeds = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class PixelInput:
    """How a network with one image input wants its pixels; the engine then takes (n, h, w, 3) uint8.

    The network sees (pixel − mean) / std for each channel, in its own layout. OpenVINO compiles this into the
    graph; ONNX Runtime runs the raw graph and does it on the host. Channel order is the caller's: the decoder
    delivers either at no cost. batch, height, width: None leaves that dimension free, whatever the file says
    (fully convolutional networks are often exported with one fixed size).
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    batch: int | None = 1
    height: int | None = None
    width: int | None = None

    @property
    def shape(self) -> Shape:
        """Of the uint8 tensor that the engine takes."""
        return (self.batch, self.height, self.width, 3)

    @property
    def network_shape(self) -> Shape:
        """Of the float tensor inside."""
        if self.layout == "NCHW":
            return (self.batch, 3, self.height, self.width)
        return self.shape

    def check(self, declared: Shape, label: str) -> None:
        """Raise ModelInvalid where a file declares its image input otherwise. The batch may differ, and what
        either side leaves free: set to another size, a network may well run, on what it was not made for."""
        sides = zip(declared[1:], self.network_shape[1:], strict=False)
        if len(declared) != 4 or any(None not in pair and pair[0] != pair[1] for pair in sides):
            wanted = describe(self.network_shape)
            raise ModelInvalid(f"{label}: expected an input {wanted}, the file has {describe(declared)}")

    def normalise(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(n, h, w, 3) uint8 → the float32 tensor of the network, on the host."""
        x = pixels.astype(np.float32)
        if any(self.mean):
            x -= np.asarray(self.mean, np.float32)
        if any(s != 1.0 for s in self.std):
            x /= np.asarray(self.std, np.float32)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if self.layout == "NCHW" else x


def describe(shape: Shape) -> str:
    """(1, None, 3) → "(1, ?, 3)"."""
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


def check_feeds(feeds: Feeds, inputs: Signature, label: str) -> None:
    """Raise ModelInvalid unless feeds has exactly the declared names, shapes and types, no batch of 0."""
    if feeds.keys() != inputs.keys():
        raise ModelInvalid(f"{label}: expected inputs {sorted(inputs)}, got {sorted(feeds)}")
    for name, (shape, dtype) in inputs.items():
        fed = feeds[name]
        if fed.dtype != dtype:
            raise ModelInvalid(f"{label}: expected input {name!r} as {dtype}, got {fed.dtype}")
        fits = fed.ndim == len(shape) and all(d in (None, s) for d, s in zip(shape, fed.shape, strict=True))
        if not fits:
            raise ModelInvalid(f"{label}: expected input {name!r} {describe(shape)}, got {fed.shape}")
        if 0 in fed.shape:
            raise ModelInvalid(f"{label}: input {name!r} has shape {fed.shape}: nothing to compute")


def sole_input(inputs: Collection[str], label: str) -> str:
    """The name of the one input; ModelInvalid if there are several."""
    if len(inputs) != 1:
        raise ModelInvalid(f"{label}: expected one input, got {sorted(inputs)}")
    return next(iter(inputs))
