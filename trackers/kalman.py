"""A constant-velocity Kalman filter for many boxes at once, in real time.

Centre x, centre y, width and height move independently of one another, so the usual 8-state filter falls into
four filters of two states, position and velocity, whose covariance [[pp, pv], [pv, vv]] is updated in closed
form. The velocity is driven by white acceleration noise of spectral density q, whose discrete form over dt
is q·[[dt³/3, dt²/2], [dt²/2, dt]] (Bar-Shalom, Li, Kirubarajan, "Estimation with Applications to Tracking
and Navigation", 2001, eq. 6.2.2-12). Two steps of dt/2 are exactly one of dt: the cadence does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Noise:
    """How boxes move, in units of their size (the square root of their area) and seconds.

    observation: standard deviation of a detected coordinate, sizes. acceleration: root spectral density of
    the acceleration, sizes/s^1.5: after dt seconds the velocity has drifted by acceleration·√dt. speed:
    standard deviation of the velocity of a box seen once, sizes/s. Only their ratios decide where boxes are
    predicted. The default acceleration is the best of those tried for pedestrians at 25 Hz; the likeliest for
    faces is 0.5 at 8 Hz and more at 30 Hz. Below 8 Hz, 0.5 also confuses fewer faces of a crowd.
    """

    observation: float = 0.05
    acceleration: float = 0.25
    speed: float = 2.0

    def __post_init__(self) -> None:
        if not (self.observation > 0 and self.acceleration >= 0 and self.speed >= 0):
            raise ValueError(f"expected observation > 0, acceleration ≥ 0 and speed ≥ 0, got {self}")


@dataclass(frozen=True, slots=True)
class Motion:
    """What is believed of n boxes.

    position: (n, 4) cx cy w h px. velocity: (n, 4) px/s. covariance: (n, 4, 3), pp px², pv px²/s, vv px²/s².
    """

    position: F64
    velocity: F64
    covariance: F64

    def __len__(self) -> int:
        return len(self.position)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Motion:
        """The boxes named by rows."""
        return Motion(self.position[rows], self.velocity[rows], self.covariance[rows])

    @staticmethod
    def join(first: Motion, second: Motion) -> Motion:
        """Both, first first."""
        return Motion(
            np.concatenate([first.position, second.position]),
            np.concatenate([first.velocity, second.velocity]),
            np.concatenate([first.covariance, second.covariance]),
        )


def centred(boxes: npt.NDArray[np.floating]) -> F64:
    """(n, 4) x0 y0 x1 y1 → (n, 4) cx cy w h."""
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    return np.concatenate([(low + high) / 2, high - low], 1)


def cornered(position: F64) -> F64:
    """(n, 4) cx cy w h → (n, 4) x0 y0 x1 y1."""
    half = position[:, 2:] / 2
    return np.concatenate([position[:, :2] - half, position[:, :2] + half], 1)


def begin(boxes: npt.NDArray[np.floating], noise: Noise) -> Motion:
    """The belief after one sight of each of boxes (n, 4) x0 y0 x1 y1, of positive area."""
    position = centred(boxes)
    size = _size(position)
    covariance = np.zeros((len(boxes), 4, 3))
    covariance[:, :, 0] = (noise.observation * size) ** 2
    covariance[:, :, 2] = (noise.speed * size) ** 2
    return Motion(position, np.zeros_like(position), covariance)


def predict(motion: Motion, dt_s: F64, noise: Noise) -> Motion:
    """The belief dt_s (n,) seconds later."""
    dt = dt_s[:, None]
    q = (noise.acceleration * _size(motion.position)) ** 2
    pp, pv, vv = motion.covariance[:, :, 0], motion.covariance[:, :, 1], motion.covariance[:, :, 2]
    covariance = np.empty_like(motion.covariance)
    covariance[:, :, 0] = pp + dt * (2 * pv + dt * vv) + q * dt**3 / 3
    covariance[:, :, 1] = pv + dt * vv + q * dt**2 / 2
    covariance[:, :, 2] = vv + q * dt
    return Motion(extrapolate(motion, dt_s), motion.velocity, covariance)


def extrapolate(motion: Motion, dt_s: F64) -> F64:
    """Where the boxes are dt_s (n,) seconds later, (n, 4) cx cy w h.

    Width and height stay within a factor of two: a steadily shrinking face does not shrink to nothing.
    """
    position = motion.position + motion.velocity * dt_s[:, None]
    size = motion.position[:, 2:]
    np.clip(position[:, 2:], size / 2, size * 2, out=position[:, 2:])
    return position


def correct(motion: Motion, boxes: npt.NDArray[np.floating], noise: Noise) -> Motion:
    """The belief after each box was seen at boxes (n, 4) x0 y0 x1 y1."""
    seen = centred(boxes)
    r = (noise.observation * _size(seen)) ** 2
    pp, pv, vv = motion.covariance[:, :, 0], motion.covariance[:, :, 1], motion.covariance[:, :, 2]
    gain_p, gain_v = pp / (pp + r), pv / (pp + r)
    surprise = seen - motion.position
    covariance = np.empty_like(motion.covariance)
    covariance[:, :, 0] = (1 - gain_p) * pp
    covariance[:, :, 1] = (1 - gain_p) * pv
    covariance[:, :, 2] = vv - gain_v * pv
    # 0 < gain_p < 1, so width and height end between two positive lengths and no box is ever empty.
    return Motion(motion.position + gain_p * surprise, motion.velocity + gain_v * surprise, covariance)


def _size(position: F64) -> F64:
    """(n, 1) px: the square root of the area, the one length all noise is measured in."""
    return np.asarray(np.sqrt(position[:, 2] * position[:, 3])[:, None])
