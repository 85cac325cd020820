"""Who looked at whose face, and when: JSON lines that only the service's user can read."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ...ports import Closing
from ...sinks.files import FILE_MODE, naming, write_all

_MOST_BYTES = 64 << 20
_ONCE_S = 60.0


class Audit(Closing):
    """Appends to path; at 64 MB the file becomes path.1 and a new one begins. now_s: Unix seconds.

    Faces are not shown unless that can be written: note raises OutputError, and the request fails.
    """

    def __init__(self, path: Path, now_s: Callable[[], float]) -> None:
        self._path, self._now_s = path, now_s
        self._lock = threading.Lock()
        self._recent: dict[tuple[str, str, str], float] = {}
        self._fd = self._opened()

    def note(
        self, who: str, client: str, action: str, what: str, request_id: str, *, often: bool = False
    ) -> None:
        """One line. often: of what a page asks for again and again, one line a minute."""
        now_s = self._now_s()
        with self._lock:
            if often:
                key = who, action, what
                # none after now: the clock may have been set back
                self._recent = {k: at for k, at in self._recent.items() if 0 <= now_s - at < _ONCE_S}
                if key in self._recent:
                    return
                self._recent[key] = now_s
            line = {
                "time": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds"),
                "who": who,
                "client": client,
                "action": action,
                "what": what,
                "request_id": request_id,
            }
            with naming(self._path):
                write_all(self._fd, json.dumps(line, ensure_ascii=False).encode() + b"\n")
                if os.fstat(self._fd).st_size > _MOST_BYTES:
                    os.close(self._fd)
                    self._path.replace(self._path.with_name(self._path.name + ".1"))
                    self._fd = self._opened()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with naming(self._path):
            return os.open(self._path, flags, FILE_MODE)
