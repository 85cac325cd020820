"""What every single-stage detector does with outputs that are no numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from facesieve.engines.models.centerface import CenterFace
from facesieve.stream.errors import ModelInvalid
from facesieve.stream.types import U8, Frame

WIDTHS = (1, 2, 2, 10)


class Faceless:
    """CenterFace's outputs, all 0 but for one value."""

    def __init__(self, output: int, value: float) -> None:
        self.inputs = {"x": ((1, None, None, 3), np.dtype(np.uint8))}
        self.outputs = {f"o{i}": ((1, w, None, None), np.dtype(np.float32)) for i, w in enumerate(WIDTHS)}
        self._output, self._value = output, value

    def infer(self, feeds: Mapping[str, U8]) -> dict[str, np.ndarray]:
        _, height, width, _ = feeds["x"].shape
        made = {f"o{i}": np.zeros((1, w, height // 4, width // 4), np.float32) for i, w in enumerate(WIDTHS)}
        made[f"o{self._output}"][0, 0, 3, 3] = self._value
        return made

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("output", range(4))
def test_a_score_that_is_no_number_is_not_no_face(as_frame: Callable[[U8], Frame], output: int) -> None:
    frame = as_frame(np.zeros((64, 96, 3), np.uint8))
    assert len(CenterFace(Faceless(output, 0.0)).detect(frame)) == 0
    with pytest.raises(ModelInvalid, match="CenterFace: the network gave outputs that are not numbers"):
        CenterFace(Faceless(output, float("nan"))).detect(frame)
