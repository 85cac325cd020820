"""The whole evaluation: sets × recognisers × methods, as evaluation.json and one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...stream.errors import ConfigError, SourceUnreadable
from ...stream.types import F32
from ..methods import Preprocessing
from . import columns, timing
from .chips import Chips, Finder, read_chips
from .columns import Column, Progress
from .datasets import Dataset
from .figures import JudgeFigures, judge_figures, rank_agreement
from .scores import read_scores
from .timing import Runtime

SHEET_FACES = 16
SHEET_PX = 64
HEIGHT, LAPLACIAN, LIGHTQNET = "face height", "Laplacian variance", "LightQNet"


@dataclass(frozen=True, slots=True)
class Judge:
    """A recogniser that decides. preprocessing: None where it is known."""

    name: str
    path: Path
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """Where scores come from: tables (one for all sets, or one for each), or a network that is run here.

    made_by: name of the judge that made them, if one did: that judge's figures are same-model.
    """

    name: str
    tables: tuple[Path, ...] = ()
    network: Path | None = None
    made_by: str | None = None

    def comparison(self, judge: str) -> str:
        """same-model where the judge made the scores, cross-model where another did, else independent."""
        if self.made_by is None:
            return "independent"
        return "same-model" if self.made_by == judge else "cross-model"


@dataclass(frozen=True, slots=True)
class Settings:
    """fmrs: false match rates. resamples: of the bootstrap. lightqnet: its weights, or None. cache: folder
    for what is computed from images, or None."""

    fmrs: tuple[float, ...] = (1e-3,)
    resamples: int = 300
    lightqnet: Path | None = None
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class SetResult:
    """Everything of one data set. figures: per judge, per FMR. sheet: JPEGs of faces ranked by each method,
    worst first. dropped: faces that could not be aligned. unscored: faces without a score, per method."""

    dataset: Dataset
    dropped: int
    unscored: dict[str, int]
    qualities: dict[str, NDArray[np.float64]]
    figures: dict[str, list[JudgeFigures]]
    correlation: dict[str, dict[str, float]]
    sheet: dict[str, list[bytes]]


def evaluate(
    datasets: Sequence[Dataset],
    judges: Sequence[Judge],
    methods: Sequence[Method],
    settings: Settings,
    finder: AbstractContextManager[Finder],
    bar: Callable[[str], AbstractContextManager[Progress]],
) -> list[SetResult]:
    """Runs everything; finder: for sets without landmarks. bar: makes a progress display for a task.

    Raises ConfigError for names that clash or are unknown, SourceError for what cannot be read.
    """
    _check(datasets, judges, methods, settings)
    table = _Columns(
        {judge.name: columns.judge(judge.path, judge.preprocessing) for judge in judges},
        {method.name: columns.scorer(method.network) for method in methods if method.network},
        columns.laplacian(),
        None if settings.lightqnet is None else columns.lightqnet(settings.lightqnet),
    )
    given = [_tables(methods, at, dataset) for at, dataset in enumerate(datasets)]
    results = []
    with finder as find:
        for dataset, scores in zip(datasets, given, strict=True):
            with bar(f"faces of {dataset.name}") as tick:
                measured = columns.measure(dataset, table.all(), find, settings.cache, tick)
            whole = table.qualities(dataset, measured.values) | scores
            kept = dataset.without(~measured.found)
            qualities = {name: quality[measured.found] for name, quality in whole.items()}
            embeddings = {name: measured.values[c.key][measured.found] for name, c in table.judges.items()}
            results.append(_set_result(dataset, kept, qualities, embeddings, settings, find, bar))
    return results


def _tables(methods: Sequence[Method], at: int, dataset: Dataset) -> dict[str, NDArray[np.float64]]:
    """(n,) per method whose scores come from tables: the only one, or the one for set number `at`."""
    return {
        method.name: read_scores(method.tables[at if len(method.tables) > 1 else 0], dataset)
        for method in methods
        if method.tables
    }


@dataclass(frozen=True, slots=True)
class _Columns:
    judges: dict[str, Column]
    networks: dict[str, Column]
    laplacian: Column
    lightqnet: Column | None

    def all(self) -> list[Column]:
        given = [*self.judges.values(), *self.networks.values(), self.laplacian, self.lightqnet]
        return list({c.key: c for c in given if c is not None}.values())

    def qualities(self, dataset: Dataset, values: dict[str, F32]) -> dict[str, NDArray[np.float64]]:
        """(n,) per method that is computed here: networks, then baselines."""
        chosen = dict(self.networks)
        if self.lightqnet is not None:
            chosen[LIGHTQNET] = self.lightqnet
        chosen[LAPLACIAN] = self.laplacian
        found = {name: values[c.key][:, 0].astype(np.float64) for name, c in chosen.items()}
        if dataset.heights_px is not None:
            found[HEIGHT] = dataset.heights_px
        return found


def _set_result(
    dataset: Dataset,
    kept: Dataset,
    qualities: dict[str, NDArray[np.float64]],
    embeddings: dict[str, F32],
    settings: Settings,
    finder: Finder,
    bar: Callable[[str], AbstractContextManager[Progress]],
) -> SetResult:
    figures: dict[str, list[JudgeFigures]] = {}
    with bar(f"figures of {dataset.name}") as tick:
        total = len(embeddings) * len(settings.fmrs)
        for name, vectors in embeddings.items():
            figures[name] = []
            for fmr in settings.fmrs:
                try:
                    one = judge_figures(kept, vectors, qualities, fmr, settings.resamples)
                except ValueError as lacking:
                    raise SourceUnreadable(f"{dataset.name}: {lacking}") from lacking
                figures[name].append(one)
                tick(sum(map(len, figures.values())), total)
    return SetResult(
        kept,
        len(dataset) - len(kept),
        {name: int((~np.isfinite(quality)).sum()) for name, quality in qualities.items()},
        qualities,
        figures,
        rank_agreement(qualities),
        {name: _sheet(kept, quality, finder) for name, quality in qualities.items()},
    )


def _sheet(dataset: Dataset, quality: NDArray[np.float64], finder: Finder) -> list[bytes]:
    """JPEGs of evenly spaced faces, from the worst to the best."""
    order = np.argsort(quality, kind="stable")[int((~np.isfinite(quality)).sum()) :]
    rows = order[np.linspace(0, len(order) - 1, min(SHEET_FACES, len(order))).round().astype(np.intp)]
    pictures = []
    for part in read_chips(dataset, rows, finder):
        for chip in part.chips:
            small = cv2.resize(chip, (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_AREA)
            _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
            pictures.append(data.tobytes())
    return pictures


def runtime(
    dataset: Dataset,
    judge: Judge,
    methods: Sequence[Method],
    finder: AbstractContextManager[Finder],
    tick: Progress = lambda done, total: None,
) -> Runtime:
    """What the networks among the methods cost, and FaceQAN with this recogniser, on faces of the set."""
    found: list[Chips] = []
    with finder as find:
        for part in read_chips(dataset, np.arange(len(dataset), dtype=np.intp), find, timing.BATCH):
            found.append(part)
            if sum(len(p.rows) for p in found) >= timing.BATCH:
                break
    chips = np.concatenate([part.chips for part in found])[: timing.BATCH]
    eyes = np.concatenate([part.eyes_px for part in found])[: timing.BATCH]
    if not len(chips):
        raise SourceUnreadable(f"{dataset.name}: no face that could be aligned, to measure times on")
    return Runtime(
        timing.machine(),
        {
            m.name: timing.network_cost(m.network, columns.scorer(m.network), chips, eyes)
            for m in methods
            if m.network is not None
        },
        timing.faceqan_seconds(judge.path, judge.preprocessing, chips[0], tick=tick),
    )


def _check(
    datasets: Sequence[Dataset], judges: Sequence[Judge], methods: Sequence[Method], settings: Settings
) -> None:
    reserved = ["random", "oracle", HEIGHT, LAPLACIAN, *([LIGHTQNET] if settings.lightqnet else [])]
    for what, names in (
        ("data set", [d.name for d in datasets]),
        ("recogniser", [j.name for j in judges]),
        ("score", [m.name for m in methods] + reserved),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"expected a name of its own for every {what}, got {twice[0]!r} twice")
    if not datasets or not judges:
        raise ConfigError("expected at least one data set and one recogniser")
    for fmr in settings.fmrs:
        if not 0.0 < fmr < 1.0:
            raise ConfigError(f"expected a false match rate between 0 and 1, got {fmr}")
    if settings.resamples < 2:
        raise ConfigError(f"expected 2 resamples or more, got {settings.resamples}")
    for method in methods:
        if method.made_by is not None and method.made_by not in [j.name for j in judges]:
            raise ConfigError(f"{method.name}: made by {method.made_by!r}, which is none of the recognisers")
        if len(method.tables) not in (0, 1, len(datasets)):
            raise ConfigError(
                f"{method.name}: expected one table for all data sets, or one for each of the "
                f"{len(datasets)}, got {len(method.tables)}"
            )
