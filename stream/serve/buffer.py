"""Between a camera's reader and those who process its frames."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..types import Frame

Policy = Literal["latest", "drop_oldest", "block"]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame of one session of a camera. monotonic_s: when it came out of the decoder."""

    session: int
    frame: Frame
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """No frame of this session, or of one before it, will come any more."""

    session: int
    reason: str


class FrameBuffer:
    """A bounded queue of one camera's frames; each frame that is left out is counted.

    policy: `latest` holds the newest frame only; `drop_oldest` the newest `size`; `block` makes the reader
    wait until there is room. The end of a session is never left out. on_item: called after each put, from
    the reader's thread. processed: the newest frame that its taker is done with.
    """

    def __init__(self, policy: Policy, size: int = 8, *, on_item: Callable[[], None] = lambda: None) -> None:
        if size < 1:
            raise ValueError(f"expected size >= 1, got {size}")
        self._policy, self._size = policy, 1 if policy == "latest" else size
        self._on_item = on_item
        self._items: deque[Arrived | SessionEnded] = deque()
        self._changed = threading.Condition()
        self._frames = 0
        self._closed = False
        self._settled: tuple[int, str] = (0, "")
        self.dropped = 0
        self.processed: Arrived | None = None

    def __len__(self) -> int:
        """Frames held, at most `size`."""
        return self._frames

    @property
    def has_items(self) -> bool:
        """Whether take would give something."""
        return bool(self._items)

    @property
    def is_closed(self) -> bool:
        """Whether no more frames are taken."""
        return self._closed

    def put(self, frame: Arrived) -> bool:
        """Add a frame; False once closed."""
        with self._changed:
            while self._policy == "block" and self._frames >= self._size and not self._closed:
                self._changed.wait(0.5)
            if self._closed:
                return False
            if self._frames >= self._size:
                self._drop_oldest()
            self._items.append(frame)
            self._frames += 1
            self._changed.notify_all()
        self._on_item()
        return True

    def end(self, ended: SessionEnded) -> None:
        """Mark the end of a session; an end right behind another takes its place."""
        with self._changed:
            if self._items and isinstance(self._items[-1], SessionEnded):
                self._items.pop()
            self._items.append(ended)
            self._changed.notify_all()
        self._on_item()

    def take(self, timeout_s: float = 0.0) -> Arrived | SessionEnded | None:
        """The oldest item; None when none came within timeout_s, or when closed and empty."""
        with self._changed:
            if not self._items and timeout_s > 0 and not self._closed:
                self._changed.wait(timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            if isinstance(item, Arrived):
                self._frames -= 1
                self._changed.notify_all()
            return item

    def settle(self, session: int, failure: str) -> None:
        """The taker is done with all frames of a session. failure: of it, "" if all went well."""
        with self._changed:
            self._settled = (session, failure)
            self._changed.notify_all()

    def settled(self, session: int, timeout_s: float) -> str | None:
        """What settle was told of the session; None if that does not come within timeout_s."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled[0] >= session, timeout_s)
            return self._settled[1] if self._settled[0] >= session else None

    def close(self) -> None:
        """Take no more frames and let go of those who wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _drop_oldest(self) -> None:
        for place, item in enumerate(self._items):
            if isinstance(item, Arrived):
                del self._items[place]
                self._frames -= 1
                self.dropped += 1
                ends = [self._items[i] for i in (place - 1, place) if 0 <= i < len(self._items)]
                if len(ends) == 2 and all(isinstance(end, SessionEnded) for end in ends):
                    del self._items[place - 1]  # the later end tells of both
                return
