"""What a selector tells, on its way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from .policy import Fit
from .progress import Progress
from .types import BestShot, Crop, ShotRevision, TrackEnd, TrackResult

Events = Sequence[TrackResult | ShotRevision]
"""What is told at one time: tracks and windows that ended, then shots that are told early."""
Measure = Callable[[Sequence[Crop]], Sequence[Mapping[str, float]]]
"""Assessor.assess."""


class Telling:
    """Passes on what a selector tells, with the components of the shots where they are measured.

    enrols: what a shot lacks to be enrolled, by its components; one that lacks anything loses its mark.
    """

    def __init__(
        self,
        progress: Progress,
        measure: Measure | None,
        on_revision: Callable[[ShotRevision], None],
        enrols: Fit | None = None,
    ) -> None:
        self._progress = progress
        self._measure = measure
        self._on_revision = on_revision
        self._enrols = enrols

    def tell(self, events: Events) -> Iterator[TrackResult]:
        """Tracks and windows that ended; then the listener hears of the shots that are told early."""
        yield from self._results([event for event in events if isinstance(event, TrackResult)])
        for event in events:
            if isinstance(event, ShotRevision):
                self._on_revision(event)
                self._progress.revisions += 1

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
        if self._measure is None:
            return results
        crops = [shot.crop for result in results for shot in result.shots if not shot.quality.components]
        measured = iter(self._measure(crops) if crops else ())
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
