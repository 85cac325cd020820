"""What is done to people in their store, by whichever process, carried to the rest of the service."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from ..errors import FacesieveError
from ..identity.rows import Edit
from ..identity.store import IdentityStore
from ..ports import Clock, Closing
from .events import Message, Moment
from .forget import Forgotten, told_of
from .spool import Spool

_LOG = logging.getLogger("facesieve.serve")
EVERY_S: Final = 2.0
Result = TypeVar("Result")


class PeopleStore(Protocol):
    """Where the people of a service are kept."""

    def in_store(self, work: Callable[[IdentityStore], Result]) -> Result:
        """Runs work in the thread that the store belongs to, and returns what it returns."""

    def refresh(self, store: IdentityStore) -> None:
        """Forget what memory holds of people who have changed; in the store's thread."""

    def sweep(self, store: IdentityStore) -> int:
        """Remove pictures that belong to nobody any more; in the store's thread; how many went."""


class Following(Closing):
    """Follows the edits of a store: deletions, merges and splits by a user of whichever process, and people
    whom retention gave up.

    Of each, what waits in the spool is put right, sinks are told by an event, and so is watch, once: the
    spool notes in the same transaction how far the store was followed, so neither a crash nor a restart tells
    twice or leaves anything out. What is done while the service is down is told by the first catch_up of its
    next start; of a store that the spool does not know, all edits are that it still has.
    """

    def __init__(
        self,
        people: PeopleStore,
        spool: Spool,
        *,
        boot: str,
        clock: Clock,
        watch: Callable[[Message], None],
    ) -> None:
        self._people, self._spool, self._boot, self._clock, self._watch = people, spool, boot, clock, watch
        self._lock = threading.Lock()
        self._failing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facesieve-following", daemon=True)

    def start(self) -> None:
        """Look every two seconds from now on."""
        self._thread.start()

    def catch_up(self) -> None:
        """Carry out what is new. Raises FacesieveError when the store or the spool fails; then the rest of it
        is left for the next time."""
        with self._lock:
            name, edits = self._people.in_store(self._news)
            for edit in edits:
                self._carry_out(name, edit)
            if edits:
                self._people.in_store(self._people.sweep)

    def try_now(self) -> bool:
        """catch_up; False if it fails, which is logged, and tried again with the next look."""
        try:
            self.catch_up()
        except Exception as error:  # noqa: BLE001  whatever it was, the next look may succeed
            if not self._failing:
                told = "what was done to people in their store is not told yet, and is tried again: %s"
                _LOG.warning(told, error, exc_info=not isinstance(error, FacesieveError))
            self._failing = True
        else:
            self._failing = False
        return not self._failing

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._closing.wait(EVERY_S):
            self.try_now()

    def _news(self, store: IdentityStore) -> tuple[str, list[Edit]]:
        self._people.refresh(store)
        return store.name, store.edits(self._spool.followed(store.name))

    def _carry_out(self, store: str, edit: Edit) -> None:
        now_s = self._clock.now_s()
        at = Moment(pts_s=0.0, wall_s=round(now_s, 3), monotonic_s=round(time.monotonic(), 6))
        told = list(told_of(edit, self._boot, at))
        who = None
        if not edit.left:
            who = Forgotten(frozenset([edit.identity, *edit.merged_from]), frozenset(edit.tracks))
            _LOG.info("identity %d was deleted: receivers are told to forget it", edit.identity)
        self._spool.follow(store, edit.revision, now_s, told, who)
        for message in told:
            self._watch(message)
