"""A training run on disk: one checkpoint to resume from, a curve as CSV and plot, the best weights."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...stream.errors import OutputExists
from ..checkpoints import read_checkpoint, unwritten, write_checkpoint
from .recipes import AnyRecipe
from .schedule import AveragedWeights

CHECKPOINT = "checkpoint.pt"
BEST = "best.pth"
CURVE = "curve.csv"
PLOT = "curve.png"


class Run:
    """What must survive a kill. Weights, optimiser, average, step and curve are saved as one file.

    resumed: the step that this call went on from, 0 for a new run. The layout is that of the reference's
    diffusion checkpoints ({step, model, opt, ema, scaler}), with ours beside it. data: a digest of what
    is learned from. Everything random is drawn from (seed, step), so a resumed run repeats an unbroken
    one.
    """

    def __init__(
        self,
        folder: Path,
        recipe: AnyRecipe,
        data: str,
        network: nn.Module,
        optimiser: Optimizer,
        average: AveragedWeights | None = None,
    ) -> None:
        self.folder, self.recipe, self.data = folder, recipe, data
        self.network, self.optimiser, self.average = network, optimiser, average
        self.step = self.resumed = 0
        self.best = float("inf")
        self.curve: list[dict[str, float]] = []

    def _other(self, recipe: object) -> str:
        """What a stored recipe has otherwise."""
        try:
            there = dict(json.loads(str(recipe)))
        except (ValueError, TypeError):
            return "none"
        asked = self.recipe.model_dump(mode="json")
        return ", ".join(
            f"{key} {there.get(key)!r} (now {asked.get(key)!r})"
            for key in sorted(there.keys() | asked.keys())
            if there.get(key) != asked.get(key)
        )

    def resume(self) -> bool:
        """Continues from the folder's checkpoint, if any. Raises OutputExists for another recipe or data."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return False
        saved = read_checkpoint(path)
        if saved.get("recipe") != self.recipe.model_dump_json():
            raise OutputExists(
                f"expected a run of the same recipe to resume, got {self._other(saved.get('recipe'))}: "
                f"{path}; choose another folder or remove it"
            )
        if saved.get("data") != self.data:
            raise OutputExists(
                f"expected a run on the same faces, labels and teacher to resume, got one on others: {path}; "
                f"choose another folder or remove it"
            )
        self.network.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["opt"])
        if self.average is not None:
            self.average.state = dict(saved["ema"])
        self.step, self.best, self.curve = saved["step"], saved["best"], list(saved["curve"])
        self.resumed = self.step
        return True

    def record(self, **values: float) -> None:
        """Values of the current step: its row of the curve."""
        if not self.curve or self.curve[-1]["step"] != self.step:
            self.curve.append({"step": self.step})
        self.curve[-1].update(values)

    def offer(self, loss: float, weights: Mapping[str, Tensor]) -> None:
        """Keeps these weights as the best so far if their validation loss is the lowest."""
        if loss < self.best:
            self.best = loss
            write_checkpoint(self.folder / BEST, weights)

    def save(self) -> None:
        content: dict[str, Any] = {
            "step": self.step,
            "model": self.network.state_dict(),
            "opt": self.optimiser.state_dict(),
            "ema": self.average.state if self.average is not None else {},
            "scaler": None,
            "best": self.best,
            "curve": self.curve,
            "recipe": self.recipe.model_dump_json(),
            "data": self.data,
        }
        write_checkpoint(self.folder / CHECKPOINT, content)
        _write_curve(self.folder, self.curve)


def autocast(recipe: AnyRecipe) -> torch.autocast:
    """The precision of forward passes that the recipe asks for, on the CPU."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.autocast == "bfloat16")


def _write_curve(folder: Path, curve: list[dict[str, float]]) -> None:
    """curve.csv (a row a step of which something is known, empty where a value was not taken) and curve.png
    (a panel per value)."""
    names = list(dict.fromkeys(name for row in curve for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve)
    replace_file(folder / CURVE, text.getvalue().encode())
    plotted = [name for name in names if name != "step"]
    if plotted:
        replace_file(folder / PLOT, _plot(curve, plotted))


def _plot(curve: list[dict[str, float]], names: list[str]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.2 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        points = [(row["step"], row[name]) for row in curve if name in row]
        panel.plot(*zip(*points, strict=True), linewidth=1, marker="." if len(points) < 50 else "")
        panel.set(ylabel=name.replace("_", " "))
        panel.grid(alpha=0.3)
    panels[-1].set(xlabel="step")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    return image.getvalue()


def replace_file(path: Path, content: bytes) -> None:
    """Writes under a temporary name, then renames."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as cause:
        raise unwritten(path, cause) from cause
