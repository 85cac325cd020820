"""The figures' plots as SVG that needs nothing from outside."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..selection import Interval

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c564b", "#7f7f7f", "#b8a800")
"""Okabe and Ito's palette for the colour-blind, with three more."""
_NO_METADATA: dict[str, None] = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@contextmanager
def _look(grid: bool = True) -> Iterator[None]:
    with mpl.rc_context(
        {
            "svg.hashsalt": "facesieve",
            "svg.fonttype": "path",
            "font.size": 9.0,
            "axes.grid": grid,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "text.parse_math": False,
        }
    ):
        yield


def _svg(figure: Figure) -> str:
    """The figure as an SVG element; the same figure gives the same text."""
    target = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # names in any script
        figure.savefig(target, format="svg", metadata=_NO_METADATA, bbox_inches="tight")
    drawn = target.getvalue()
    return drawn[drawn.index("<svg") :]  # what stands before names a DTD on the web


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def edc_plot(curves: Mapping[str, NDArray[np.float64]], fnmr: float) -> str:
    """FNMR against the share of discarded pairs; curves (m, 2) per method."""
    with _look():
        figure, axes = _axes(6.4, 4.0)
        for at, (name, curve) in enumerate(curves.items()):
            dashed = "--" if name in ("random", "oracle") else "-"
            axes.plot(curve[:, 0], curve[:, 1], dashed, color=COLOURS[at % len(COLOURS)], label=_short(name))
        axes.set(xlabel="share of pairs discarded", ylabel="FNMR of the rest", xlim=(0, 0.95))
        axes.set_ylim(0, 1.15 * fnmr if fnmr > 0 else 1)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        return _svg(figure)


def interval_plot(values: Mapping[str, Interval], label: str) -> str:
    """One figure of every method with its interval."""
    with _look():
        figure, axes = _axes(6.4, 0.6 + 0.28 * len(values))
        for at, value in enumerate(values.values()):
            axes.plot([value.low, value.high], [at, at], color=COLOURS[at % len(COLOURS)], linewidth=2)
            axes.plot([value.value], [at], "o", color=COLOURS[at % len(COLOURS)])
        axes.set_yticks(range(len(values)), [_short(name) for name in values])
        axes.invert_yaxis()
        axes.set_xlabel(label)
        return _svg(figure)


def histograms(qualities: Mapping[str, NDArray[np.float64]], bins: int = 40) -> str:
    """The distribution of every method's scores, each on its own scale."""
    columns = min(3, len(qualities))
    lines = -(-len(qualities) // columns)
    with _look():
        figure = Figure(figsize=(2.6 * columns, 1.7 * lines), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for at, (name, quality) in enumerate(qualities.items()):
            finite = quality[np.isfinite(quality)]
            grid[at].hist(finite, bins=bins, color=COLOURS[at % len(COLOURS)])
            grid[at].set_title(_short(name), fontsize=8)
            grid[at].set_yticks([])
        for axes in grid[len(qualities) :]:
            axes.set_axis_off()
        return _svg(figure)


def correlation_plot(table: Mapping[str, Mapping[str, float]]) -> str:
    """Spearman's rank correlation of each two methods."""
    names = list(table)
    values = np.array([[table[a][b] for b in names] for a in names])
    with _look(grid=False):
        figure, axes = _axes(1.6 + 0.6 * len(names), 1.2 + 0.5 * len(names))
        axes.imshow(values, vmin=-1, vmax=1, cmap="RdBu")
        labels = [_short(name, 18) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=30, ha="right")
        axes.set_yticks(range(len(names)), labels)
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if abs(value) > 0.6 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
        return _svg(figure)


def reliability_plot(bins: Sequence[tuple[float, float, int]], fmr: float) -> str:
    """Predicted against observed success of mated comparisons; bins of (predicted, observed, faces)."""
    with _look():
        figure, axes = _axes(4.2, 4.0)
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
        predicted, observed, counts = (np.array(part, np.float64) for part in zip(*bins, strict=True))
        axes.scatter(predicted, observed, s=20 + 180 * counts / counts.max(), color=COLOURS[0], alpha=0.7)
        axes.plot(predicted, observed, color=COLOURS[0], linewidth=1)
        axes.set(xlabel="calibrated score, held-out people", xlim=(0, 1), ylim=(0, 1))
        axes.set_ylabel(f"share of mated comparisons that succeed at FMR {fmr:g}")
        return _svg(figure)


def seconds_plot(seconds: Mapping[int, float]) -> str:
    """FaceQAN's time per image against its number of adversarial copies."""
    with _look():
        figure, axes = _axes(5.0, 2.8)
        axes.plot(list(seconds), list(seconds.values()), "o-", color=COLOURS[0])
        axes.set(xlabel="k (adversarial copies)", ylabel="FaceQAN, seconds an image")
        axes.set_ylim(bottom=0)
        return _svg(figure)


def _short(name: str, most: int = 32) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
