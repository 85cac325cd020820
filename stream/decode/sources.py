"""One entrance for whatever a user names as a source."""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path

from ..errors import SourceMissing, SourceUnreadable
from ..ports import FrameSource
from .images import IMAGE_SUFFIXES, ImageSource, natural_order
from .names import printable, slug
from .video import MAX_PIXELS, VideoSource

__all__ = ["ImageSource", "VideoSource", "open_source", "printable", "slug"]


def open_source(
    spec: str,
    *,
    threads: int = 0,
    max_pixels: int = MAX_PIXELS,
    image_fps: float | None = None,
    hz: float = 0.0,
) -> FrameSource:
    """The source that `spec` names: `-` for standard input, a folder of images, a glob pattern of images, an
    image, or a video file.

    A file or folder of exactly that name goes before a pattern. Folders are not searched below; hidden files
    are left out; images come in natural order (img2 before img10). image_fps: see ImageSource.
    hz: see VideoSource.
    Raises the errors of VideoSource and ImageSource.
    """
    if spec == "-":
        return _standard_input(threads, max_pixels, hz)
    path = Path(spec)
    try:
        if path.is_dir():
            name, images = path.resolve().name or spec, _images_in(path)
        elif glob.has_magic(spec) and not path.exists():
            name, images = spec, _images_like(spec)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            if not path.exists():  # said before a folder of results is begun for it
                raise SourceMissing(f"{printable(spec)}: no such file")
            name, images = path.name, [path]
        else:
            return VideoSource(path, threads=threads, max_pixels=max_pixels, hz=hz)
    except (OSError, ValueError) as error:
        raise SourceUnreadable(
            f"{printable(spec)}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    return ImageSource(images, name=name, fps=image_fps, max_pixels=max_pixels)


def _standard_input(threads: int, max_pixels: int, hz: float) -> FrameSource:
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise SourceUnreadable("-: expected a video on standard input, got a terminal or nothing")
    # Unbuffered: a thread that waits in a buffered read of a silent pipe holds a lock that exit wants.
    raw = os.fdopen(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    return VideoSource(raw, name="stdin", threads=threads, max_pixels=max_pixels, hz=hz)


def _images_in(folder: Path) -> list[Path]:
    files = [p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()]
    images = sorted((p for p in files if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
    if not images:
        held = f"files of other kinds: {len(files)}" if files else "nothing"
        raise SourceMissing(f"{printable(folder)}: no image in this folder (it holds {held})")
    return images


def _images_like(pattern: str) -> list[Path]:
    found = [Path(p) for p in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - patterns may be absolute
    images = sorted(
        (p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()), key=natural_order
    )
    if not images:
        other = f" (files of other kinds that do: {len(found)}; name them one by one)" if found else ""
        raise SourceMissing(f"{printable(pattern)}: no image matches this pattern{other}")
    return images
