"""What cameras, codecs and crowds do to a face, at the resolution at which it happens.

`Degradation.draw` chooses, `degrade` applies to a source image and its landmarks, in the order of physics:
scene (occlusion, light), optics (motion, defocus), sensor (sampling, noise), codec (JPEG, H.264, upscaled
re-encoding), and the landmarks' own error last. The chip is cut from the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np

from ...stream.geometry import warp_chip
from ...stream.types import F32, U8
from .occlusion import occlude

REFERENCE_EYES_PX = 40.0
"""Kernel sizes below are given for a face with the eyes this far apart and grow with the face."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """One draw; a value of 0 (or None) leaves that step out.

    eyes_px: eye distance after sampling; the source's own where it is smaller. motion_px, motion_angle: blur
    path at REFERENCE_EYES_PX. defocus_px: radius there. noise: sigma in grey levels. gain, gamma: light.
    jpeg: quality. h264: constant rate factor. upscale: a second resize and encoding, as re-published clips
    have.
    jitter: landmark error as a share of the face width. occlusion: kind of occluder.
    """

    eyes_px: float
    motion_px: float
    motion_angle: float
    defocus_px: float
    noise: float
    gain: float
    gamma: float
    jpeg: int
    h264: int
    upscale: float
    jitter: float
    occlusion: str | None
    seed: int

    @staticmethod
    def none() -> Degradation:
        """The source as it is."""
        return Degradation(1e9, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, None, 0)

    @staticmethod
    def draw(generator: np.random.Generator, strength: float) -> Degradation:
        """strength in [0, 1] scales how likely each step is and how far it goes."""
        g = generator

        def chance(probability: float) -> bool:
            return bool(g.random() < probability * (0.35 + 0.65 * strength))

        smallest = np.exp(np.log(36.0) * (1 - strength) + np.log(4.5) * strength)
        eyes = float(np.exp(g.uniform(np.log(smallest), np.log(44.0)))) if chance(0.8) else 1e9
        codec = g.random() if chance(0.85) else 2.0
        return Degradation(
            eyes_px=eyes,
            motion_px=float(g.gamma(2.0, 4.0) * (0.3 + strength)) if chance(0.35) else 0.0,
            motion_angle=float(g.uniform(0, np.pi)),
            defocus_px=float(g.gamma(2.0, 1.2) * (0.3 + strength)) if chance(0.3) else 0.0,
            noise=float(g.gamma(1.5, 7.0) * (0.3 + strength)) if chance(0.35) else 0.0,
            gain=float(np.exp(g.normal(-0.35, 0.55 * (0.3 + strength)))) if chance(0.4) else 1.0,
            gamma=float(np.exp(g.normal(0.0, 0.35))) if chance(0.3) else 1.0,
            jpeg=int(g.integers(8, 80)) if codec < 0.4 else 0,
            h264=int(g.integers(24, 46)) if 0.35 <= codec <= 1.0 else 0,
            upscale=float(g.uniform(1.3, 3.0)) if chance(0.25) else 1.0,
            jitter=float(g.choice([0.015, 0.03, 0.06], p=[0.5, 0.38, 0.12])) if chance(0.6) else 0.0,
            occlusion=str(g.choice(["hand", "patch", "glasses", "mask", "edge"])) if chance(0.2) else None,
            seed=int(g.integers(2**31)),
        )


def degrade(image: U8, landmarks: F32, how: Degradation) -> tuple[U8, float]:
    """The chip (112, 112, 3) RGB of the degraded image and its eye distance in px.

    image: (h, w, 3) RGB; landmarks: (5, 2) px of it.
    """
    generator = np.random.default_rng(how.seed)
    points = landmarks.astype(np.float32)
    eyes = float(np.hypot(*(points[1] - points[0])))
    if how.occlusion is not None:
        image = occlude(image, points, how.occlusion, generator)
    image = _light(image, how)
    image = _optics(image, how, eyes / REFERENCE_EYES_PX)
    image, points = _resize(image, points, min(1.0, how.eyes_px / eyes), generator)
    image = _noise(image, how.noise, generator)
    image = _codec(image, how, generator)
    if how.upscale != 1.0:
        image, points = _resize(image, points, how.upscale, generator)
        image = h264(image, min(max(how.h264, 20) + 2, 44), generator)
    eyes = float(np.hypot(*(points[1] - points[0])))
    if how.jitter:  # face width is about 2.35 eye distances
        points = points + generator.uniform(-1, 1, (5, 2)).astype(np.float32) * (how.jitter * 2.35 * eyes)
    return warp_chip(image, points.astype(np.float32)), eyes


def _light(image: U8, how: Degradation) -> U8:
    if how.gain == 1.0 and how.gamma == 1.0:
        return image
    levels = (np.arange(256) / 255.0) ** how.gamma * how.gain * 255.0
    return cast(U8, cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)))


def _optics(image: U8, how: Degradation, zoom: float) -> U8:
    if how.motion_px * zoom >= 1.5:
        half = how.motion_px * zoom / 2
        size = 2 * int(np.ceil(half)) + 1
        kernel = np.zeros((size, size), np.float32)
        step = np.array([np.cos(how.motion_angle), np.sin(how.motion_angle)]) * half
        centre = size // 2
        shift = 4  # fractional bits of cv2.line
        ends = [tuple(round((centre + sign * s) * 2**shift) for s in step) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, shift)
        image = cast(U8, cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE))
    if how.defocus_px * zoom >= 0.6:
        radius = how.defocus_px * zoom
        reach = int(np.ceil(radius)) + 1
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
        image = cast(U8, cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE))
    return image


def _resize(image: U8, points: F32, scale: float, generator: np.random.Generator) -> tuple[U8, F32]:
    if scale == 1.0:
        return image, points
    size = max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale))
    smaller = [cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC]
    larger = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST]
    ways = smaller if scale < 1 else larger
    resized = cv2.resize(image, size, interpolation=ways[int(generator.integers(len(ways)))])
    ratio = np.array([size[0] / image.shape[1], size[1] / image.shape[0]], np.float32)
    return cast(U8, resized), ((points + 0.5) * ratio - 0.5).astype(np.float32)


def _noise(image: U8, sigma: float, generator: np.random.Generator) -> U8:
    if sigma == 0.0:
        return image
    grain = (
        generator.normal(0, sigma, image.shape) * 0.6 + generator.normal(0, sigma, image.shape[:2])[..., None]
    )
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _codec(image: U8, how: Degradation, generator: np.random.Generator) -> U8:
    if how.jpeg:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, how.jpeg])
        image = cast(U8, cv2.imdecode(data, cv2.IMREAD_COLOR))
    if how.h264:
        image = h264(image, how.h264, generator)
    return image


def h264(image: U8, rate_factor: int, generator: np.random.Generator) -> U8:
    """The last of three frames of a slightly moving camera, so that it is mostly predicted, as in real
    video.
    """
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": str(rate_factor), "preset": "veryfast", "tune": "zerolatency", "threads": "1"}
    decoder = av.CodecContext.create("h264", "r")
    packets = []
    for index in range(3):
        moved = np.roll(image, generator.integers(-2, 3, 2), (0, 1)) if index < 2 else image
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(moved[:height, :width]), "rgb24")
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    coded = image.copy()
    coded[:height, :width] = frames[-1].to_ndarray(format="rgb24")
    return coded
