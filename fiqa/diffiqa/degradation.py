"""The degradation that DifFIQA's UNet learns to undo, after BSRGAN (Zhang et al. 2021, arXiv 2103.14006).

In random order: two Gaussian blurs (isotropic or not), two downsamplings, Gaussian noise (colour, grey or
correlated) and JPEG; JPEG again at the end. Images are RGB, float32 in [0, 1] inside, uint8 at the edges.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ...stream.types import CHIP_PX, F32, U8

WORKING_PX: Final = 512
SCALE: Final = 4
HALVING_CHANCE: Final = 0.25
JPEG_CHANCE: Final = 0.9
REPEAT_CHANCES: Final = (1.0, 0.2, 0.01)
"""The whole chain is applied once always, again with p = .2, again with p = .01."""

RESAMPLINGS: Final = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)
STEPS: Final = ("blur", "blur", "shrink", "settle", "noise", "jpeg")
SMALLEST_VARIANCE: Final = 1e-3  # px²: a Gaussian narrower than this is a point


def training_pair(image: U8, generator: np.random.Generator) -> tuple[U8, U8]:
    """(clean, degraded) 112×112 chips of one (h, w, 3) image; half of the pairs are mirrored, both alike."""
    if generator.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    poor = image
    for chance in REPEAT_CHANCES:
        if generator.random() < chance:
            poor = degrade(poor, generator)
    return _to_chip(image), _to_chip(poor)


def degrade(image: U8, generator: np.random.Generator) -> U8:
    """One pass of the chain: (h, w, 3) → (128, 128, 3), through 512×512 and a scale factor of 4."""
    x = _resize(_to_floats(image), WORKING_PX, WORKING_PX, cv2.INTER_LINEAR)
    scale = SCALE
    if generator.random() < HALVING_CHANCE:
        x = _resize(x, WORKING_PX // 2, WORKING_PX // 2, _resampling(generator))
        scale = SCALE // 2
    for step in _order(generator):
        match step:
            case "blur":
                x = _convolve(x, blur_kernel(scale, generator))
            case "shrink":
                x = _shrink(x, scale, generator)
            case "settle":
                x = _resize(x, WORKING_PX // SCALE, WORKING_PX // SCALE, _resampling(generator))
            case "noise":
                x = add_noise(x, generator)
            case "jpeg" if generator.random() < JPEG_CHANCE:
                x = add_jpeg(x, generator)
    return _to_bytes(add_jpeg(x, generator))


def _order(generator: np.random.Generator) -> list[str]:
    """The steps shuffled, with the free downsampling before the one that settles the size."""
    order = [STEPS[i] for i in generator.permutation(len(STEPS))]
    first, second = sorted((order.index("shrink"), order.index("settle")))
    order[first], order[second] = "shrink", "settle"
    return order


def blur_kernel(scale: int, generator: np.random.Generator) -> F32:
    """(s, s), s odd in 7…25, sum 1. Half are oriented, with variances up to 4 + scale px² along their axes;
    the others are round, with a deviation up to 2 + .2·scale px."""
    size = 2 * int(generator.integers(2, 12)) + 3
    if generator.random() < 0.5:
        variances = (4.0 + scale) * generator.random(2)
        angle = generator.random() * np.pi
    else:
        variances = np.full(2, ((2.0 + 0.2 * scale) * generator.random()) ** 2)
        angle = 0.0
    return gaussian_kernel(size, variances, angle)


def gaussian_kernel(size: int, variances: NDArray[np.float64], angle: float, shift_px: float = 0.0) -> F32:
    """(size, size) of sum 1: variances (2,) px² along axes turned by `angle`, moved by shift_px both ways."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = turn @ np.diag(1 / np.maximum(variances, SMALLEST_VARIANCE)) @ turn.T
    span = np.arange(size) - (size - 1) / 2 - shift_px
    points = np.stack(np.meshgrid(span, span), -1)
    exponent = -0.5 * np.einsum("yxi,ij,yxj->yx", points, inverse, points)
    kernel = np.exp(exponent - exponent.max())
    return np.asarray(kernel / kernel.sum(), np.float32)


def add_noise(x: F32, generator: np.random.Generator) -> F32:
    """Gaussian noise, deviation 2…25 grey levels: per channel (.4), grey (.4) or, at 25, correlated (.2)."""
    deviation = int(generator.integers(2, 26)) / 255
    kind = generator.random()
    height, width = x.shape[:2]
    if kind > 0.6:
        noise = generator.normal(0, deviation, x.shape)
    elif kind < 0.4:
        noise = generator.normal(0, deviation, (height, width, 1))
    else:
        basis, _ = np.linalg.qr(generator.random((3, 3)))
        covariance = np.abs((25 / 255) ** 2 * basis.T @ np.diag(generator.random(3)) @ basis)
        root = _root(covariance)
        noise = generator.normal(size=x.shape) @ root.T
    return np.clip(x + noise, 0, 1).astype(np.float32)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix whose product with its transpose is the nearest covariance (taking |·| may leave none)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def add_jpeg(x: F32, generator: np.random.Generator) -> F32:
    """Coded and decoded at a JPEG quality of 30…95."""
    bgr = cv2.cvtColor(_to_bytes(x), cv2.COLOR_RGB2BGR)
    _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(30, 96))])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    if decoded is None:
        raise RuntimeError("OpenCV could not decode the JPEG it had just encoded")
    return _to_floats(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8))


def _shrink(x: F32, scale: int, generator: np.random.Generator) -> F32:
    """By 1…2·scale with a random filter (.75), or every scale-th pixel after a shifted Gaussian."""
    if generator.random() < 0.75:
        factor = generator.uniform(1, 2 * scale)
        height, width = (max(1, int(side / factor)) for side in x.shape[:2])
        return _resize(x, height, width, _resampling(generator))
    deviation = generator.uniform(0.1, 0.6 * scale)
    kernel = gaussian_kernel(25, np.full(2, deviation**2), 0.0, shift_px=-(scale - 1) / 2)
    return np.asarray(np.clip(_convolve(x, kernel)[::scale, ::scale], 0, 1), np.float32)


def _convolve(x: F32, kernel: F32) -> F32:
    return np.asarray(cv2.filter2D(x, -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT_101), np.float32)


def _resize(x: F32, height: int, width: int, resampling: int) -> F32:
    resized = cv2.resize(x, (width, height), interpolation=resampling)
    return np.asarray(np.clip(resized, 0, 1), np.float32)


def _resampling(generator: np.random.Generator) -> int:
    return RESAMPLINGS[generator.integers(len(RESAMPLINGS))]


def _to_floats(image: U8) -> F32:
    return np.asarray(image, np.float32) / np.float32(255)


def _to_bytes(x: F32) -> U8:
    return np.asarray(np.round(np.clip(x, 0, 1) * 255), np.uint8)


def _to_chip(image: U8) -> U8:
    if image.shape[:2] == (CHIP_PX, CHIP_PX):
        return image
    smaller = image.shape[0] > CHIP_PX
    filtering = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (CHIP_PX, CHIP_PX), interpolation=filtering), np.uint8)
