"""Who looks like a face, among all people of a store."""

from __future__ import annotations

from ...identity.index import ExactIndex
from ...identity.store import IdentityStore
from ...types import F32

_EVERYBODY = -2.0  # below any similarity


class Nearest:
    """The means of all people, held in memory from the first search on: 4 bytes a value, so 51 MB for 100,000
    people of 128 values. Each search first takes in what was done in the store since the one before, by
    whichever process, so nobody who was deleted, merged or changed is found as he was. For the store's
    thread only.
    """

    def __init__(self) -> None:
        self._index: ExactIndex | None = None
        self._dimension = self._revision = 0

    def find(self, store: IdentityStore, vector: F32, limit: int) -> list[tuple[int, float]]:
        """(person, similarity in [-1, 1]) of at most limit people, nearest first. vector: (d,) of unit
        length; nobody is near one of another length."""
        self._refresh(store)
        if self._index is None or len(vector) != self._dimension:
            return []
        found = self._index.nearest(vector, _EVERYBODY, limit)
        return [(identity, min(max(near, -1.0), 1.0)) for identity, near in found]

    def _refresh(self, store: IdentityStore) -> None:
        known = store.embedder()
        if known is None:
            return
        if self._index is None:
            self._dimension = known[1]
            self._index = ExactIndex(self._dimension)
        if store.revision() == self._revision:
            return
        changes = store.changes(self._revision)
        for identity in changes.gone:
            self._index.remove(identity)
        for row in changes.changed:
            if row.total is not None and len(row.total) == self._dimension:
                self._index.put(row.identity, row.centre)
            else:
                self._index.remove(row.identity)
        self._revision = changes.revision
