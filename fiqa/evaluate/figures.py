"""All figures of one data set under one recogniser at one false match rate, for any number of methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engines.build.ranks import spearman
from ...stream.types import F32
from ..edc import Verification, discard_at, error_versus_discard, partial_auc, unit
from ..selection import (
    Interval,
    Tracks,
    partial_auc_interval,
    template_fnmr,
    track_selection,
    tracks_of,
)
from .comparisons import compare, mated_similarity, pair_similarities
from .datasets import Dataset, PairList, Templates

DISCARDS = (0.05, 0.1, 0.2, 0.3)
AREAS = (0.2, 0.3, 1.0)
BEST = (1, 3, 5)
DRAWS = 20
CURVE_POINTS = 200
RANDOM, ORACLE = "random", "oracle"


@dataclass(frozen=True, slots=True)
class Selection:
    """Best frame of each track: FNMR of the picks, gap closed, FNMR of templates of the best k frames."""

    fnmr: Interval
    gap_closed: Interval
    templates: dict[int, float]


@dataclass(frozen=True, slots=True)
class MethodFigures:
    """discards: FNMR after discarding a share of the pairs. areas: partial AUC per limit (1.0: the AUC).
    curve: (m, 2) discarded share and FNMR, for plots. selection: None where the set has no tracks."""

    discards: dict[float, float]
    areas: dict[float, Interval]
    curve: NDArray[np.float64]
    selection: Selection | None


@dataclass(frozen=True, slots=True)
class TemplateFigures:
    """FNMR of the published template pairs, each policy at its own threshold for the FMR.

    plain: faces averaged (within a medium first). weighted: by the rank of quality. best: of the best k.
    """

    plain: float
    weighted: dict[str, float]
    best: dict[str, dict[int, float]]


@dataclass(frozen=True, slots=True)
class JudgeFigures:
    """One recogniser at one FMR. genuine: number of pairs. random_fnmr: of random picks, expected;
    oracle_fnmr: of the oracle's; None without tracks."""

    fmr: float
    threshold: float
    fnmr: float
    genuine: int
    methods: dict[str, MethodFigures]
    random_fnmr: float | None
    oracle_fnmr: float | None
    templates: TemplateFigures | None


def judge_figures(
    dataset: Dataset,
    embeddings: F32,
    qualities: Mapping[str, NDArray[np.float64]],
    fmr: float,
    resamples: int,
) -> JudgeFigures:
    """The methods' figures, and beside them those of random and of the oracle, which needs the judge.

    embeddings: (n, d). qualities: (n,) per method, higher is better, −inf where a face has none. Intervals
    draw people (or pairs, see Dataset.unit) `resamples` times; random's are the spread of 20 draws.
    """
    faces = dataset, embeddings, qualities
    if dataset.by_template and dataset.templates is not None:
        dataset, embeddings, qualities = as_faces(dataset, dataset.templates, embeddings, qualities)
    pairs = compare(embeddings, dataset, fmr)
    tracks = tracks_of(dataset.identities, dataset.videos) if dataset.has_tracks() else None
    bench = _Bench(dataset, embeddings, pairs, tracks, resamples)
    with np.errstate(divide="ignore", invalid="ignore"):  # tiny sets: people without an error, or a pair
        methods = {name: bench.figures(quality) for name, quality in qualities.items()}
        methods[RANDOM] = bench.random()
        methods[ORACLE] = bench.figures(mated_similarity(pairs, len(dataset)))
        whole, vectors, scores = faces
        templates = (
            None if whole.templates is None else template_figures(vectors, whole.templates, scores, fmr)
        )
        chance = bench.chance()
    return JudgeFigures(
        fmr, pairs.threshold, pairs.fnmr, len(pairs.first), methods, chance[0], chance[1], templates
    )


@dataclass(frozen=True, slots=True)
class _Bench:
    dataset: Dataset
    embeddings: F32
    pairs: Verification
    tracks: Tracks | None
    resamples: int

    def figures(self, quality: NDArray[np.float64]) -> MethodFigures:
        curve = error_versus_discard(self.pairs, quality)
        identities = self.dataset.identities
        areas = {
            limit: partial_auc_interval(self.pairs, identities, quality, limit, self.resamples)
            for limit in AREAS
        }
        discards = {share: discard_at(curve, share) for share in DISCARDS}
        return MethodFigures(discards, areas, thinned(curve), self._selection(quality, self.resamples))

    def _selection(self, quality: NDArray[np.float64], resamples: int) -> Selection | None:
        if self.tracks is None:
            return None
        threshold = self.pairs.threshold
        picked = track_selection(self.embeddings, self.tracks, quality, threshold, resamples)
        templates = template_fnmr(self.embeddings, self.tracks, quality, ranks(quality), threshold, BEST)
        return Selection(picked.fnmr, picked.gap_closed, templates)

    def random(self) -> MethodFigures:
        """The mean of 20 draws; the intervals are their spread."""
        generator = np.random.default_rng(0)
        draws = [generator.random(len(self.dataset)) for _ in range(DRAWS)]
        curves = [error_versus_discard(self.pairs, draw) for draw in draws]
        areas = {limit: _spread([partial_auc(c, limit) for c in curves]) for limit in AREAS}
        discards = {share: float(np.mean([discard_at(c, share) for c in curves])) for share in DISCARDS}
        picked = [found for draw in draws if (found := self._selection(draw, 2)) is not None]
        selection = None
        if picked:
            selection = Selection(
                _spread([p.fnmr.value for p in picked]),
                _spread([p.gap_closed.value for p in picked]),
                {k: float(np.mean([p.templates[k] for p in picked])) for k in BEST},
            )
        return MethodFigures(discards, areas, thinned(np.mean(curves, axis=0)), selection)

    def chance(self) -> tuple[float | None, float | None]:
        if self.tracks is None:
            return None, None
        anything = np.zeros(len(self.dataset))
        result = track_selection(self.embeddings, self.tracks, anything, self.pairs.threshold, 2)
        return result.random_fnmr, result.oracle_fnmr


def ranks(quality: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) rank in [0, 1): weights that do not depend on a method's scale; faces without a score weigh 0."""
    order = np.argsort(np.argsort(quality, kind="stable"), kind="stable") / len(quality)
    return np.where(np.isfinite(quality), order, 0.0)


def thinned(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, 2) at most 200 points of the curve for a plot: discarded share and FNMR."""
    at = np.unique(np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(np.intp))
    return np.stack([at / len(curve), curve[at]], axis=1)


def _spread(values: list[float]) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975))
    return Interval(float(np.mean(values)), float(low), float(high))


def as_faces(
    dataset: Dataset,
    templates: Templates,
    embeddings: F32,
    qualities: Mapping[str, NDArray[np.float64]],
) -> tuple[Dataset, F32, dict[str, NDArray[np.float64]]]:
    """Templates in the place of faces: plain mean embedding, mean quality of the faces that have one."""
    alive = [rows for rows in templates.rows if len(rows)]
    number = np.cumsum([len(rows) > 0 for rows in templates.rows]) - 1
    first = [int(rows[0]) for rows in alive]
    pairs = PairList(number[templates.pairs.first], number[templates.pairs.second], templates.pairs.same)
    names = tuple(f"template {at}" for at in range(len(alive)))
    people = Dataset(
        dataset.name,
        dataset.layout,
        names,
        tuple(dataset.images[row] for row in first),
        dataset.identities[first],
        np.array(names),
        pairs,
    )
    means = template_means(unit(embeddings), templates, np.ones(len(embeddings)))
    averaged = {name: np.array([_mean_score(q[rows]) for rows in alive]) for name, q in qualities.items()}
    return people, means[[len(rows) > 0 for rows in templates.rows]].astype(np.float32), averaged


def _mean_score(scores: NDArray[np.float64]) -> float:
    finite = scores[np.isfinite(scores)]
    return float(finite.mean()) if len(finite) else -np.inf


def template_figures(
    embeddings: F32, templates: Templates, qualities: Mapping[str, NDArray[np.float64]], fmr: float
) -> TemplateFigures:
    """Templates as insightface's protocol makes them (faces of a medium averaged first), and by quality."""
    vectors = unit(embeddings)
    even = np.ones(len(vectors))
    weighted, best = {}, {}
    for name, quality in qualities.items():
        weighted[name] = _template_fnmr(vectors, templates, ranks(quality) + 1e-6, fmr)
        best[name] = {k: _template_fnmr(vectors, templates, _among_best(templates, quality, k), fmr)
                      for k in BEST}  # fmt: skip
    return TemplateFigures(_template_fnmr(vectors, templates, even, fmr), weighted, best)


def _among_best(templates: Templates, quality: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """(n,) 1 for the best k faces of each template, else 0; a face belongs to one template."""
    weight = np.zeros(len(quality))
    for rows in templates.rows:
        weight[rows[np.argsort(-quality[rows], kind="stable")[:k]]] = 1.0
    return weight


def template_means(
    vectors: NDArray[np.float64], templates: Templates, weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(t, d) weighted sum of each template's faces, 0 for an empty one; a medium weighs as much as its best
    face, however many it has."""
    means = np.zeros((len(templates.rows), vectors.shape[1]))
    for at, rows in enumerate(templates.rows):
        if len(rows):
            media, which = np.unique(templates.media[rows], return_inverse=True)
            total = np.bincount(which, weight[rows], len(media))
            highest = np.zeros(len(media))
            np.maximum.at(highest, which, weight[rows])
            share = weight[rows] * (highest / np.maximum(total, 1e-12))[which]
            means[at] = share @ vectors[rows]
    return means


def _template_fnmr(
    vectors: NDArray[np.float64], templates: Templates, weight: NDArray[np.float64], fmr: float
) -> float:
    """FNMR at the FMR of the templates so made."""
    pairs = templates.pairs
    if pairs.same.all() or not pairs.same.any():
        raise ValueError("expected matched and mismatched pairs of templates")
    similarities = pair_similarities(unit(template_means(vectors, templates, weight)), pairs)
    threshold = np.quantile(similarities[~pairs.same], 1.0 - fmr)
    return float((similarities[pairs.same] < threshold).mean())


def rank_agreement(qualities: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Rank correlation of each two methods over the faces that both have scored; NaN for two or fewer."""
    table: dict[str, dict[str, float]] = {}
    for one, a in qualities.items():
        table[one] = {}
        for other, b in qualities.items():
            both = np.isfinite(a) & np.isfinite(b)
            table[one][other] = spearman(a[both], b[both]) if both.sum() > 2 else float("nan")
    return table
