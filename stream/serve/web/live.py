"""The newest events and pictures, in memory, and those who watch them come."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...types import TrackKey
from ..events import (
    Event,
    IdentityDeleted,
    IdentityUpdated,
    Message,
    Shot,
    ShotFacts,
    TrackEnded,
    key_of,
    track_key,
)
from ..forget import Forgotten

_WAITING = 256
_EVENTS = 2048
_PICTURE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """An event that was told. seq: its place among all, from 1."""

    seq: int
    event: Event
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recent:
    """A shot that was told, early or at its track's end. seq: of the event; image: its picture there."""

    seq: int
    event: Shot | TrackEnded
    shot: ShotFacts
    image: str


@dataclass(slots=True, eq=False)
class _Watcher:
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[Entry | None] = field(default_factory=lambda: asyncio.Queue(_WAITING))
    dropped: bool = False


class LiveFeed:
    """Takes every message of the service, from any thread, and keeps the newest.

    shots: how many messages with pictures are kept, within 64 MB. A watcher that does not read as fast as
    events come is dropped when 256 wait for it, and counted.
    """

    def __init__(self, *, shots: int = 200) -> None:
        self._shots = shots
        self._run = secrets.token_hex(4)
        self._entries: deque[Entry] = deque(maxlen=_EVENTS)
        self._pictures: OrderedDict[int, tuple[Entry, Mapping[str, bytes]]] = OrderedDict()
        self._bytes = 0
        self._seq = 0
        self._watchers: set[_Watcher] = set()
        self._closed = False
        self._lock = threading.Lock()
        self.dropped = 0

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    def publish(self, message: Message) -> None:
        """The next message. A deletion is carried out here, too, and who has become somebody else is so."""
        if isinstance(message.event, IdentityDeleted):
            self.forget(Forgotten.of(message.event))
        with self._lock:
            if isinstance(message.event, IdentityUpdated):
                self._rename(message.event)
            self._seq += 1
            entry = Entry(self._seq, message.event, tuple(message.images))
            self._entries.append(entry)
            if message.images:
                self._pictures[entry.seq] = entry, message.images
                self._bytes += _size(message.images)
                while len(self._pictures) > self._shots or self._bytes > _PICTURE_BYTES:
                    self._drop(next(iter(self._pictures)))
            watchers = list(self._watchers)
        for watcher in watchers:
            self._tell(watcher, entry)

    def picture(self, seq: int, name: str) -> bytes | None:
        """JPEG of an event; None when it is gone or never was."""
        with self._lock:
            _, images = self._pictures.get(seq, (None, {}))
            return images.get(name)

    def shots(self, *, camera: str | None = None, limit: int = 50) -> list[Recent]:
        """The newest shots that have a picture, newest first; of one track its newest only."""
        found: list[Recent] = []
        seen: set[tuple[TrackKey, int]] = set()
        with self._lock:
            entries = [entry for entry, _ in reversed(self._pictures.values())]
        for entry in entries:
            event = entry.event
            if not isinstance(event, Shot | TrackEnded) or camera not in (None, event.origin.camera):
                continue
            key = track_key(event), event.window
            facts = (event.shot,) if isinstance(event, Shot) else event.shots[:1]
            if key in seen or not facts or facts[0].image is None:
                continue
            seen.add(key)
            found.append(Recent(entry.seq, event, facts[0], facts[0].image))
            if len(found) == limit:
                break
        return found

    def forget(self, who: Forgotten) -> int:
        """Drop what is kept of a person: events that name it and all of its tracks; how many."""
        with self._lock:
            gone = {entry.seq for entry in self._entries if who.is_in(entry.event)}
            gone |= {seq for seq, (e, _) in self._pictures.items() if who.is_in(e.event)}
            self._entries = deque((e for e in self._entries if e.seq not in gone), maxlen=_EVENTS)
            for seq in gone & set(self._pictures):
                self._drop(seq)
        return len(gone)

    def _rename(self, told: IdentityUpdated) -> None:
        """Ends of tracks whose person has another number now."""
        moved = frozenset(map(key_of, told.moved))

        def renamed(entry: Entry) -> Entry:
            event = entry.event
            if not isinstance(event, TrackEnded) or event.identity == told.identity:
                return entry
            if event.identity not in told.merged_from and track_key(event) not in moved:
                return entry
            return replace(entry, event=event.model_copy(update={"identity": told.identity}))

        if moved or told.merged_from:
            self._entries = deque(map(renamed, self._entries), maxlen=_EVENTS)
            for seq, (entry, images) in self._pictures.items():
                self._pictures[seq] = renamed(entry), images

    async def watch(self, last_id: str = "", *, beat_s: float = 15.0) -> AsyncIterator[str]:
        """Server-sent events from the one after last_id on (or from now), with a comment every beat_s.

        Events that are no longer kept are told of by one of the type `gap`. Ends when the feed is closed or
        the watcher is too slow.
        """
        watcher = _Watcher(asyncio.get_running_loop())
        with self._lock:
            missed = self._after(last_id)
            if not self._closed:
                self._watchers.add(watcher)
        try:
            yield "retry: 2000\n\n"
            for text in missed if isinstance(missed, list) else []:
                yield self._text(text)
            if missed == "gap":
                yield "event: gap\ndata: {}\n\n"
            while not (self._closed or (watcher.dropped and watcher.queue.empty())):
                try:
                    entry = await asyncio.wait_for(watcher.queue.get(), beat_s)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if entry is None:
                    return
                yield self._text(entry)
        finally:
            with self._lock:
                self._watchers.discard(watcher)

    def close(self) -> None:
        """Let go of all watchers."""
        with self._lock:
            self._closed = True
            watchers = list(self._watchers)
        for watcher in watchers:
            self._tell(watcher, None)

    def _after(self, last_id: str) -> list[Entry] | str:
        run, _, number = last_id.partition("-")
        if not last_id:
            return []
        if run != self._run or not number.isascii() or not number.isdigit():
            return "gap"
        seq = int(number)
        oldest = self._entries[0].seq if self._entries else self._seq + 1
        return "gap" if seq + 1 < oldest else [entry for entry in self._entries if entry.seq > seq]

    def _tell(self, watcher: _Watcher, entry: Entry | None) -> None:
        try:
            watcher.loop.call_soon_threadsafe(self._offer, watcher, entry)
        except RuntimeError:  # its loop has ended
            with self._lock:
                self._watchers.discard(watcher)

    def _offer(self, watcher: _Watcher, entry: Entry | None) -> None:
        if watcher.dropped:
            return
        try:
            watcher.queue.put_nowait(entry)
        except asyncio.QueueFull:
            watcher.dropped = True
            with self._lock:
                self._watchers.discard(watcher)
                self.dropped += 1

    def _drop(self, seq: int) -> None:
        _, images = self._pictures.pop(seq)
        self._bytes -= _size(images)

    def _text(self, entry: Entry) -> str:
        body: dict[str, Any] = entry.event.model_dump(mode="json")
        body["images"] = {name: f"/api/v1/shots/{entry.seq}/{name}" for name in entry.images}
        return f"id: {self._run}-{entry.seq}\nevent: {entry.event.type}\ndata: {json.dumps(body)}\n\n"


def _size(images: Mapping[str, bytes]) -> int:
    return sum(len(data) for data in images.values())
