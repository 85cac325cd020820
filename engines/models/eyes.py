"""The eye head: how far the lids are apart."""

from __future__ import annotations

import numpy as np

from ...stream.errors import ModelInvalid
from ...stream.ports import Closing, Engine
from ...stream.types import F32, U8
from ..signature import describe, sole_input

PATCH_PX = 32
_BATCH = 64


class EyeOpening(Closing):
    """Runs the network on eye patches: `patches` (n, 32, 32, 3) uint8 RGB, inner corner to the left, to
    `opening` (n,), the distance of the lids in widths of the eye."""

    def __init__(self, engine: Engine) -> None:
        self._input = sole_input(engine.inputs, "EyeOpening")
        self._output = sole_input(engine.outputs, "EyeOpening")
        shape, dtype = engine.inputs[self._input]
        if shape != (None, PATCH_PX, PATCH_PX, 3) or dtype != np.uint8:
            raise ModelInvalid(
                f"EyeOpening: expected an input (n, {PATCH_PX}, {PATCH_PX}, 3) uint8, "
                f"got {describe(shape)} {dtype}"
            )
        self._engine = engine

    def openings(self, patches: U8) -> F32:
        """(n, 32, 32, 3) → (n,)."""
        found = np.empty(len(patches), np.float32)
        for start in range(0, len(patches), _BATCH):
            part = slice(start, start + _BATCH)
            found[part] = self._engine.infer({self._input: patches[part]})[self._output].reshape(-1)
        if not np.isfinite(found).all():
            raise ModelInvalid("EyeOpening: the network gave openings that are not numbers")
        return found

    def close(self) -> None:
        self._engine.close()
