"""What a selector tells, on its way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from .policy import Fit
from .ports import Assessor, Selector
from .progress import Progress, timed
from .types import BestShot, ShotRevision, TrackEnd, TrackResult


class Telling:
    """Passes on what a selector tells, with the components of the shots where an assessor measures them.

    enrols: what a shot lacks to be enrolled, by its components; one that lacks anything loses its mark.
    """

    def __init__(
        self,
        progress: Progress,
        assessor: Assessor | None,
        on_revision: Callable[[ShotRevision], None],
        enrols: Fit | None = None,
    ) -> None:
        self._progress = progress
        self._assessor = assessor
        self._on_revision = on_revision
        self._enrols = enrols

    def advance(self, selector: Selector, pts_s: float) -> Iterator[TrackResult]:
        """What is told at pts_s: windows that are over, and shots told early."""
        with timed(self._progress, "select"):
            events = selector.advance(pts_s)
        yield from self._results([event for event in events if isinstance(event, TrackResult)])
        for event in events:
            if isinstance(event, ShotRevision):
                self._on_revision(event)
                self._progress.revisions += 1

    def ends(self, selector: Selector, tracks: Sequence[int], why: TrackEnd) -> Iterator[TrackResult]:
        """The terminal events of tracks."""
        with timed(self._progress, "select"):
            results = [selector.end(track, why) for track in tracks]
        yield from self._results([result for result in results if result is not None])

    def _results(self, results: list[TrackResult]) -> Iterator[TrackResult]:
        try:
            told = self._measured(results)
        except Exception:
            yield from self._counted(results)
            raise
        yield from self._counted(told)

    def _counted(self, results: list[TrackResult]) -> Iterator[TrackResult]:
        for result in results:
            self._progress.tracks += result.summary.end is not TrackEnd.WINDOW
            self._progress.shots += len(result.shots)
            yield result

    def _measured(self, results: list[TrackResult]) -> list[TrackResult]:
        """With the components of all shots that lack them, measured in one call."""
        crops = [shot.crop for result in results for shot in result.shots if not shot.quality.components]
        if self._assessor is None:
            return results
        measured: Iterator[Mapping[str, float]] = iter(())
        if crops:
            with timed(self._progress, "assess"):
                measured = iter(self._assessor.assess(crops))
            self._progress.assessed += len(crops)
        return [
            dataclasses.replace(result, shots=tuple(self._with(shot, measured) for shot in result.shots))
            for result in results
        ]

    def _with(self, shot: BestShot, measured: Iterator[Mapping[str, float]]) -> BestShot:
        quality = shot.quality
        if not quality.components:
            quality = dataclasses.replace(quality, components=next(measured))
        enrol = shot.enrol and (self._enrols is None or not self._enrols(quality.components))
        return dataclasses.replace(shot, quality=quality, enrol=enrol)
