"""Clips made on the spot: small, of known content, in the odd forms that real files come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))  # top left, top right, bottom left, right


def painted(width: int, height: int, level: int = 0) -> np.ndarray:
    """Four corners of known colours around a middle whose grey tells the frame."""
    image = np.full((height, width, 3), level, np.uint8)
    h, w = height // 3, width // 3
    image[:h, :w], image[:h, -w:], image[-h:, :w], image[-h:, -w:] = CORNERS
    return image


def make_clip(
    path: Path,
    *,
    frames: int = 10,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: int = 25,
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    interlaced: bool = False,
    with_audio: bool = False,
    container: dict[str, str] | None = None,
    image: Callable[[int], np.ndarray] | None = None,
    form: str | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Frame i shows grey level 20 + 20·i in its middle, at ticks[i] (default i) of time_base (1/rate)."""
    width, height = size
    with av.open(str(path), "w", format=form, options=container or {}) as out:
        stream: Any = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.options = options or {}
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if interlaced:
            stream.codec_context.flags |= 1 << 18 | 1 << 29  # interlaced DCT and motion estimation
        if with_audio:
            _silence(out, frames / rate)
        for i in range(frames):
            rgb = painted(width, height, 20 + 20 * (i % 11)) if image is None else image(i)
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
                format=pixels, dst_colorspace=Colorspace.ITU601
            )
            frame.pts = i if ticks is None else ticks[i]
            frame.time_base = time_base or Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def _silence(out: Any, seconds: float) -> None:
    stream = out.add_stream("aac", rate=16000, layout="mono")
    for at in range(0, int(seconds * 16000), 1024):
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 16000, at, Fraction(1, 16000)
        out.mux(stream.encode(sound))
    out.mux(stream.encode())


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """clip("name.mp4", frames=…): writes a clip into the test's folder."""

    def write(name: str, **keywords: Any) -> Path:
        return make_clip(tmp_path / name, **keywords)

    return write


@pytest.fixture
def audio_only(tmp_path: Path) -> Path:
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        _silence(out, 1.0)
    return path
