"""evaluation.json, and the page beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...stream.sinks.files import make_folder, write_whole
from ..selection import Interval
from .figures import JudgeFigures, MethodFigures
from .page import comparison, page
from .run import Method, SetResult, Settings
from .timing import Runtime


def report(
    results: Sequence[SetResult], methods: Sequence[Method], settings: Settings, cost: Runtime | None = None
) -> dict[str, Any]:
    """evaluation.json: numbers only, NaN as null."""
    return {
        **({} if cost is None else {"runtime": asdict(cost)}),
        "resamples": settings.resamples,
        "datasets": [
            {
                "name": result.dataset.name,
                "layout": result.dataset.layout,
                "faces": len(result.dataset),
                "not_aligned": result.dropped,
                "unscored": {name: count for name, count in result.unscored.items() if count},
                "people": len(np.unique(result.dataset.identities)),
                "bootstrap_unit": result.dataset.unit,
                "spearman": {
                    one: {other: _number(value) for other, value in row.items()}
                    for one, row in result.correlation.items()
                },
                "recognisers": [
                    _judged(name, figures, methods)
                    for name, every in result.figures.items()
                    for figures in every
                ],
            }
            for result in results
        ],
    }


def _judged(name: str, figures: JudgeFigures, methods: Sequence[Method]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "recogniser": name,
        "fmr": figures.fmr,
        "threshold": _number(figures.threshold),
        "fnmr": _number(figures.fnmr),
        "genuine_pairs": figures.genuine,
        "scores": {
            method: {"comparison": comparison(method, name, methods), **_scored(one)}
            for method, one in figures.methods.items()
        },
    }
    if figures.random_fnmr is not None and figures.oracle_fnmr is not None:
        entry["tracks"] = {"random_fnmr": figures.random_fnmr, "oracle_fnmr": figures.oracle_fnmr}
    if figures.templates is not None:
        entry["templates"] = {
            "plain_fnmr": figures.templates.plain,
            "quality_weighted_fnmr": figures.templates.weighted,
            "best_k_fnmr": figures.templates.best,
        }
    return entry


def _scored(one: MethodFigures) -> dict[str, Any]:
    names = {0.2: "pauc20", 0.3: "pauc30", 1.0: "auc"}
    entry: dict[str, Any] = {
        "fnmr_at_discard": {f"{share:g}": _number(value) for share, value in one.discards.items()},
        **{names[limit]: _interval(value) for limit, value in one.areas.items()},
        "edc": [[round(x, 6), round(y, 6)] for x, y in one.curve.tolist()],
    }
    if one.selection is not None:
        entry["picked_fnmr"] = _interval(one.selection.fnmr)
        entry["gap_closed"] = _interval(one.selection.gap_closed)
        entry["template_fnmr"] = {str(k): _number(value) for k, value in one.selection.templates.items()}
    return entry


def _interval(value: Interval) -> dict[str, float | None]:
    return {"value": _number(value.value), "low": _number(value.low), "high": _number(value.high)}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def write(
    out: Path,
    results: Sequence[SetResult],
    methods: Sequence[Method],
    settings: Settings,
    cost: Runtime | None = None,
) -> tuple[Path, Path]:
    """evaluation.json and evaluation.html in `out`."""
    make_folder(out)
    content = report(results, methods, settings, cost)
    write_whole(out / "evaluation.json", (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    write_whole(out / "evaluation.html", page(results, methods, cost).encode())
    return out / "evaluation.json", out / "evaluation.html"
