"""People in live cameras: every track that ends gets its identity; the store is kept within its limits."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from .config import IdentityConfig
from .identify import Linking, actor, appearance, open_store_of, retention
from .stream.decode.names import slug
from .stream.identity.index import ExactIndex, GraphIndex
from .stream.identity.linker import Linker, Visit
from .stream.identity.retention import Retention, retain
from .stream.identity.rows import ShotRow
from .stream.identity.store import IdentityStore
from .stream.ports import Clock, Closing
from .stream.sealing import Plain, Sealer, read_sealed, reseal_files
from .stream.serve.events import Message, Moment, Origin
from .stream.serve.narrator import Narrator
from .stream.sinks.encode import jpeg, png
from .stream.sinks.files import FOLDER_MODE, naming, write_whole
from .stream.types import BestShot, TrackResult

_LOG = logging.getLogger("facesieve.serve")
_EVERY_S = 3600.0
_VISITS = 256
Result = TypeVar("Result")


class LivePeople(Closing):
    """Links tracks of all cameras in one thread of its own, for a store is a matter of one thread.

    state: the service's folder; pictures of the people lie below it in `people/`, and go when their person
    does, whoever deleted it. That and retention are looked after at the start and every hour. sealer: of
    pictures, whose names then end in .enc, and of embeddings. Raises ConfigError for a store that needs
    another key or holds another network's embeddings.
    """

    def __init__(
        self,
        config: IdentityConfig,
        linking: Linking,
        state: Path,
        clock: Clock,
        sealer: Sealer | None = None,
    ) -> None:
        self._sealer: Sealer = Plain() if sealer is None else sealer
        self._config, self._linking, self._state, self._clock = config, linking, state.resolve(), clock
        self._visits: dict[str, tuple[Origin, Visit]] = {}
        self._linker: Linker | None = None
        self._closing = threading.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="people")
        self._store: IdentityStore = self._worker.submit(open_store_of, linking, self.place, sealer).result()
        self._worker.submit(self._reseal)  # in the store's thread: nobody is deleted meanwhile
        self._keeper = threading.Thread(target=self._keep, name="people-retention", daemon=True)
        self._keeper.start()

    @property
    def place(self) -> str:
        """Where people are stored: the configured store, or identities.db in the state folder."""
        return self._config.store or str(self._state / "identities.db")

    def identify(
        self, result: TrackResult, narrator: Narrator, at: Moment
    ) -> tuple[TrackResult, list[Message]]:
        """The result with its identity, and what became of that person. Raises OutputError."""
        return self._worker.submit(self._identify, result, narrator, at).result()

    def in_store(self, work: Callable[[IdentityStore], Result]) -> Result:
        """Do something with the store, in its thread; what work raises is raised here."""
        return self._worker.submit(work, self._store).result()

    def read(self, path: Path) -> bytes:
        """A picture of a person, opened if it is sealed. Raises OSError, ConfigError without its key."""
        return read_sealed(path, self._sealer)

    def refresh(self, store: IdentityStore) -> None:
        """Whom others deleted is not held in memory any longer. In the store's thread."""
        if self._linker is not None and store is self._store:
            self._linker.refresh()

    def sweep(self, store: IdentityStore) -> int:
        """Remove pictures that belong to nobody (any more), and folders in which none is left; how many
        pictures. In the store's thread.

        Those of tracks that were stored when the folder lay elsewhere stay: it names run and session."""
        kept = {self._state / folder / name for _, folder, name in store.pictures()}
        found = sorted((self._state / "people").rglob("*"), reverse=True)  # what is in a folder before it
        gone = [path for path in found if path.is_file() and path not in kept]
        for path in gone:
            with naming(path):
                path.unlink(missing_ok=True)
        for folder in (path for path in found if path.is_dir() and not path.is_symlink()):
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
        return len(gone)

    def close(self) -> None:
        """Let go of the store."""
        self._closing.set()
        self._worker.submit(self._store.close).result()
        self._worker.shutdown()
        self._keeper.join(5)

    def _identify(
        self, result: TrackResult, narrator: Narrator, at: Moment
    ) -> tuple[TrackResult, list[Message]]:
        if not result.shots:
            return result, []
        seen, shots = appearance(result, self._linking, self._config.template_k)
        linker, visit = self._ready(narrator.origin, len(seen.template.vector))
        rows = self._kept(shots, seen.shots, self._state / visit.folder)
        identity = linker.link(visit, replace(seen, shots=rows), self._clock.now_s())
        summary = result.summary
        told = narrator.identified(
            identity,
            self._store.track_count(identity),
            self._store.merged_from(identity),
            f"{summary.track}-{summary.window}",
            at,
        )
        return replace(result, summary=replace(summary, identity=identity)), [told]

    def _kept(self, shots: Sequence[BestShot], rows: Sequence[ShotRow], folder: Path) -> list[ShotRow]:
        """Write the shots' pictures; the rows with the names that they have, sealed or not."""
        seal, suffix = self._sealer.seal, self._sealer.suffix
        named = [
            replace(row, chip=row.chip + suffix, portrait=row.portrait and row.portrait + suffix)
            for row in rows
        ]
        for shot, row in zip(shots, named, strict=True):
            (folder / row.chip).parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            write_whole(folder / row.chip, seal(png(shot.crop.chip)))
            if row.portrait is not None and shot.crop.portrait is not None:
                write_whole(folder / row.portrait, seal(jpeg(shot.crop.portrait, 90)))
        return named

    def _ready(self, origin: Origin, dimension: int) -> tuple[Linker, Visit]:
        """The linker, and the visit of this session: a stretch of one camera in which nobody is twice."""
        if self._linker is None:
            self._store.bind(self._linking.name, dimension)
            self._linker = Linker(
                self._store,
                self._linking.thresholds,
                dimension=dimension,
                new_index=GraphIndex if self._config.index == "usearch" else ExactIndex,
                actor=actor("serve"),
            )
        known = self._visits.pop(origin.camera, None)
        if known is None or known[0] != origin:
            visit = self._linker.begin(
                f"live:{origin.boot}/{origin.camera}/{origin.session}",
                origin.camera,
                out=str(self._state),
                folder=f"people/{slug(origin.camera + '.camera')}/{origin.boot}-{origin.session}",
            )
            known = origin, visit
        self._visits[origin.camera] = known  # the newest last
        if len(self._visits) > _VISITS:
            del self._visits[next(iter(self._visits))]
        return self._linker, known[1]

    def _reseal(self) -> None:
        try:
            if resealed := reseal_files(self._state / "people", self._sealer):
                _LOG.info("%d pictures of people are encrypted with the new key now", resealed)
        except Exception:  # noqa: BLE001  the older key still opens them
            _LOG.exception("pictures of people could not be encrypted with the new key")

    def _retain(self, limits: Retention) -> None:
        if limits.keeps_all:
            with self._store.transaction():
                self._store.tidy(self._clock.now_s())
            return
        erased = retain(self._store, limits, self._clock.now_s(), actor("serve"))
        if erased.tracks or erased.shots:
            _LOG.info("retention gave up %d tracks and %d shots", erased.tracks, erased.shots)

    def _keep(self) -> None:
        limits = retention(self._config)
        while True:
            try:
                self._worker.submit(self._retain, limits).result()
                self._worker.submit(self.sweep, self._store).result()
            except Exception:  # noqa: BLE001  tried again in an hour
                _LOG.exception("people could not be kept within their limits")
            if self._closing.wait(_EVERY_S):
                return
