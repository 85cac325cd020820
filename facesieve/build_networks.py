"""Networks by their configuration: which file, of whom, and the engine that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .config import (
    Config,
    MediaPipeConfig,
    OnnxRuntimeConfig,
    OpenVinoConfig,
    StudentConfig,
    TensorRTConfig,
)
from .engines.models.mediapipe import tasks
from .engines.openvino import OpenVinoEngine
from .engines.signature import PixelInput
from .engines.zoo.fetch import digest
from .engines.zoo.store import Store, cache_folder
from .stream.errors import WeightsUnavailable
from .stream.ports import Engine

OWN_LICENCE: Final = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A network in use, for run.json."""

    name: str
    task: str
    sha256: str
    licence: str | None


def open_zoo(config: Config) -> Store:
    """The zoo, which refuses what the configuration's licence does."""
    return Store(commercial_use=config.models.licence == "commercial")


def check_licences(config: Config, store: Store) -> None:
    """Refuses files of the user's own that are models whose licence forbids the stated use, before anything
    is fetched; ConfigError for a name in models.paths that no model has."""
    for name in config.models.paths:
        store.named(name)
    own = config.scorer.weights if isinstance(config.scorer, StudentConfig) else None
    for path in (*config.models.paths.values(), own, config.detector.weights):
        if path is not None:
            store.allow(path)


def check_packages(config: Config) -> None:
    """Refuses a detector or engine whose package is not installed, before anything is fetched."""
    if isinstance(config.detector, MediaPipeConfig):
        tasks()
    if not isinstance(config.engine, OpenVinoConfig):
        from .other_engines import check_package  # costs every start otherwise

        check_package(config.engine)


class Networks:
    """Finds files of networks and runs them; models: those that were asked for."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store
        self._hashes: dict[Path, str] = {}
        self.models: list[ModelFacts] = []

    def is_shipped(self, path: Path, name: str) -> bool:
        """Whether a file is the zoo's model of that name, byte for byte."""
        return self._hashes[path] == self._store.named(name).sha256

    def sha256(self, path: Path) -> str:
        """Of a file that weights gave."""
        return self._hashes[path]

    def weights(self, name: str, own: Path | None, task: str = "detection") -> Path:
        """The zoo's file, or the user's own, noted among the models."""
        own = own or self._config.models.paths.get(name)
        if own is None:
            path = self._store.path(name)
            model = self._store.model(name)
            self._hashes[path] = model.sha256
            self.models.append(ModelFacts(name, task, model.sha256, model.licence))
            return path
        if not own.is_file():
            raise WeightsUnavailable(f"{own}: no such file (weights of the {task} model)")
        self._hashes[own] = sha256 = digest(own)
        known = self._store.known(sha256)
        self.models.append(ModelFacts(own.name, task, sha256, None if known is None else known.licence))
        return own

    def engine(
        self, path: Path, pixels: PixelInput | None, *, exact: bool = False, rows: tuple[int, ...] = ()
    ) -> Engine:
        """exact: where the device may choose, compute in fp32: bfloat16 may tie scores that differ. rows: see
        OpenVinoEngine; where batches are not shared out over streams."""
        match self._config.engine:
            case OpenVinoConfig() as openvino:
                frames = pixels is not None and pixels.height is None
                known = self._store.known(self._hashes.get(path, ""))
                return OpenVinoEngine(
                    path,
                    name=path.stem if known is None else known.name,
                    # one's own may have data in other files; a model of the zoo is one file
                    sha256=None if known is None else known.sha256,
                    pixels=pixels,
                    device=openvino.device,
                    precision="fp32" if exact and openvino.precision == "auto" else openvino.precision,
                    threads=openvino.threads,
                    # Frames come one at a time: streams would only take threads from each.
                    hint="latency" if frames else openvino.hint,
                    streams=None if frames else openvino.streams,
                    specialise=frames,
                    rows=rows if openvino.hint == "latency" else (),
                    cache_dir=cache_folder() / "compiled" if openvino.cache else None,
                )
            case OnnxRuntimeConfig() | TensorRTConfig() as other:
                from .other_engines import other_engine  # costs every start otherwise

                return other_engine(other, path, pixels)
