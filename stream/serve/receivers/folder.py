"""Events as lines, pictures as files."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ...errors import OutputError
from ...sealing import Plain, Sealer
from ...sinks.files import FOLDER_MODE, make_folder, write_whole
from ..delivery import DeliveryFailed
from ..events import IdentityDeleted, Message
from ..forget import Forgotten
from .folder_forget import forget_lines

_LOG = logging.getLogger("facesieve.serve")
_LOOK_S = 3600.0
_DAY = "%Y-%m-%d"
_LINES = re.compile(r"(\d{4}-\d\d-\d\d)\.jsonl(?:\.enc)?")
_FOLDER = re.compile(r"(\d{4}-\d\d-\d\d)")
_IMAGE = re.compile(r"[0-9a-f]{32}_[^/]{1,64}\.jpg(?:\.enc)?(?:\.part)?")


class EventFolder:
    """A line an event in `OUT/YYYY-MM-DD.jsonl`, pictures in `OUT/images/YYYY-MM-DD/`, by UTC of the event.

    Pictures are there before their line; a line has their paths in `images`. Names are made from a hash of
    the event's id, never from what a camera is called. Open to the owner only. Who is deleted goes from lines
    and pictures of all days, before the line that tells of it.

    sealer: of pictures and of each line, in files whose names then end in .enc. keep_days: lines and pictures
    of earlier days are removed as new ones come, today counting as one; None keeps all. now_s: Unix time.
    """

    def __init__(
        self,
        out: Path,
        *,
        sealer: Sealer | None = None,
        keep_days: int | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        if keep_days is not None and keep_days < 1:
            raise ValueError(f"expected keep_days of at least 1, got {keep_days}")
        self._out, self._keep_days, self._now_s = out, keep_days, now_s
        self._looked_s = -math.inf
        self._sealer: Sealer = Plain() if sealer is None else sealer
        make_folder(out)

    def send(self, message: Message) -> None:
        """Write it. Raises DeliveryFailed when the disk takes nothing."""
        self._give_up()
        event = message.event
        day = datetime.fromtimestamp(event.at.wall_s or 0.0, UTC).strftime(_DAY)
        stem = hashlib.sha256(event.id.encode()).hexdigest()[:32]
        try:
            if isinstance(event, IdentityDeleted):
                self._forget(Forgotten.of(event))
            paths = {}
            if message.images:
                folder = self._out / "images" / day
                folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
                for name, jpeg in message.images.items():
                    path = folder / f"{stem}_{Path(name).stem}.jpg{self._sealer.suffix}"
                    write_whole(path, self._sealer.seal(jpeg))
                    paths[name] = path.relative_to(self._out).as_posix()
            line = json.dumps({**event.model_dump(mode="json"), "images": paths}, separators=(",", ":"))
            sealed = self._sealer.seal(line.encode())
            self._append(self._out / f"{day}.jsonl{self._sealer.suffix}", sealed + b"\n")
        except OSError as error:
            raise DeliveryFailed(f"{str(self._out)!r}: {error.strerror}") from error
        except OutputError as error:
            raise DeliveryFailed(str(error)) from error

    def close(self) -> None:
        """Nothing is held open."""

    def _forget(self, who: Forgotten) -> None:
        """What receivers are asked to do: lines and pictures of all days."""
        for path in _named(self._out.resolve(), _LINES):
            forget_lines(path, who, self._sealer)

    def _give_up(self) -> None:
        """Once an hour: remove the days that are over. Only files named as this class names them, and no
        link is followed; what cannot be removed is told of and tried again."""
        now_s = self._now_s()
        if self._keep_days is None or 0 <= now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        oldest = (datetime.fromtimestamp(now_s, UTC) - timedelta(days=self._keep_days - 1)).strftime(_DAY)
        try:
            for path in _named(self._out.resolve(), _LINES, oldest):
                path.unlink(missing_ok=True)
            images = self._out / "images"
            for folder in _named(images, _FOLDER, oldest):
                for path in _named(folder, _IMAGE):
                    path.unlink(missing_ok=True)
                if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                    folder.rmdir()
        except OSError as error:
            _LOG.warning("%s: an old day cannot be removed: %s", self._out, error.strerror)

    def _append(self, path: Path, line: bytes) -> None:
        """The whole line or nothing of it: one that a full disk cut short is taken back."""
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            before = os.fstat(handle).st_size
            try:
                written = os.write(handle, line)
                if written != len(line):
                    raise OSError(28, "No space left on device")
            except OSError:
                os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)


def _named(folder: Path, name: re.Pattern[str], before: str | None = None) -> list[Path]:
    """What lies in a folder, itself no link, under such a name; before: and is of an earlier day."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    found = ((path, name.fullmatch(path.name)) for path in sorted(folder.iterdir()))
    return [path for path, match in found if match and (before is None or match[1] < before)]
