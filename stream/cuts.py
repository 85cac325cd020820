"""Finds hard cuts on a strided luma: one picture followed by another that motion does not explain."""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from .types import U8

_WIDTH, _HEIGHT = 32, 24  # the picture is compared at this size: camera noise averages out
_REACH_X, _REACH_Y = 4, 3  # a shift of up to an eighth of the picture between two looks is a pan, not a cut
_FLAT = 6.0  # grey levels of contrast: a picture below (black, white, fog) shows nothing to compare
_QUIET = 3.0  # grey levels: changes below are noise, and nothing stands out by being larger than noise
_GAIN = 2.0  # exposure may double or halve the contrast between two looks
_WHITE, _FLASHED = 250, 0.15  # a flash burns out this share of the picture, more than was white before


class SceneCuts:
    """Tells, look by look, whether the picture changed at a stroke; at every frame or a few times a second.

    A look is compared with the one before after the best shift (pan) and the best gain and offset
    (exposure): what is left, in grey levels, is the change. A cut changes at least `change`. So that fast
    motion that goes on is not taken for one, it also changes `standout` times as much as any look of the last
    memory_s seconds, or, where the two pictures do not correlate (1 − correlation ≥ mismatch), a quarter of
    that margin more. A picture without contrast is skipped, so a cut through black is found when the new
    picture comes. A burnt-out picture is given flash_s seconds to turn out a flash.
    """

    def __init__(
        self,
        *,
        change: float = 15.0,
        standout: float = 1.75,
        mismatch: float = 0.45,
        memory_s: float = 1.0,
        flash_s: float = 0.3,
    ) -> None:
        if not (change > 0 and standout >= 1 and 0 < mismatch < 2 and memory_s > 0 and flash_s >= 0):
            raise ValueError(
                "expected change > 0, standout ≥ 1, mismatch in (0, 2), memory_s > 0 and flash_s ≥ 0, got "
                f"{change = }, {standout = }, {mismatch = }, {memory_s = }, {flash_s = }"
            )
        self._change, self._standout, self._mismatch = change, standout, mismatch
        self._memory_s, self._flash_s = memory_s, flash_s
        self._last: npt.NDArray[np.float32] | None = None
        self._changes: deque[tuple[float, float]] = deque(maxlen=256)
        self._white = 0.0
        self._flash_from = math.inf

    def is_cut(self, luma_small: U8, pts_s: float) -> bool:
        """Whether this look, (h, w) uint8 luma of about 120×68, shows another scene than the one before."""
        if luma_small.ndim != 2 or luma_small.dtype != np.uint8 or not luma_small.size:
            raise ValueError(f"expected luma (h, w) uint8, got {luma_small.shape} {luma_small.dtype}")
        look = cv2.resize(luma_small, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
        if _moments(look)[1] < _FLAT:
            return False
        white = np.count_nonzero(luma_small >= _WHITE) / luma_small.size
        if self._last is None:
            self._last, self._white = look, white
            return False
        if white - self._white > _FLASHED:
            self._flash_from = min(self._flash_from, pts_s)
            if pts_s - self._flash_from < self._flash_s:
                return False
        change, mismatch = _compare(self._last, look)
        while self._changes and self._changes[0][0] < pts_s - self._memory_s:
            self._changes.popleft()
        cut = self._stands_out(change, mismatch)
        if cut:
            # The old scene's motion says nothing about the new one's.
            self._changes.clear()
        else:
            self._changes.append((pts_s, change))
        self._last, self._white, self._flash_from = look, white, math.inf
        return cut

    def _stands_out(self, change: float, mismatch: float) -> bool:
        if change < self._change:
            return False
        if not self._changes:
            return mismatch >= self._mismatch
        usual = max(_QUIET, max(c for _, c in self._changes))
        if mismatch >= self._mismatch:
            return change >= (1 + (self._standout - 1) / 4) * usual
        return change >= self._standout * usual


def _compare(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Mean absolute difference in grey levels and 1 − correlation in [0, 2], both at the best shift."""
    inner = after[_REACH_Y:-_REACH_Y, _REACH_X:-_REACH_X]
    correlation = cv2.matchTemplate(before, inner, cv2.TM_CCOEFF_NORMED)
    y, x = divmod(int(correlation.argmax()), correlation.shape[1])
    outer = before[y : y + inner.shape[0], x : x + inner.shape[1]]
    (mean_a, spread_a), (mean_b, spread_b) = _moments(outer), _moments(inner)
    gain = min(max(spread_b / max(spread_a, 1e-3), 1 / _GAIN), _GAIN)
    left = cv2.norm((inner - mean_b) - (outer - mean_a) * gain, cv2.NORM_L1)
    return left / inner.size, 1.0 - float(correlation[y, x])


def _moments(look: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Mean and standard deviation."""
    mean, spread = cv2.meanStdDev(look)
    return float(mean[0, 0]), float(spread[0, 0])
