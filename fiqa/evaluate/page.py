"""evaluation.html: one page with everything inside it; it loads nothing and runs nothing."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from ...stream.sinks.page import content_policy
from ..selection import Interval
from .figures import JudgeFigures
from .plots import correlation_plot, edc_plot, histograms, interval_plot, seconds_plot
from .run import Method, SetResult
from .timing import Runtime

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; } h3 { margin-top: 2rem; font-size: 1.05rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 9rem; }
td:first-child { overflow-wrap: anywhere; }
td small { color: #767676; }
img.plot { display: block; max-width: 100%; background: #fff; padding: .5rem; margin: .8rem 0; }
.sheet { display: grid; grid-template-columns: repeat(8, 1fr); gap: 2px; margin-bottom: .8rem; }
.sheet img { width: 100%; height: auto; }
@media (min-width: 48rem) { .sheet { grid-template-columns: repeat(16, 1fr); } }
p.note { color: #767676; max-width: 46rem; }
"""


def page(results: Sequence[SetResult], methods: Sequence[Method], cost: Runtime | None = None) -> str:
    """The page of all results."""
    policy = content_policy(_STYLE)
    body = "".join(part for result in results for part in _dataset(result, methods))
    body += "" if cost is None else "".join(_cost(cost))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<title>Face quality evaluation</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Which score tells which faces will be recognised?"
        f"</h1>\n{_note()}{body}</body>\n</html>\n"
    )


def comparison(method: str, judge: str, methods: Sequence[Method]) -> str:
    """What the figures of a method under this judge are; baselines are independent of every judge."""
    return next((m.comparison(judge) for m in methods if m.name == method), "independent")


def _note() -> str:
    return (
        '<p class="note">FNMR: share of comparisons of one person that fail at the stated false match rate '
        "(FMR). pAUC@r: mean of the error-versus-discard curve over the first r discarded pairs, relative to "
        "its start; 1 is useless, lower is better. Gap closed: how far picking each track’s best frame goes "
        "from random to the oracle. In brackets 95 % intervals; those of random are its spread over 20 "
        "draws.</p>\n"
    )


def _dataset(result: SetResult, methods: Sequence[Method]) -> Iterator[str]:
    dataset = result.dataset
    facts = f"{len(dataset)} faces, {len(set(dataset.identities.tolist()))} people, {dataset.layout}"
    if dataset.unit != "people":
        facts += f"; who is in it is not said, so intervals draw {dataset.unit}"
    facts += f"; {result.dropped} more could not be aligned" if result.dropped else ""
    for name, count in result.unscored.items():
        facts += f"; {count} without a score of {name}, which count as the worst" if count else ""
    yield f"<section>\n<h2>{escape(dataset.name)}</h2>\n<p>{escape(facts)}.</p>\n"
    for name, every in result.figures.items():
        for figures in every:
            yield from _judge(name, figures, methods)
    yield "<h3>Agreement of the methods (Spearman)</h3>\n"
    yield _plot(correlation_plot(result.correlation), "rank correlation of each two methods")
    yield "<h3>Distribution of the scores</h3>\n"
    yield _plot(histograms(result.qualities), "histograms of the scores")
    yield from _sheets(result.sheet)
    yield "</section>\n"


def _judge(name: str, figures: JudgeFigures, methods: Sequence[Method]) -> Iterator[str]:
    yield (
        f"<h3>Recogniser {escape(name)} at FMR {figures.fmr:g}</h3>\n<p>FNMR {figures.fnmr:.4f} over "
        f"{figures.genuine} genuine pairs; threshold {figures.threshold:.4f}.</p>\n"
    )
    kinds: dict[str, list[str]] = {}
    for method in figures.methods:
        kinds.setdefault(comparison(method, name, methods), []).append(method)
    titles = {
        "same-model": "Same model: scores that this recogniser made",
        "cross-model": "Cross model: scores that another recogniser made",
        "independent": "Scores without a recogniser",
    }
    for kind, chosen in ((k, kinds[k]) for k in titles if k in kinds):
        if len(kinds) > 1:
            yield f"<p>{titles[kind]}</p>\n"
        yield _discards(figures, chosen)
    if figures.fnmr > 0:
        curves = {method: one.curve for method, one in figures.methods.items()}
        yield _plot(edc_plot(curves, figures.fnmr), "error-versus-discard curves")
        areas = {method: one.areas[0.3] for method, one in figures.methods.items()}
        yield _plot(interval_plot(areas, "pAUC@.3 (lower is better)"), "pAUC@.3 with intervals")
    else:
        yield (
            "<p>No comparison of one person fails, so nothing here tells one score from another: a lower "
            "<code>--fmr</code>, more or harder faces would.</p>\n"
        )
    gaps = {m: one.selection.gap_closed for m, one in figures.methods.items() if one.selection is not None}
    if gaps and figures.random_fnmr is not None and figures.oracle_fnmr is not None:
        yield (
            f"<p>Best frame of each track: random {figures.random_fnmr:.4f} (expected), oracle "
            f"{figures.oracle_fnmr:.4f}.</p>\n"
        )
        yield _tracks(figures, list(figures.methods))
        if any(math.isfinite(gap.value) for gap in gaps.values()):
            yield _plot(interval_plot(gaps, "gap closed (higher is better)"), "gap closed with intervals")
    if figures.templates is not None:
        yield _templates(figures)


def _discards(figures: JudgeFigures, chosen: Sequence[str]) -> str:
    rows = []
    for method in chosen:
        one = figures.methods[method]
        cells = [escape(method), *(f"{one.discards[share]:.4f}" for share in (0.1, 0.2, 0.3))]
        rows.append(cells + [_cell(one.areas[limit]) for limit in (0.2, 0.3, 1.0)])
    return _rows(["FNMR, discarded", "10 %", "20 %", "30 %", "pAUC@.2", "pAUC@.3", "AUC"], rows)


def _tracks(figures: JudgeFigures, chosen: Sequence[str]) -> str:
    rows = []
    for method in chosen:
        found = figures.methods[method].selection
        if found is not None:
            cells = [escape(method), _cell(found.fnmr, 4), _cell(found.gap_closed)]
            rows.append(cells + [f"{found.templates[k]:.4f}" for k in (3, 5)])
    heads = ["FNMR, per track", "best frame", "gap closed", "template of best 3", "of best 5"]
    return _rows(heads, rows)


def _templates(figures: JudgeFigures) -> str:
    found = figures.templates
    if found is None:
        return ""
    rows = [["plain mean", f"{found.plain:.4f}", "", "", ""]]
    rows += [
        [escape(name), f"{weighted:.4f}", *(f"{found.best[name][k]:.4f}" for k in (1, 3, 5))]
        for name, weighted in found.weighted.items()
    ]
    heads = ["templates, FNMR", "weighted mean", "best 1", "best 3", "best 5"]
    return _rows(heads, rows)


def _cost(cost: Runtime) -> Iterator[str]:
    yield f"<section>\n<h2>What it costs</h2>\n<p>Measured on {escape(cost.machine)}.</p>\n"
    rows = [
        [escape(name), f"{one.parameters / 1e6:.2f} M", f"{one.single_ms:.2f}", f"{one.batch_ms:.2f}"]
        for name, one in cost.networks.items()
    ]
    if rows:
        yield _rows(["network", "parameters", "ms a face", "ms, of 8 at once"], rows)
    yield _plot(seconds_plot(cost.faceqan_s), "FaceQAN's seconds an image against k")
    yield "</section>\n"


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'


def _cell(value: Interval, digits: int = 3) -> str:
    if not math.isfinite(value.value):
        return "–"
    return f"{value.value:.{digits}f} <small>[{value.low:.{digits}f}, {value.high:.{digits}f}]</small>"


def _plot(svg: str, alternative: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return f'<img class="plot" alt="{escape(alternative)}" src="data:image/svg+xml;base64,{data}">\n'


def _sheets(sheet: Mapping[str, Sequence[bytes]]) -> Iterator[str]:
    yield "<h3>Faces from the worst to the best by each method</h3>\n"
    for name, pictures in sheet.items():
        images = "".join(
            f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
            for data in pictures
        )
        yield f'<p>{escape(name)}</p>\n<div class="sheet">{images}</div>\n'
