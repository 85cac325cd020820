"""A recogniser's own calibration of a quality score, and thresholds for wanted error rates.

For each face the share of its mated comparisons that succeed at the FMR is known; isotonic regression makes
it a strictly increasing function of the raw score. How well it holds on people it was not fitted on is
measured by fitting on four fifths of the people and looking at the others, five times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...stream.errors import ConfigError, SourceUnreadable
from ...stream.sinks.files import write_whole
from ..calibration import Calibration, fit_calibration
from ..edc import Verification
from . import columns
from .chips import Finder
from .columns import Progress
from .comparisons import compare
from .open import open_dataset
from .plots import reliability_plot
from .run import Judge
from .scores import read_scores

TARGETS = (0.1, 0.05, 0.02, 0.01)
FOLDS = 5
BINS = 10
RULE_OF_THREE = 3.0
"""Without an error in n comparisons the rate is below 3/n at 95 % (Hanley and Lippman-Hand 1983): a target
needs at least 3/target comparisons that tell."""
LEAST_PAIRS = 50
LEAST_FACES = 50


@dataclass(frozen=True, slots=True)
class Threshold:
    """A raw score from which on the target holds. calibrated: its probability. kept: share of the faces that
    pass. fnmr: reached. pairs: comparisons that tell."""

    raw: float
    calibrated: float
    kept: float
    fnmr: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Suggestion:
    """For a target FNMR. min_quality: when both faces of a comparison pass it. enrol: when the enrolled face
    passes it and the other may be any. None where the target is out of reach, or too few pairs are left."""

    target_fnmr: float
    min_quality: Threshold | None
    enrol: Threshold | None


@dataclass(frozen=True, slots=True)
class Calibrated:
    """bins: (predicted, observed, faces) of held-out people, by equal numbers of faces. error: mean absolute
    difference over bins, weighted by faces."""

    calibration: Calibration
    bins: tuple[tuple[float, float, int], ...]
    error: float
    fnmr: float
    threshold: float
    suggestions: tuple[Suggestion, ...]


def calibrate_folder(
    folder: Path,
    judge: Judge,
    network: Path | None,
    table: Path | None,
    fmr: float,
    targets: Sequence[float],
    out: Path,
    finder: Finder,
    cache: Path | None,
    bar: Callable[[str], AbstractContextManager[Progress]],
) -> Calibrated:
    """Writes `out` (JSON, as Calibration.beside reads it) and the reliability plot beside it (.svg).

    network or table: where the scores come from. Raises ConfigError for rates out of (0, 1), SourceError
    where faces or scores cannot be used.
    """
    for rate in (fmr, *targets):
        if not 0.0 < rate < 1.0:
            raise ConfigError(f"expected a rate between 0 and 1, got {rate}")
    dataset = open_dataset(folder)
    judging = columns.judge(judge.path, judge.preprocessing)
    scoring = None if network is None else columns.scorer(network)
    with bar(f"faces of {dataset.name}") as tick:
        wanted = [judging] if scoring is None else [judging, scoring]
        measured = columns.measure(dataset, wanted, finder, cache, tick)
    if scoring is not None:
        quality = measured.values[scoring.key][:, 0].astype(np.float64)
    elif table is not None:
        quality = read_scores(table, dataset)
    else:
        raise ConfigError("expected a quality network or a table of scores")
    kept = measured.found & np.isfinite(quality)
    part = dataset.without(~kept)
    try:
        pairs = compare(measured.values[judging.key][kept], part, fmr)
        done = calibrate(quality[kept], pairs, part.identities, targets)
    except ValueError as lacking:
        raise SourceUnreadable(f"{folder}: {lacking}") from lacking
    source = scoring.key if scoring is not None else str(table.name if table else "")
    write_whole(out, (json.dumps(record(done, judge.name, source, fmr), indent=1) + "\n").encode())
    write_whole(out.with_suffix(".svg"), reliability_plot(done.bins, fmr).encode())
    return done


def calibrate(
    quality: NDArray[np.float64],
    pairs: Verification,
    identities: NDArray[np.str_],
    targets: Sequence[float] = TARGETS,
) -> Calibrated:
    """quality, identities: (n,) of the faces that the pairs number. ValueError where they are too few."""
    success, mated = success_shares(pairs, len(quality))
    _, person = np.unique(identities, return_inverse=True)
    if mated.sum() < LEAST_FACES or len(np.unique(person[mated])) < FOLDS:
        raise ValueError(
            f"expected {LEAST_FACES} faces with mates of {FOLDS} people or more, got {int(mated.sum())} of "
            f"{len(np.unique(person[mated]))}"
        )
    if len(np.unique(quality[mated])) < 2:
        raise ValueError("expected scores that differ")
    whole = fit_calibration(quality[mated], success[mated])
    predicted = held_out(quality[mated], success[mated], person[mated])
    bins = reliability(predicted, success[mated])
    error = float(np.average([abs(p - o) for p, o, _ in bins], weights=[n for *_, n in bins]))
    suggestions = tuple(
        Suggestion(
            target,
            _threshold(_both(pairs, quality), pairs.errors, target, quality, whole),
            _threshold(*_one_end(pairs, quality), target, quality, whole),
        )
        for target in targets
    )
    return Calibrated(whole, bins, error, pairs.fnmr, pairs.threshold, suggestions)


def success_shares(pairs: Verification, count: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(count,) share of each face's mated comparisons that succeed, and whether it has any."""
    hits, mates = np.zeros(count), np.zeros(count)
    for end in (pairs.first, pairs.second):
        np.add.at(hits, end, ~pairs.errors)
        np.add.at(mates, end, 1)
    return hits / np.maximum(mates, 1), mates > 0


def held_out(
    quality: NDArray[np.float64], success: NDArray[np.float64], person: NDArray[np.intp]
) -> NDArray[np.float64]:
    """(n,) calibrated scores of each face by a map fitted on other people."""
    people = np.random.default_rng(0).permutation(np.unique(person))
    predicted = np.empty(len(quality))
    for fold in np.array_split(people, FOLDS):
        out = np.isin(person, fold)
        predicted[out] = fit_calibration(quality[~out], success[~out])(quality[out])
    return predicted


def reliability(
    predicted: NDArray[np.float64], observed: NDArray[np.float64]
) -> tuple[tuple[float, float, int], ...]:
    """(mean predicted, mean observed, faces) of ten bins of equal size."""
    parts = np.array_split(np.argsort(predicted, kind="stable"), min(BINS, len(predicted)))
    return tuple((float(predicted[p].mean()), float(observed[p].mean()), len(p)) for p in parts)


def _both(pairs: Verification, quality: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(quality[pairs.first], quality[pairs.second])


def _one_end(
    pairs: Verification, quality: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Each comparison twice: either face may be the enrolled one."""
    return np.concatenate([quality[pairs.first], quality[pairs.second]]), np.tile(pairs.errors, 2)


def _threshold(
    deciding: NDArray[np.float64],
    errors: NDArray[np.bool_],
    target: float,
    quality: NDArray[np.float64],
    calibration: Calibration,
) -> Threshold | None:
    """The lowest score that reaches the target and keeps it at every higher score that can be judged."""
    order = np.argsort(deciding, kind="stable")
    ordered, failed = deciding[order], errors[order]
    left = np.arange(len(ordered), 0, -1)
    rate = failed[::-1].cumsum()[::-1] / left
    least = max(LEAST_PAIRS, int(np.ceil(RULE_OF_THREE / target)))
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > 0]) & (left >= least))
    holds = np.logical_and.accumulate((rate[starts] <= target)[::-1])[::-1]
    if not holds.any():
        return None
    at = int(starts[int(np.argmax(holds))])
    raw = float(ordered[at])
    return Threshold(
        raw,
        float(calibration(np.array([raw]))[0]),
        float((quality >= raw).mean()),
        float(rate[at]),
        int(left[at]),
    )


def record(done: Calibrated, recogniser: str, scorer: str, fmr: float) -> dict[str, Any]:
    """The JSON; its part `calibration` is what the pipeline's Calibration.beside reads."""
    return {
        "calibration": {"raw": done.calibration.raw, "probability": done.calibration.probability},
        "meaning": "probability that a mated comparison of this face succeeds",
        "recogniser": recogniser,
        "scorer": scorer,
        "fmr": fmr,
        "threshold": done.threshold,
        "fnmr": done.fnmr,
        "suggestions": [asdict(suggestion) for suggestion in done.suggestions],
        "reliability": {
            "held_out_error": done.error,
            "bins": [{"predicted": p, "observed": o, "faces": n} for p, o, n in done.bins],
        },
    }


def summary(done: Calibrated) -> Iterator[str]:
    """What a person wants to read of it."""
    yield f"FNMR {done.fnmr:.4f} over all faces; calibrated scores are off by {done.error:.3f} on new people"
    for suggestion in done.suggestions:
        for what, found in (("min_quality", suggestion.min_quality), ("enrol", suggestion.enrol)):
            if found is None:
                yield f"FNMR ≤ {suggestion.target_fnmr:g}: {what} not reached here"
            else:
                yield (
                    f"FNMR ≤ {suggestion.target_fnmr:g}: {what} ≥ {found.raw:.4g} (calibrated "
                    f"{found.calibrated:.3f}) keeps {found.kept:.1%} of the faces"
                )
