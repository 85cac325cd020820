"""Face recognition networks: an aligned chip in, an embedding of unit length out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from ...stream.errors import ModelInvalid
from ...stream.ports import Closing, Engine
from ...stream.types import CHIP_PX, F32, Crop
from ..signature import PixelInput, describe

Family = Literal["arcface", "cosface", "curricularface", "elasticface", "swinface", "transface", "adaface"]
Pixels = Literal["imagenet", "symmetric", "symmetric-bgr", "raw", Family]

_IMAGENET = PixelInput(
    (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), batch=None, height=CHIP_PX, width=CHIP_PX
)
_SYMMETRIC = PixelInput((127.5,) * 3, (127.5,) * 3, batch=None, height=CHIP_PX, width=CHIP_PX)
_RAW = PixelInput(batch=None, height=CHIP_PX, width=CHIP_PX)
FAMILIES: Final[dict[Family, Literal["symmetric", "symmetric-bgr"]]] = {
    "arcface": "symmetric",
    "cosface": "symmetric",
    "curricularface": "symmetric",
    "elasticface": "symmetric",
    "swinface": "symmetric",
    "transface": "symmetric",
    "adaface": "symmetric-bgr",
}
"""Published recognisers by name → the pixels that their authors' code gives them. Unverified: none of their
weights could be had where this was written."""
PIXELS: Final[dict[Pixels, PixelInput]] = {
    "imagenet": _IMAGENET,
    "symmetric": _SYMMETRIC,
    "symmetric-bgr": _SYMMETRIC,
    "raw": _RAW,
    **dict.fromkeys(FAMILIES, _SYMMETRIC),
}
"""How a recogniser wants its RGB pixels: less the ImageNet mean over its deviation (both ×255); (x − 127.5) /
127.5, in RGB or in BGR order; or 0…255 as they are."""
BGR: Final[frozenset[Pixels]] = frozenset(
    ("symmetric-bgr", *(family for family, pixels in FAMILIES.items() if pixels == "symmetric-bgr"))
)

KNOWN: Final[dict[str, Pixels]] = {
    # foamliu/MobileFaceNet, 128-d
    "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507": "imagenet",
    # opencv_zoo's SFace, 128-d; the graph normalises
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79": "raw",
}
"""SHA-256 of ONNX files → the pixels they were trained on."""


class OnnxEmbedder(Closing):
    """A recogniser as an Embedder.

    The engine takes uint8 chips (n, 112, 112, 3) RGB, because the graph does or because it was built with one
    of PIXELS, and gives one array of one row a chip. name: as for OnnxScorer, with the model's hash.
    max_batch: larger lists are split; a graph with a fixed batch is fed that many. bgr: the network wants its
    channels the other way round.
    """

    def __init__(self, engine: Engine, *, name: str, max_batch: int = 32, bgr: bool = False) -> None:
        self._engine, self.name, self._bgr = engine, name, bgr
        if len(engine.inputs) != 1 or len(engine.outputs) != 1:
            found = f"{sorted(engine.inputs)} and {sorted(engine.outputs)}"
            raise ModelInvalid(f"{name}: expected a recogniser of one input and one output, got {found}")
        (self._input, (shape, dtype)), (self._output, (out, _)) = (
            next(iter(engine.inputs.items())),
            next(iter(engine.outputs.items())),
        )
        wanted = (CHIP_PX, CHIP_PX, 3)
        fits = len(shape) == 4 and all(d in (None, w) for d, w in zip(shape[1:], wanted, strict=True))
        if dtype != np.uint8 or not fits:
            raise ModelInvalid(
                f"{name}: expected chips (n, 112, 112, 3) uint8, "
                f"got {self._input!r} {describe(shape)} {dtype}"
            )
        # A graph exported for one batch size may reshape to it inside, though its input can be freed.
        self._fixed = shape[0] or (out[0] if out else None)
        self._batch = self._fixed or max_batch

    def embed(self, crops: Sequence[Crop]) -> F32:
        """(n, d) float32, rows of unit length; ModelInvalid for embeddings that are no direction."""
        parts = [
            self._embed(crops[start : start + self._batch]) for start in range(0, len(crops), self._batch)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def close(self) -> None:
        self._engine.close()

    def _embed(self, crops: Sequence[Crop]) -> F32:
        count = self._fixed or len(crops)
        chips = np.zeros((count, CHIP_PX, CHIP_PX, 3), np.uint8)
        for row, crop in enumerate(crops):
            chips[row] = crop.chip[..., ::-1] if self._bgr else crop.chip
        raw = self._engine.infer({self._input: chips})[self._output]
        if raw.shape[0] != count:
            raise ModelInvalid(f"{self.name}: {count} chips in, an output of {raw.shape} out")
        rows = raw.reshape(count, -1)[: len(crops)].astype(np.float64)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(rows).all() or (norms == 0).any():
            raise ModelInvalid(f"{self.name}: the network gave embeddings that are no direction")
        return np.asarray(rows / norms, np.float32)
