"""People in a run: every track that ends gets its identity before it is written."""

from __future__ import annotations

import getpass
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .config import IdentityConfig
from .engines.zoo.fetch import digest
from .stream.decode.sources import printable
from .stream.errors import ConfigError, OutputExists, OutputUnwritable
from .stream.identity.database import SqliteDatabase
from .stream.identity.embedding import shot_embeddings
from .stream.identity.index import ExactIndex, GraphIndex
from .stream.identity.linker import Appearance, Linker, Visit
from .stream.identity.records import IDENTITIES, identity_records, write_identities
from .stream.identity.retention import DAY_S, Retention, retain
from .stream.identity.rows import ShotRow
from .stream.identity.sql import SqlStore
from .stream.identity.store import IdentityStore
from .stream.identity.templates import of_one_face, track_template
from .stream.identity.thresholds import LinkThresholds
from .stream.ports import Closing, Embedder
from .stream.sealing import Sealer
from .stream.sinks.files import check_ours, naming
from .stream.sinks.records import shot_files
from .stream.types import F32, BestShot, TrackResult

POSTGRES = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class Linking:
    """By what tracks are joined. embedder: None for the scorer's own embeddings; name: whose they are."""

    embedder: Embedder | None
    name: str
    thresholds: LinkThresholds


class Identification(Closing):
    """The people of one run over one or more sources; out: the folder given by --out.

    top_k: shots a person. Without a store in the configuration people are known for this run only. Raises
    ConfigError for a store that holds another network's embeddings.
    """

    def __init__(
        self,
        config: IdentityConfig,
        linking: Linking,
        out: Path,
        *,
        top_k: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._linking, self._out = config, linking, out
        self._top_k, self._clock = top_k, clock
        self._store = open_store_of(linking, config.store)
        self._linker: Linker | None = None
        self._source: tuple[str, str, str] | None = None
        self._visits: list[Visit] = []
        self._visit: Visit | None = None

    def begin(self, spec: str, name: str, folder: Path) -> None:
        """The next source. folder: of its results."""
        self._source = spec, name, os.path.relpath(folder, self._out)
        self._visit = None

    def identify(self, result: TrackResult) -> TrackResult:
        """The same result with its identity; without one where no shot was kept."""
        if not result.shots:
            return result
        seen, _ = appearance(result, self._linking, self._config.template_k)
        linker, visit = self._ready(len(seen.template.vector))
        identity = linker.link(visit, seen, self._clock())
        return replace(result, summary=replace(result.summary, identity=identity))

    def end(self, *, until_s: float | None) -> None:
        """The source has ended, or was left at until_s; identities.jsonl is written anew."""
        if self._linker is not None and self._visit is not None:
            self._linker.finish(self._visit, self._clock(), until_s=until_s)
        lasting = self._config.store is not None
        write_identities(self._out, identity_records(self._store, self._visits, self._top_k, lasting=lasting))

    def close(self) -> None:
        """Gives up what the retention limits say, and lets go of the store."""
        limits = retention(self._config)
        try:
            if self._config.store is not None and not limits.keeps_all and self._visits:
                retain(self._store, limits, self._clock(), actor("run"))
        finally:
            self._store.close()

    def _ready(self, dimension: int) -> tuple[Linker, Visit]:
        """The linker, and this source's visit: made with its first face, so a store knows no empty ones."""
        if self._source is None:
            raise ValueError("begin comes before identify")
        if self._linker is None:
            self._store.bind(self._linking.name, dimension)
            self._linker = Linker(
                self._store,
                self._linking.thresholds,
                dimension=dimension,
                new_index=GraphIndex if self._config.index == "usearch" else ExactIndex,
                actor=actor("run"),
            )
        if self._visit is None:
            spec, name, folder = self._source
            # Only a store that lasts meets the same contents again; reading a film to hash it takes its time.
            lasting = self._config.store is not None
            sha256 = source_hash(spec) if lasting else f"{len(self._visits)}:{printable(spec)}"
            out = _storable(self._out.resolve(), lasting=lasting)
            self._visit = self._linker.begin(sha256, name, out=out, folder=folder)
            self._visits.append(self._visit)
        return self._linker, self._visit


def _storable(out: Path, *, lasting: bool) -> str:
    """The folder's name as a database takes it. One that lasts has to find it again, to delete what is there:
    OutputUnwritable where it could not."""
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        if lasting:
            raise OutputUnwritable(
                f"{printable(out)}: its name is not UTF-8, so no store can keep it"
            ) from error
        return printable(out)
    return str(out)


def retention(config: IdentityConfig) -> Retention:
    """The configuration's limits."""
    days = config.retention_days
    return Retention(
        max_age_s=None if days is None else days * DAY_S,
        max_shots=config.retention_shots,
        min_quality=config.retention_min_quality,
    )


def open_store(place: str | None, sealer: Sealer | None = None) -> IdentityStore:
    """place: a file, a postgresql:// URL without a password, or None for memory. sealer: of the embeddings,
    None leaves them open."""
    if place is not None:
        check_store(place)
    if place is not None and place.startswith(POSTGRES):
        from .stream.identity.postgres import PostgresDatabase

        return SqlStore(PostgresDatabase(place), sealer)
    return SqlStore(SqliteDatabase(None if place is None else Path(place)), sealer)


def open_store_of(linking: Linking, place: str | None, sealer: Sealer | None = None) -> IdentityStore:
    """open_store; ConfigError, too, for a store that holds another network's embeddings."""
    store = open_store(place, sealer)
    try:
        if (known := store.embedder()) is not None:
            store.bind(linking.name, known[1])
    except BaseException:
        store.close()
        raise
    return store


def actor(command: str) -> str:
    """Who does it, for the store's log."""
    try:
        return f"{getpass.getuser()}: {command}"
    except (KeyError, OSError):
        return command


def source_hash(spec: str) -> str:
    """What a source is known by when it comes again: SHA-256 of the file, or of a folder's file names and
    contents. What cannot be read twice (standard input, a device, a stream) is new every time."""
    path = Path(spec)
    if spec != "-" and path.is_file():
        return digest(path)
    if spec != "-" and path.is_dir():
        whole = hashlib.sha256()
        for file in sorted(p for p in path.iterdir() if p.is_file()):
            whole.update(f"{file.name}\0{digest(file)}\0".encode(errors="surrogateescape"))
        return whole.hexdigest()
    return f"once:{uuid.uuid4().hex}"


def check_store(place: str) -> None:
    """ConfigError for a URL with a password, which run.json would give away."""
    if place.startswith(POSTGRES) and "@" in place and ":" in place.split("://", 1)[1].split("@", 1)[0]:
        raise ConfigError(
            "identity.store: leave the password out of the URL (it would be written to run.json); "
            "PostgreSQL reads it from ~/.pgpass or PGPASSWORD"
        )


def appearance(result: TrackResult, linking: Linking, template_k: int) -> tuple[Appearance, list[BestShot]]:
    """What a track, of which shots were kept, tells of its person, and the shots of the same order that show
    it. Those of a second face, where the tracker went astray, are nobody's."""
    vectors = shot_embeddings(result.shots, linking.embedder)
    mine = of_one_face(result.shots, vectors, linking.thresholds.within)
    shots, vectors = [result.shots[i] for i in mine], [vectors[i] for i in mine]
    summary = result.summary
    seen = Appearance(
        track=summary.track,
        first_pts_s=summary.first_pts_s,
        last_pts_s=summary.last_pts_s,
        frames_seen=summary.frames_seen,
        template=track_template(shots, vectors, template_k),
        shots=[shot_row(shot, summary.window, vector) for shot, vector in zip(shots, vectors, strict=True)],
    )
    return seen, shots


def shot_row(shot: BestShot, window: int, vector: F32) -> ShotRow:
    """What a store keeps of a shot; its files lie where FolderSink puts them."""
    portrait, chip = shot_files(shot.crop.track, shot.rank, window)
    return ShotRow(
        window=window,
        rank=shot.rank,
        pts_s=shot.crop.pts_s,
        score=shot.quality.score,
        calibrated=shot.quality.calibrated,
        chip=chip,
        portrait=None if shot.crop.portrait is None else portrait,
        vector=vector,
    )


def make_way(out: Path, *, overwrite: bool) -> None:
    """See that no identities.jsonl of an earlier run is there; with overwrite, remove it if it is ours.

    Raises OutputExists, or OutputUnwritable for what facesieve did not write."""
    path = out / IDENTITIES
    with naming(path):
        if not path.exists() and not path.is_symlink():
            return
        if not overwrite:
            raise OutputExists(
                f"{str(out)!r} holds results already ({IDENTITIES}): choose another folder, or --overwrite"
            )
        check_ours(path)
        path.unlink(missing_ok=True)
