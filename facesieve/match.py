"""`facesieve match`: whom of a gallery the kept faces of a run show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from .build import SHIPPED_STUDENT, Built, build, build_embedder
from .config import Config, IdentityConfig, StudentConfig
from .engines.models.recognisers import Pixels
from .engines.zoo.fetch import digest
from .engines.zoo.store import Store
from .enrolment import BATCH, Unused, enrol, pictures, shot_face, shots_of
from .matches import Matches, Probe
from .stream.decode.names import printable
from .stream.errors import ConfigError, WeightsUnavailable
from .stream.identity.embedding import ScorerEmbedder
from .stream.identity.thresholds import VerificationTable
from .stream.matching import Candidate, Enrolled, decide, template
from .stream.ports import Embedder
from .stream.sinks.gallery import Gallery, Shown, read_gallery
from .stream.types import F32, Crop

STUDENT, ZOO = "student", "sface"
DEFAULT_FMR = 1e-3


def match(
    run: Path,
    gallery: Path,
    config: Config,
    *,
    embedder: str = STUDENT,
    preprocessing: Pixels | None = None,
    fmr: float | None = None,
    threshold: float | None = None,
    top: int = 5,
) -> Matches:
    """Match every track and identity of a run against a gallery (enrolment.pictures says of which kinds).

    embedder: "student" (the configured quality network's own embedding), "sface", or the path of an ONNX
    recogniser, whose pixels `preprocessing` names where facesieve does not know it. threshold: cosine
    similarity; without it that of the model's table at fmr (default 1e-3). top: candidates listed of each.
    Raises SourceMissing for what is not there, NoFrames where nobody can be enrolled, ConfigError where no
    threshold can be had, ModelError and EngineError.
    """
    if not isinstance(config.scorer, StudentConfig):  # it weighs the gallery's faces, and may embed them
        config = config.model_copy(update={"scorer": StudentConfig()})
    config = config.model_copy(update={"identity": IdentityConfig(enabled=False)})  # nobody is linked here
    results = read_gallery(run)
    model = _model(embedder, config)
    least = _threshold(model, fmr, threshold)
    with ExitStack() as stack:
        built = stack.enter_context(closing(build(config)))
        embed: Embedder = ScorerEmbedder(built.scorer)
        if embedder != STUDENT:
            embed = stack.enter_context(closing(build_embedder(config, model, preprocessing)))
        found = pictures(gallery, built.detector, config.detector.min_score)
        enrolment = enrol(found, embed, lambda crops: _weights(built, crops), gallery)
        faces, unused = _embedded(results, embed)
    enrolled = enrolment.enrolled
    probes = tuple(_probes(results, lambda shots: _answer(shots, faces, enrolled, least, top)))
    given = None if threshold is not None else DEFAULT_FMR if fmr is None else fmr
    return Matches(embed.name, least, given, enrolment, enrolled.alike(least), probes, unused)


def _model(embedder: str, config: Config) -> Path:
    store = Store(commercial_use=config.models.licence == "commercial")
    if embedder == STUDENT:
        own = config.scorer.weights if isinstance(config.scorer, StudentConfig) else None
        return own or store.path(SHIPPED_STUDENT)
    return store.path(embedder) if embedder == ZOO else Path(embedder)


def _threshold(model: Path, fmr: float | None, threshold: float | None) -> float:
    if threshold is not None:
        if fmr is not None:
            raise ConfigError("expected a threshold or a false match rate, got both")
        if not -1 <= threshold <= 1:
            raise ConfigError(f"expected a threshold in [-1, 1], a cosine similarity, got {threshold}")
        return threshold
    if not model.is_file():
        raise WeightsUnavailable(f"{model}: no such file (a recogniser in ONNX)")
    table = VerificationTable.beside(model, digest(model))
    if table is None:
        raise ConfigError(
            f"{model}: no thresholds are known for this network (no `verification` in {model.stem}.json): "
            "give one with --threshold, a cosine similarity"
        )
    return table.at(DEFAULT_FMR if fmr is None else fmr)


def _weights(built: Built, crops: Sequence[Crop]) -> list[float]:
    """Calibrated quality, or 1 for every face where the scorer has no calibration."""
    known = [quality.calibrated for quality in built.scorer.score(crops)]
    return [1.0 if value is None else value for value in known]


_Key = tuple[int, int, int, int]
"""Source, track, window and rank of a shot."""
_Answer = tuple[int, tuple[Candidate, ...], str | None]
"""Faces used, candidates, decision."""


def _key(shown: Shown) -> _Key:
    return shown.source, shown.shot.track, shown.shot.window, shown.shot.rank


def _embedded(results: Gallery, embedder: Embedder) -> tuple[dict[_Key, F32], tuple[Unused, ...]]:
    """The embedding of every kept shot's chip, and the shots without a usable one."""
    vectors: dict[_Key, F32] = {}
    unused: list[Unused] = []
    keys: list[_Key] = []
    faces: list[Crop] = []

    def flush() -> None:
        vectors.update(zip(keys, embedder.embed(faces), strict=True))
        keys.clear()
        faces.clear()

    for shown in _every_shot(results):
        file, face = shot_face(results, shown)
        if isinstance(face, str):
            unused.append(Unused(file, face))
            continue
        keys.append(_key(shown))
        faces.append(face)
        if len(faces) == BATCH:
            flush()
    flush()
    return vectors, tuple(unused)


def _every_shot(results: Gallery) -> Iterator[Shown]:
    for index, source in enumerate(results.sources):
        for track in source.results.tracks:
            for shot in source.results.shots.get(track.track, ()):
                yield Shown(index, shot)


def _probes(results: Gallery, answer: Callable[[Sequence[Shown]], _Answer]) -> Iterator[Probe]:
    """Tracks by source and first time, then identities; those of which nothing was kept are left out."""
    for index, source in enumerate(results.sources):
        name = printable(source.name)  # read from a file: it may hold anything
        for track in source.results.tracks:
            shots = [Shown(index, shot) for shot in source.results.shots.get(track.track, ())]
            if shots:
                yield Probe(source.folder, name, track.track, track.identity, *answer(shots))
    for person in results.people:
        if person.identity is not None:
            yield Probe("", "", None, person.identity, *answer(shots_of(results, person)))


def _answer(
    shots: Sequence[Shown], faces: Mapping[_Key, F32], enrolled: Enrolled, threshold: float, top: int
) -> _Answer:
    used = [shown for shown in shots if _key(shown) in faces]
    if not used:
        return 0, (), None
    calibrated = [shown.shot.calibrated for shown in used]
    weights = [1.0 if value is None else value for value in calibrated]
    candidates = enrolled.candidates(template(np.stack([faces[_key(s)] for s in used]), weights), top)
    return len(used), candidates, decide(candidates, threshold)
