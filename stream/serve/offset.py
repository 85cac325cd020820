"""How far apart two streams of one camera are in time, measured in what both of them show."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from ..ports import Picture
from ..types import F32

_THUMB = (32, 18)
_LAG_STEP_S = 0.005
_FLAT = 0.5  # mean square of what changes, in grey levels: below it is the noise of two encoders
_LEAST_R = 0.5
_LEAST_PEAK = 0.1
_PLATEAU = 0.05
_KEPT_ESTIMATES = 5
_LEAST_FRAMES = 8


def thumb(picture: Picture) -> F32:
    """(576,) grey levels of the whole picture, alike for pictures of one scene in two sizes."""
    step = max(1, min(picture.width // _THUMB[0], picture.height // _THUMB[1]) // 2)
    small = cv2.resize(picture.luma(step), _THUMB, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).ravel()


class StreamOffset:
    """The seconds by which the main stream's times exceed the sub-stream's for one moment of the scene.

    Encoders and networks delay two streams differently, and arrival times tell nothing of it. What changes
    in the picture does: the lag at which the changes of both correlate best. With frames at fixed intervals a
    range of lags pairs the same frames; its middle is taken. A scene in which nothing moves, or moves too
    slowly to tell lags apart, gives no estimate, and the one before stays; there a wrong pair would show
    nearly the same, too. The median of the last five estimates counts.

    most_s: lags looked for, each way. window_s: of frames that are compared.
    """

    def __init__(self, *, most_s: float = 1.0, window_s: float = 4.0) -> None:
        self._most_s, self._window_s = most_s, window_s
        self._before: float | None = None
        self._estimates: deque[float] = deque(maxlen=_KEPT_ESTIMATES)
        self._main: deque[tuple[float, F32]] = deque()
        self._sub: deque[tuple[float, F32]] = deque()

    @property
    def value_s(self) -> float | None:
        """Seconds; None until the scene has told."""
        return float(np.median(self._estimates)) if self._estimates else self._before

    def begin(self) -> None:
        """A stream began anew: what was measured before counts until it is measured again."""
        self._before = self.value_s
        for kept in (self._estimates, self._main, self._sub):
            kept.clear()

    def main(self, at_s: float, seen: F32) -> None:
        """A frame of the main stream: its time, ascending, and its thumb."""
        _keep(self._main, at_s, seen, self._window_s + self._most_s)

    def sub(self, at_s: float, seen: F32) -> None:
        """A frame of the sub-stream: its time, ascending, and its thumb."""
        _keep(self._sub, at_s, seen, self._window_s)

    def measure(self) -> float | None:
        """A new estimate from the frames at hand; None when they do not tell."""
        if len(self._main) < _LEAST_FRAMES or len(self._sub) < _LEAST_FRAMES:
            return None
        main_s, main = _changes(self._main)
        sub_s, sub = _changes(self._sub)
        if min(float((main**2).mean()), float((sub**2).mean())) < _FLAT:
            return None
        lags = np.arange(-self._most_s, self._most_s + _LAG_STEP_S / 2, _LAG_STEP_S)
        r = _correlations(lags, main_s, main, sub_s, sub)
        found = _peak(lags, r)
        if found is not None:
            self._estimates.append(found)
        return found


def _keep(kept: deque[tuple[float, F32]], at_s: float, seen: F32, window_s: float) -> None:
    kept.append((at_s, seen))
    while kept[0][0] < at_s - window_s:
        kept.popleft()


def _changes(kept: deque[tuple[float, F32]]) -> tuple[npt.NDArray[np.float64], F32]:
    """Times (n,), and what differs from the mean picture (n, 576)."""
    seen = np.stack([picture for _, picture in kept])
    return np.array([at_s for at_s, _ in kept]), np.asarray(seen - seen.mean(0), np.float32)


def _correlations(
    lags: npt.NDArray[np.float64],
    main_s: npt.NDArray[np.float64],
    main: F32,
    sub_s: npt.NDArray[np.float64],
    sub: F32,
) -> npt.NDArray[np.float64]:
    """(lags,) correlation of each sub frame with the main frame nearest after the lag; −1 where too few of
    them have one."""
    wanted = sub_s[None, :] + lags[:, None]
    right = np.clip(np.searchsorted(main_s, wanted), 1, len(main_s) - 1)
    nearest = right - (wanted - main_s[right - 1] < main_s[right] - wanted)
    inside = (wanted >= main_s[0]) & (wanted <= main_s[-1])
    products = (sub @ main.T)[np.arange(len(sub_s))[None, :], nearest] * inside
    sub_power = ((sub**2).sum(1)[None, :] * inside).sum(1)
    main_power = ((main**2).sum(1)[nearest] * inside).sum(1)
    r = products.sum(1) / np.sqrt(np.maximum(sub_power * main_power, 1e-9))
    enough = inside.sum(1) >= max(_LEAST_FRAMES // 2, len(sub_s) // 3)
    return np.where(enough, r, -1.0)


def _peak(lags: npt.NDArray[np.float64], r: npt.NDArray[np.float64]) -> float | None:
    """The middle of the best range of lags, if it stands out."""
    known = r[r > -1.0]
    if not len(known):
        return None
    at = int(r.argmax())
    height = float(r[at] - np.median(known))
    if r[at] < _LEAST_R or height < _LEAST_PEAK:
        return None
    good = r >= r[at] - _PLATEAU * height
    low, high = at, at
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(r) - 1 and good[high + 1]:
        high += 1
    if low == 0 or high == len(r) - 1:  # it may go on beyond what was looked at
        return None
    return float(lags[low] + lags[high]) / 2
