"""Light on the face: measured on the luma of the chip between brows and chin."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ..types import U8
from .mapping import percent, sigmoid
from .regions import chip_regions

Counts = npt.NDArray[np.int64]
_FACE: Final = np.flatnonzero(chip_regions()[2].ravel() >= 0.5)
_CHEEKS: Final = ((slice(64, 84), slice(26, 46)), (slice(64, 84), slice(66, 86)))
_CHEEK_LEVELS: Final = 16


def face_histogram(luma: U8) -> Counts:
    """(256,) counts of the luma of a chip (112, 112) in the face region."""
    return np.bincount(luma.ravel()[_FACE], minlength=256)


def under_exposure_prevention(counts: Counts) -> float:
    """120·(.832 − sigmoid(x; .92, .05)), x the share of luma ≤ 25 (OFIQ UnderExposurePrevention)."""
    return percent(120 * (0.832 - sigmoid(_share(counts, 0, 25), 0.92, 0.05)))


def over_exposure_prevention(counts: Counts) -> float:
    """1/(x + .01), x the share of luma ≥ 247 (OFIQ OverExposurePrevention)."""
    return percent(1 / (_share(counts, 247, 255) + 0.01))


def dynamic_range(counts: Counts) -> float:
    """12.5·H, H the entropy of the luma histogram in bits (OFIQ DynamicRange)."""
    used = counts[counts > 0]
    total = int(used.sum())
    return percent(12.5 * (math.log2(total) - float(used @ np.log2(used)) / total))


def luminance_mean(counts: Counts) -> float:
    """100·sigmoid(m; .2, .05)·(1 − sigmoid(m; .8, .05)), m the mean luma in [0, 1] (OFIQ Luminance)."""
    mean = float(counts @ _LEVELS) / int(counts.sum())
    return percent(100 * sigmoid(mean, 0.2, 0.05) * (1 - sigmoid(mean, 0.8, 0.05)))


def luminance_variance(counts: Counts) -> float:
    """100·sin(π·60v/(60v + 1)), v the variance of luma in [0, 1] (OFIQ Luminance): low contrast and
    hard contrast both lower it."""
    total = int(counts.sum())
    mean = float(counts @ _LEVELS) / total
    spread = 60 * float(counts @ (_LEVELS - mean) ** 2) / total
    return percent(100 * math.sin(math.pi * spread / (spread + 1)))


def illumination_uniformity(luma: U8) -> float:
    """100·(Σ min(h_left, h_right))^.3 of the normalised luma histograms of both cheeks (OFIQ
    IlluminationUniformity).

    OFIQ's zones have some 1,100 pixels and 256 levels each; the chip's have 400, so levels are taken 16 at a
    time: finer ones would differ by chance alone.
    """
    step = 256 // _CHEEK_LEVELS
    shares = [np.bincount(luma[zone].ravel() // step, minlength=_CHEEK_LEVELS) / 400 for zone in _CHEEKS]
    return percent(100 * float(np.minimum(*shares).sum()) ** 0.3)


_LEVELS: Final = np.arange(256) / 255


def _share(counts: Counts, low: int, high: int) -> float:
    return int(counts[low : high + 1].sum()) / int(counts.sum())
