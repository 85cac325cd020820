"""Pictures of the report: reduced and inside it, or left where they lie where there are many."""

from __future__ import annotations

import base64
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

INSIDE = 600
"""Up to so many shots lie inside the page (about 8 MB); of more it shows the files beside it."""
_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Picture:
    """uri: data, or a path below the page's folder. width × height px."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Pictures:
    """folder: of the page. inside: whether pictures lie inside the page. helpers: reduce them beside."""

    folder: Path
    inside: bool
    helpers: Executor | None = None
    _begun: dict[tuple[str, int], Future[Picture | None]] = field(default_factory=dict)

    @property
    def policy(self) -> str:
        """The sources of pictures that the page's Content-Security-Policy has to allow."""
        return "data:" if self.inside else "'self' file:"  # for file: URLs 'self' is not a browser's duty

    def begin(self, name: str, longest_px: int) -> None:
        """What picture() will be asked for soon."""
        if self.inside and self.helpers is not None:
            self._begun[name, longest_px] = self.helpers.submit(thumbnail, self.folder, name, longest_px)

    def picture(self, name: str, size: tuple[int, int], longest_px: int) -> Picture | None:
        """The file name below the folder, of that size in px; inside the page reduced to longest_px.

        None if it is not there any more, is no image, or is a link that leads out of the folder.
        """
        if begun := self._begun.pop((name, longest_px), None):
            return begun.result()
        if self.inside:
            return thumbnail(self.folder, name, longest_px)
        path = self.folder / name
        if not _within(path, self.folder) or not path.is_file():
            return None
        return Picture(self.link(name), *size)

    def link(self, name: str) -> str:
        """The file name below the folder as a relative URL."""
        return quote(name)


def thumbnail(root: Path, name: str, longest_px: int) -> Picture | None:
    """root/name as a JPEG of longest_px at most; never enlarged. None: see Pictures.picture."""
    path = root / name
    if not _within(path, root):
        return None
    try:
        data = path.read_bytes()
    except OSError:
        return None  # the user has removed it: the report shows the gap
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        return None
    height, width = image.shape[:2]
    scale = longest_px / max(height, width)
    if scale < 1:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(bytes(encoded)).decode()}", width, height)


def _within(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())
