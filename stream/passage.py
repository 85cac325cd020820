"""One source on its way through the pipeline: from its faces, cut out, to what the selector tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .cutting import Cut
from .ports import BoxSink, QualityScorer, ScoreBound, Selector
from .progress import Progress, timed
from .slips import Watched
from .telling import Events, Measure
from .types import Crop, Quality, Refusal, TrackEnd, Tracking


class Passage:
    """The steps of one source, a look at a time; remembers which tracks live.

    measure: None where nobody decides by components. boxes: gets every look's detections.
    """

    def __init__(
        self,
        watched: Watched,
        selector: Selector,
        scorer: QualityScorer,
        progress: Progress,
        *,
        bound: ScoreBound | None = None,
        measure: Measure | None = None,
        boxes: BoxSink | None = None,
    ) -> None:
        self._watched, self._selector, self._scorer, self._progress = watched, selector, scorer, progress
        self._bound, self._measure, self._boxes = bound, measure, boxes

    def follow(self, cut: Cut) -> Iterator[Events]:
        """One look, and all that is told with it."""
        look, progress = cut.look, self._progress
        progress.frames, progress.pts_s = look.frames, look.frame.pts_s
        if progress.began_s is None:
            progress.began_s = progress.pts_s
        progress.size = look.frame.picture.width, look.frame.picture.height
        yield from self._ended(self._watched.end(cut.cut_off), TrackEnd.SCENE_CUT)
        lost, slipped = self._step(cut)
        yield from self._advanced(look.frame.pts_s)
        yield from self._ended(slipped, TrackEnd.SLIPPED)
        yield from self._ended(lost, TrackEnd.LOST)

    def finish(self, why: TrackEnd) -> Iterator[Events]:
        """The ends of all tracks that live."""
        yield from self._ended(self._watched.finish(), why)

    def fail(self) -> Iterator[Events]:
        """The same after an error in the middle of a look."""
        yield from self._advanced(self._progress.pts_s)
        left = *self._watched.left, *self._watched.finish()
        yield from self._ended(left, TrackEnd.SHUTDOWN)

    def _step(self, cut: Cut) -> tuple[Sequence[int], Sequence[int]]:
        """One look, up to what the selector makes of it; the tracks that were lost and that slipped."""
        look, progress, selector = cut.look, self._progress, self._selector
        tracking = self._watched.see(cut.tracking, look.found)
        slipped: Mapping[int, int] = {}
        try:
            crops, qualities = self._scored(self._admitted(cut))
            slipped = self._watched.follow(crops, qualities)
        finally:
            # Even if the scorer fails, whoever takes boxes hears of a track before of its end.
            if self._boxes is not None:
                self._boxes.offer(look.frame, look.found, _renamed(tracking, slipped))
        crops = [_of(slipped.get(crop.track, crop.track), crop) for crop in crops]
        if self._measure is not None:
            qualities = _judged(self._measure, crops, qualities, selector)
        with timed(progress, "select"):
            for crop, quality in zip(crops, qualities, strict=True):
                selector.offer(crop, quality)
        progress.detected += 1
        progress.faces += len(look.found)
        progress.scored += len(crops)
        return tracking.ended, tuple(slipped)

    def _admitted(self, cut: Cut) -> list[Crop]:
        """The crops that may be scored; the selector hears why others are refused."""
        admitted = []
        with timed(self._progress, "select"):
            for known_as, face in cut.faces:
                track = self._watched.name(known_as)
                if isinstance(face, Refusal):
                    self._selector.reject(track, cut.look.frame.pts_s, face)
                elif self._selector.admit(crop := _of(track, face)) is None:
                    admitted.append(crop)
        return admitted

    def _scored(self, crops: Sequence[Crop]) -> tuple[Sequence[Crop], Sequence[Quality]]:
        """Those that are worth a score, with it."""
        bound, progress = self._bound, self._progress
        if bound is not None and crops:
            with timed(progress, "bound"):
                most = bound.bounds(crops)
                crops = [
                    crop
                    for crop, score in zip(crops, most, strict=True)
                    if self._watched.doubts(crop.track, score) or self._selector.wants(crop, score)
                ]
        with timed(progress, "score"):
            qualities = self._scorer.score(crops)
        if bound is not None:
            bound.learn(crops, qualities)
        return crops, qualities

    def _advanced(self, pts_s: float) -> Iterator[Events]:
        """What is told at pts_s: windows that are over, and shots told early."""
        with timed(self._progress, "select"):
            events = self._selector.advance(pts_s)
        if events:
            yield events

    def _ended(self, tracks: Sequence[int], why: TrackEnd) -> Iterator[Events]:
        """The terminal events of tracks."""
        with timed(self._progress, "select"):
            results = [self._selector.end(track, why) for track in tracks]
        events = [result for result in results if result is not None]
        if events:
            yield events


def _renamed(tracking: Tracking, names: Mapping[int, int]) -> Tracking:
    """With other ids for some of the tracks."""
    if not names:
        return tracking
    ids = [names.get(track, track) for track in tracking.ids.tolist()]
    return Tracking(np.array(ids, np.int64), tracking.ended)


def _of(track: int, crop: Crop) -> Crop:
    """The crop, as of that track."""
    return crop if crop.track == track else dataclasses.replace(crop, track=track)


def _judged(
    measure: Measure, crops: Sequence[Crop], qualities: Sequence[Quality], selector: Selector
) -> Sequence[Quality]:
    """The qualities, with components where the selector decides by them."""
    pairs = zip(crops, qualities, strict=True)
    asked = [i for i, (crop, quality) in enumerate(pairs) if selector.wants_components(crop, quality)]
    if not asked:
        return qualities
    judged = list(qualities)
    for i, components in zip(asked, measure([crops[i] for i in asked]), strict=True):
        judged[i] = dataclasses.replace(judged[i], components=components)
    return judged
