"""Events as lines, pictures as files."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from ...errors import OutputError
from ...sinks.files import FOLDER_MODE, make_folder, write_whole
from ..delivery import DeliveryFailed
from ..events import Message


class EventFolder:
    """A line an event in `OUT/YYYY-MM-DD.jsonl`, pictures in `OUT/images/YYYY-MM-DD/`, by UTC of the event.

    Pictures are there before their line; a line has their paths in `images`. Names are made from a hash of
    the event's id, never from what a camera is called. Open to the owner only.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        make_folder(out)

    def send(self, message: Message) -> None:
        """Write it. Raises DeliveryFailed when the disk takes nothing."""
        event = message.event
        day = datetime.fromtimestamp(event.at.wall_s or 0.0, UTC).strftime("%Y-%m-%d")
        stem = hashlib.sha256(event.id.encode()).hexdigest()[:32]
        try:
            paths = {}
            if message.images:
                folder = self._out / "images" / day
                folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
                for name, jpeg in message.images.items():
                    path = folder / f"{stem}_{Path(name).stem}.jpg"
                    write_whole(path, jpeg)
                    paths[name] = path.relative_to(self._out).as_posix()
            line = json.dumps({**event.model_dump(mode="json"), "images": paths}, separators=(",", ":"))
            self._append(self._out / f"{day}.jsonl", line.encode() + b"\n")
        except OSError as error:
            raise DeliveryFailed(f"{str(self._out)!r}: {error.strerror}") from error
        except OutputError as error:
            raise DeliveryFailed(str(error)) from error

    def close(self) -> None:
        """Nothing is held open."""

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
