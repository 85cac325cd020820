"""What became of a source: what is shown when it ends, and its exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .stream.errors import EXIT_INTERRUPTED, EXIT_PARTIAL, FacesieveError
from .stream.sinks.records import shot_files
from .stream.types import Quality, TrackResult, TrackSummary


@dataclass(frozen=True, slots=True)
class Row:
    """One track in the closing table; the rest is on disk by then. best: quality of its best shot, if any,
    without its embedding, factors and components: a long film has many tracks. unfit: what it lacks."""

    summary: TrackSummary
    best: Quality | None
    file: str | None
    unfit: tuple[str, ...] = ()

    @staticmethod
    def of(result: TrackResult) -> Row:
        best = result.shots[0] if result.shots else None
        return Row(
            dataclasses.replace(result.summary, timeline=()),
            Quality(best.quality.score, best.quality.model, best.quality.calibrated) if best else None,
            shot_files(result.summary.track, 1, result.summary.window)[0] if best else None,
            best.unfit if best else (),
        )


@dataclass(slots=True)
class Outcome:
    """What became of one source. error: why it failed; damage: what of it could not be read. pictures: file
    names of a source of stills, whose times are their places in that order; empty for a film."""

    spec: str
    out: Path
    pictures: Sequence[str] = ()
    rows: list[Row] = field(default_factory=list)
    error: FacesieveError | None = None
    damage: str | None = None
    interrupted: bool = False
    report: Path | None = None

    @property
    def exit_code(self) -> int:
        """0, the error's own, EXIT_PARTIAL or EXIT_INTERRUPTED."""
        if self.error is not None:
            return self.error.exit_code
        if self.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_PARTIAL if self.damage else 0
