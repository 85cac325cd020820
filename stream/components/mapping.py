"""From a raw measure to 0–100, as OFIQ maps its own."""

from __future__ import annotations

import math


def sigmoid(x: float, centre: float, width: float) -> float:
    """1 / (1 + e^((centre − x)/width)), in [0, 1]; a negative width makes it fall."""
    exponent = (centre - x) / width
    return 0.0 if exponent > 700 else 1 / (1 + math.exp(exponent))


def inverse_sigmoid(share: float, centre: float, width: float) -> float:
    """The x of a sigmoid in (0, 1)."""
    return centre + width * math.log(share / (1 - share))


def percent(value: float) -> float:
    """Cut to 0–100."""
    return min(max(value, 0.0), 100.0)
