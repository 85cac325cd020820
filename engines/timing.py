"""How long a network takes here, on each engine and in each arithmetic that this machine has."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..stream.errors import EngineUnavailable, ModelInvalid
from ..stream.ports import Engine
from .onnxruntime import OnnxRuntimeEngine
from .openvino import OpenVinoEngine, Precision, can_compute
from .signature import PixelInput, Shape, describe

ARITHMETICS: Final[tuple[Precision, ...]] = ("fp32", "bf16", "fp16")
ROUNDS: Final = 5
_BLOCK_PX = 16
_EYE_DISTANCE_PX = 60.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one call. shape: of the pixels it got. ms_an_image: median over rounds of the rounds' medians.
    times_onnxruntime: how many times as fast as ONNX Runtime in fp32 on the same shape; None without it."""

    engine: str
    arithmetic: str
    shape: tuple[int, ...]
    ms_an_image: float
    times_onnxruntime: float | None


def timings(
    model: Path,
    *,
    size: tuple[int, int],
    batches: Sequence[int],
    threads: int = 1,
    seconds: float = 1.0,
    pixels: PixelInput | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Timing]:
    """Every engine and arithmetic that runs here, in turns, so that what else the machine does falls on all.

    size: height and width for a network that leaves them free. batches: of a network that leaves it free.
    seconds: spent on each engine and shape. pixels: of a network with a float input; left out, they are
    guessed from its shape. say: gets what cannot run, and why. Raises ModelInvalid if OpenVINO cannot run it.
    """
    pixels = pixels or _guessed(model)
    with ExitStack() as stack:
        engines = {
            (name, arithmetic): stack.enter_context(engine)
            for name, arithmetic, engine in _opened(model, pixels, threads, say)
        }
        taken: list[Timing] = []
        shapes = _shapes(next(iter(engines.values())), size, batches)
        for shape in shapes:
            spent: dict[tuple[str, str], list[float]] = {key: [] for key in engines}
            for _ in range(ROUNDS):
                for key, engine in engines.items():
                    calls = call_seconds(engine, shape, seconds / ROUNDS)
                    spent[key].append(statistics.median(calls) / shape[0] * 1e3)
            ms = {key: statistics.median(values) for key, values in spent.items()}
            reference = ms.get(("onnxruntime", "fp32"))
            taken += [
                Timing(*key, shape, value, None if reference is None else reference / value)
                for key, value in ms.items()
            ]
    return taken


def _opened(
    model: Path, pixels: PixelInput | None, threads: int, say: Callable[[str], None]
) -> Iterator[tuple[str, str, Any]]:
    for arithmetic in ARITHMETICS:
        if not can_compute(arithmetic):
            say(f"openvino {arithmetic}: this CPU does not compute in it")
            continue
        yield (
            "openvino",
            arithmetic,
            OpenVinoEngine(model, pixels=pixels, precision=arithmetic, threads=threads, specialise=True),
        )
    if model.suffix == ".tflite":
        say("onnxruntime: cannot read TensorFlow Lite")
        return
    try:
        yield "onnxruntime", "fp32", OnnxRuntimeEngine(model, pixels=pixels, threads=threads)
    except (EngineUnavailable, ModelInvalid) as absent:
        say(f"onnxruntime: {absent}")


def _guessed(model: Path) -> PixelInput | None:
    """None where the graph takes uint8 pixels; what others are normalised with costs the same anyway."""
    with OpenVinoEngine(model, precision="fp32", specialise=True) as engine:
        shape, dtype = _image(engine)
    if dtype == np.uint8:
        return None
    if shape[1] == 3:
        return PixelInput(batch=shape[0], height=shape[2], width=shape[3])
    return PixelInput(layout="NHWC", batch=shape[0], height=shape[1], width=shape[2])


def _image(engine: Engine) -> tuple[Shape, np.dtype[Any]]:
    """The input with four dimensions, three of one being channels."""
    for shape, dtype in engine.inputs.values():
        if len(shape) == 4 and 3 in (shape[1], shape[3]):
            return shape, dtype
    said = {name: describe(shape) for name, (shape, _) in engine.inputs.items()}
    raise ModelInvalid(f"expected an input of images (n, 3, h, w) or (n, h, w, 3), got {said}")


def _shapes(engine: Engine, size: tuple[int, int], batches: Sequence[int]) -> list[tuple[int, int, int, int]]:
    (batch, height, width, _), _ = _image(engine)
    return [(n, height or size[0], width or size[1], 3) for n in ([batch] if batch is not None else batches)]


def call_seconds(engine: Engine, shape: tuple[int, ...], seconds: float) -> list[float]:
    """What calls with pixels (n, h, w, 3) take, for so many seconds and at least once; the first, which may
    compile, is not counted."""
    feeds = _feeds(engine.inputs, shape)
    engine.infer(feeds)
    spent: list[float] = []
    end = time.perf_counter() + seconds
    while not spent or time.perf_counter() < end:
        start = time.perf_counter()
        engine.infer(feeds)
        spent.append(time.perf_counter() - start)
    return spent


def _feeds(inputs: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, npt.NDArray[Any]]:
    """Smooth pictures: noise would find thousands of faces. A face's eyes are as far apart as a chip's."""
    n, height, width, _ = shape
    coarse = np.random.default_rng(0).integers(
        0, 256, (n, -(-height // _BLOCK_PX), -(-width // _BLOCK_PX), 3)
    )
    image = np.repeat(np.repeat(coarse, _BLOCK_PX, 1), _BLOCK_PX, 2)[:, :height, :width].astype(np.uint8)
    return {
        name: np.ascontiguousarray(image) if len(port) == 4 else np.full(n, _EYE_DISTANCE_PX, dtype)
        for name, (port, dtype) in inputs.items()
    }
