"""One source on its way through the pipeline: from what the detector saw to what the selector tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .align import align
from .bystanders import WithoutOthers
from .cuts import SceneCuts
from .ports import BoxSink, QualityScorer, ScoreBound, Selector
from .progress import Progress, timed
from .slips import Watched
from .telling import Events, Measure
from .types import F32, Crop, Detections, Frame, Quality, Refusal, Rejection, TrackEnd, Tracking

Gate = Callable[[Detections, int, int], Sequence[Refusal | None]]
"""The cheap tests before chips are cut: detections, frame width and height → why each is refused, or None."""


@dataclass(frozen=True, slots=True)
class Look:
    """A frame and what the detector saw in it. frames: of the source up to and with it. ignored: (m, 4) boxes
    of faces that are not to be processed."""

    frame: Frame
    frames: int
    found: Detections
    ignored: F32


@dataclass(frozen=True, slots=True)
class Cutting:
    """How faces are cut out. margin: of the portrait around the box; None for chips only. blur_others: all
    other faces are made unrecognisable."""

    gate: Gate | None
    margin: float | None
    blur_others: bool


class Passage:
    """The steps of one source, a look at a time; remembers which tracks live.

    measure: None where nobody decides by components. cuts: None where scenes are not told apart. boxes: gets
    every look's detections.
    """

    def __init__(
        self,
        tracker: Watched,
        selector: Selector,
        scorer: QualityScorer,
        cutting: Cutting,
        progress: Progress,
        *,
        bound: ScoreBound | None = None,
        measure: Measure | None = None,
        cuts: SceneCuts | None = None,
        boxes: BoxSink | None = None,
    ) -> None:
        self._tracker, self._selector, self._scorer = tracker, selector, scorer
        self._cutting, self._progress = cutting, progress
        self._bound, self._measure, self._cuts, self._boxes = bound, measure, cuts, boxes

    def follow(self, look: Look, stills: bool) -> Iterator[Events]:
        """One look, and all that is told with it. stills: every frame is a scene of its own."""
        frame, progress = look.frame, self._progress
        progress.frames, progress.pts_s = look.frames, frame.pts_s
        progress.size = frame.picture.width, frame.picture.height
        if stills or self._is_cut(frame):
            yield from self._ended(self._tracker.finish(), TrackEnd.SCENE_CUT)
        lost, slipped = self._step(look)
        yield from self._advanced(frame.pts_s)
        yield from self._ended(slipped, TrackEnd.SLIPPED)
        yield from self._ended(lost, TrackEnd.LOST)

    def finish(self, why: TrackEnd) -> Iterator[Events]:
        """The ends of all tracks that live."""
        yield from self._ended(self._tracker.finish(), why)

    def fail(self) -> Iterator[Events]:
        """The same after an error in the middle of a look."""
        yield from self._advanced(self._progress.pts_s)
        left = *self._tracker.left, *self._tracker.finish()
        yield from self._ended(left, TrackEnd.SHUTDOWN)

    def _is_cut(self, frame: Frame) -> bool:
        """Whether no track goes on from the frame before to this one."""
        if self._cuts is None:
            return False
        step = max(1, min(frame.picture.width, frame.picture.height) // 64)
        with timed(self._progress, "cuts"):
            return self._cuts.is_cut(frame.picture.luma(step), frame.pts_s)

    def _step(self, look: Look) -> tuple[Sequence[int], Sequence[int]]:
        """One frame, up to what the selector makes of it; the tracks that were lost and that slipped."""
        progress, selector = self._progress, self._selector
        with timed(progress, "track"):
            tracking = self._tracker.update(look.found, look.frame.pts_s)
        slipped: Mapping[int, int] = {}
        try:
            crops, qualities = self._scored(look, tracking)
            slipped = self._tracker.follow(crops, qualities)
        finally:
            # Even if the scorer fails, whoever takes boxes hears of a track before of its end.
            if self._boxes is not None:
                self._boxes.offer(look.frame, look.found, _renamed(tracking, slipped))
        crops = [dataclasses.replace(c, track=slipped[c.track]) if c.track in slipped else c for c in crops]
        if self._measure is not None:
            qualities = _judged(self._measure, crops, qualities, selector)
        with timed(progress, "select"):
            for crop, quality in zip(crops, qualities, strict=True):
                selector.offer(crop, quality)
        progress.detected += 1
        progress.faces += len(look.found)
        progress.scored += len(crops)
        return tracking.ended, tuple(slipped)

    def _scored(self, look: Look, tracking: Tracking) -> tuple[Sequence[Crop], Sequence[Quality]]:
        """The frame's crops that are worth a score, with it."""
        bound, progress = self._bound, self._progress
        with timed(progress, "align"):
            crops = self._crops(look, tracking)
        if bound is not None and crops:
            with timed(progress, "bound"):
                most = bound.bounds(crops)
                crops = [
                    crop
                    for crop, score in zip(crops, most, strict=True)
                    if self._tracker.doubts(crop.track, score) or self._selector.wants(crop, score)
                ]
        with timed(progress, "score"):
            qualities = self._scorer.score(crops)
        if bound is not None:
            bound.learn(crops, qualities)
        return crops, qualities

    def _crops(self, look: Look, tracking: Tracking) -> Sequence[Crop]:
        """The chips of the tracked faces that pass the gate."""
        crops = []
        frame, found, cutting = look.frame, look.found, self._cutting
        size = frame.picture.width, frame.picture.height
        refusals = cutting.gate(found, *size) if cutting.gate else [None] * len(found)
        for index, (track, refused) in enumerate(zip(tracking.ids.tolist(), refusals, strict=True)):
            if track < 0:
                continue
            if refused is not None:
                self._selector.reject(track, frame.pts_s, refused)
                continue
            shown = _alone(look, index) if cutting.blur_others else frame
            margin, portrait = cutting.margin or 0.0, cutting.margin is not None
            made = align(shown, found, index, track, margin=margin, portrait=portrait)
            if isinstance(made, Rejection):
                self._selector.reject(track, frame.pts_s, Refusal(made))
            elif self._selector.admit(made) is None:
                crops.append(made)
        return crops

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


def _alone(look: Look, index: int) -> Frame:
    """The frame, for cutting that face out of it: all others are unrecognisable."""
    boxes = look.found.boxes
    others = np.concatenate([np.delete(boxes, index, 0), look.ignored])
    return dataclasses.replace(look.frame, picture=WithoutOthers(look.frame.picture, boxes[index], others))


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
