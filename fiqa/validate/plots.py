"""A validation's plots, as SVG that is the same for the same figures."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .figures import Recognition, Regret
from .sample import Sample

KEPT, OTHER, IMPOSTOR = "#d55e00", "#0072b2", "#7f7f7f"
BINS = 30


def agreement_plot(sample: Sample, teacher: NDArray[np.float64], method: str) -> str:
    """The teacher's scores over the run's."""
    figure, axes = _axes()
    for kept, colour, name in ((False, OTHER, "not kept"), (True, KEPT, "kept")):
        shown = (sample.ranks > 0) == kept
        axes.scatter(sample.student[shown], teacher[shown], s=14, c=colour, alpha=0.7, label=name)
    axes.set(xlabel="score in the run", ylabel=method)
    axes.legend(frameon=False)
    return _svg(figure)


def regret_plot(regret: Regret) -> str:
    """Regret of each track, sorted."""
    figure, axes = _axes()
    values = np.sort(regret.regrets)[::-1]
    axes.bar(np.arange(1, len(values) + 1), values, color=KEPT, width=0.9)
    axes.axhline(regret.mean.value, color=IMPOSTOR, linestyle="--", label=f"mean {regret.mean.value:.3g}")
    axes.set(xlabel="tracks, worst first", ylabel="best available − kept")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(frameon=False, loc="upper right")
    return _svg(figure)


def similarity_plot(recognition: Recognition) -> str:
    """Cosines of mated and of impostor comparisons, and the threshold between them."""
    figure, axes = _axes()
    both = np.concatenate([recognition.mated, recognition.impostor])
    edges = np.linspace(both.min(), both.max() + 1e-9, BINS + 1)
    for values, colour, name in (
        (recognition.impostor, IMPOSTOR, "different people"),
        (recognition.mated, OTHER, "one track"),
    ):
        if len(values):
            share = np.full(len(values), 1 / len(values))
            axes.hist(values, bins=edges.tolist(), weights=share, color=colour, alpha=0.6, label=name)
    axes.axvline(recognition.threshold, color=KEPT, label=f"threshold {recognition.threshold:.3f}")
    axes.set(xlabel="cosine", ylabel="share of comparisons")
    axes.legend(frameon=False)
    return _svg(figure)


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 3.6))
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure, axes


def _svg(figure: Figure) -> str:
    target = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "facesieve", "svg.fonttype": "path"}):
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    text = target.getvalue()
    return text[text.index("<svg") :]
