"""The occlusion head: how much of eyes, mouth and face is covered."""

from __future__ import annotations

import numpy as np

from ...stream.errors import ModelInvalid
from ...stream.ports import Closing, Engine
from ...stream.types import CHIP_PX, F32, U8
from ..signature import describe, sole_input

SHARES = 3
_BATCH = 32


class Occlusion(Closing):
    """Runs the network on chips: `chips` (n, 112, 112, 3) uint8 RGB to `covered` (n, 3), the shares of eyes,
    mouth and face that something else hides, in [0, 1]."""

    def __init__(self, engine: Engine) -> None:
        self._input = sole_input(engine.inputs, "Occlusion")
        self._output = sole_input(engine.outputs, "Occlusion")
        shape, dtype = engine.inputs[self._input]
        given = engine.outputs[self._output][0]
        if shape != (None, CHIP_PX, CHIP_PX, 3) or dtype != np.uint8 or given[1:] != (SHARES,):
            raise ModelInvalid(
                f"Occlusion: expected chips (n, {CHIP_PX}, {CHIP_PX}, 3) uint8 to (n, {SHARES}), "
                f"got {describe(shape)} {dtype} to {describe(given)}"
            )
        self._engine = engine

    def covered(self, chips: U8) -> F32:
        """(n, 112, 112, 3) → (n, 3)."""
        found = np.empty((len(chips), SHARES), np.float32)
        for start in range(0, len(chips), _BATCH):
            part = slice(start, start + _BATCH)
            found[part] = self._engine.infer({self._input: chips[part]})[self._output]
        if not np.isfinite(found).all():
            raise ModelInvalid("Occlusion: the network gave shares that are not numbers")
        return found

    def close(self) -> None:
        self._engine.close()
