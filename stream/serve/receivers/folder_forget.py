"""Somebody taken out of a folder of events."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ...errors import ConfigError
from ...sealing import SUFFIX, Sealer
from ...sinks.files import replacing, write_all
from ..events import parse_event
from ..forget import Forgotten

_LOG = logging.getLogger("facesieve.serve")
_PICTURE = re.compile(r"images/\d{4}-\d\d-\d\d/[0-9a-f]{32}_[^/]{1,64}\.jpg(?:\.enc)?")
_Fate = Literal["stays", "changes", "unreadable"]


def forget_lines(path: Path, who: Forgotten, sealer: Sealer) -> int:
    """Leave in a file of lines what may still be told of somebody, and remove the pictures of the rest; how
    many lines changed or went. Lines that cannot be read stay. Raises OSError, OutputError."""
    fates = Counter(fate for _, fate in _lines(path, who, sealer))
    if fates["unreadable"]:
        _LOG.warning("%s: %d lines cannot be read, and stay as they are", path, fates["unreadable"])
    if fates["changes"]:
        with replacing(path) as fd:
            for line, _ in _lines(path, who, sealer):
                if line:
                    write_all(fd, line + b"\n")
    return fates["changes"]


def _lines(path: Path, who: Forgotten, sealer: Sealer) -> Iterator[tuple[bytes, _Fate]]:
    """What each line is to be, b"" if it goes. Pictures are removed on the way."""
    is_sealed = path.suffix == SUFFIX
    with path.open("rb") as file:
        for line in (raw.rstrip(b"\n") for raw in file):
            try:
                body: dict[str, Any] = dict(json.loads(sealer.open(line) if is_sealed else line))
                images: dict[str, str] = dict(body.pop("images", {}))
                event = parse_event(json.dumps(body))
            except (ValueError, TypeError, ConfigError):
                yield line, "unreadable"
                continue
            left = who.left_of(event)
            if left == event:
                yield line, "stays"
                continue
            for name in filter(_PICTURE.fullmatch, map(str, images.values())):
                (path.parent / name).unlink(missing_ok=True)
            if left is None:
                yield b"", "changes"
                continue
            text = json.dumps({**left.model_dump(mode="json"), "images": {}}, separators=(",", ":")).encode()
            yield sealer.seal(text) if is_sealed else text, "changes"
