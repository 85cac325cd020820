"""The frame loop: video in, terminal events of tracks out."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .align import align
from .bystanders import WithoutOthers
from .cadence import Cadence, Counted, Prefetch
from .cuts import SceneCuts
from .observed import Observed
from .policy import Fit
from .ports import (
    Assessor,
    BoxSink,
    CandidateSink,
    Detector,
    FrameSource,
    QualityScorer,
    ScoreBound,
    Selector,
    Tracker,
)
from .progress import Progress, timed
from .slips import SlipLimits, Watched
from .telling import Events, Measure, Telling
from .types import (
    F32,
    Crop,
    Detections,
    Frame,
    Quality,
    Refusal,
    Rejection,
    ShotRevision,
    TrackEnd,
    Tracking,
    TrackResult,
)

__all__ = ["Gate", "Pipeline", "Progress"]

Item = TypeVar("Item")
Gate = Callable[[Detections, int, int], Sequence[Refusal | None]]
"""The cheap tests before chips are cut: detections, frame width and height → why each is refused, or None."""
_ENDS = 4  # moments at which tracks ended that may wait for their shots to be measured and written
Attend = Callable[[Frame, Detections], npt.NDArray[np.bool_]]
"""Which of a frame's detections, (n,), are processed; the others are as if nobody had seen them."""


class Pipeline:
    """Detect, track, align, score, select: composable from any objects that have the ports' methods.

    detector, scorer: shared by all sources, one at a time. new_tracker: a fresh tracker for each source.
    new_selector: (source name, stills) → the selector of one source. gate: refuses detections before their
    chips are cut (None lets all pass). hz: detections a second of video, 0 = every frame. scene_cuts: end all
    tracks at a cut.
    margin: of the kept portrait around the box; None keeps chips only.
    assessor: measures the components of the shots when their track ends, and before that only of candidates
    that the selector decides about by their components. new_bound: bounds the scores of a source's crops, so
    that those that could change no shot are not scored; with bounds that hold, the shots are the same as
    without. ahead: decode, detect and choose in threads of their own, ahead of each other, so that a film is
    done soonest; the caller's thread measures the shots of tracks that ended. Without, all is done in the
    caller's thread and no frame waits, as live sources want it.
    enrols: see Telling. slips: by what a track that goes on with another face is noticed and ended; None
    trusts the tracker.
    blur_others: the other faces that the detector saw are made unrecognisable in every crop.
    """

    def __init__(
        self,
        *,
        detector: Detector,
        new_tracker: Callable[[], Tracker],
        scorer: QualityScorer,
        new_selector: Callable[[str, bool], Selector],
        gate: Gate | None = None,
        hz: float = 8.0,
        scene_cuts: bool = True,
        margin: float | None = 0.4,
        assessor: Assessor | None = None,
        new_bound: Callable[[], ScoreBound] | None = None,
        ahead: bool = True,
        enrols: Fit | None = None,
        slips: SlipLimits | None = None,
        blur_others: bool = False,
    ) -> None:
        self._detector = detector
        self._new_tracker = new_tracker
        self._scorer = scorer
        self._new_selector = new_selector
        self._gate = gate
        self._hz = hz
        self._scene_cuts = scene_cuts
        self._margin = margin
        self._assessor, self._assessing = assessor, threading.Lock()
        self._new_bound = new_bound
        self._ahead = ahead
        self._enrols = enrols
        self._slips = slips
        self._blur_others = blur_others

    def run(
        self,
        source: FrameSource,
        *,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
        candidates: CandidateSink | None = None,
        boxes: BoxSink | None = None,
        on_revision: Callable[[ShotRevision], None] = lambda revision: None,
        attend: Attend | None = None,
    ) -> Iterator[TrackResult]:
        """Terminal events in the order in which tracks end, each track exactly once (windows come before).

        on_revision: gets the shots that the selector tells early, each before its track's terminal event. The
        same source and parts give the same events whatever the thread timing. stop: asked at every
        detection; when true, all tracks end with SHUTDOWN. On an error the live tracks are still ended and
        yielded, then the error is raised; closing the generator early drops them. candidates: gets every
        scored crop as well, and every track's end before it is yielded. boxes: gets every frame's detections.
        attend: which detections count at all; None for all.
        """
        progress = progress if progress is not None else Progress()
        failed = threading.Event()
        events = self._events(source, progress, lambda: stop() or failed.is_set(), candidates, boxes, attend)
        tell = Telling(progress, self._measure(progress), on_revision, self._enrols)
        with self._before(events, lambda: False, _ENDS) as told:
            try:
                for some in told:
                    yield from tell.tell(some)
            except Exception:
                # An assessor or on_revision may be what failed; the terminal events are worth more.
                failed.set()
                tell = Telling(progress, None, lambda revision: None)
                for some in told:
                    yield from tell.tell(some)
                raise

    def _events(
        self,
        source: FrameSource,
        progress: Progress,
        stop: Callable[[], bool],
        candidates: CandidateSink | None,
        boxes: BoxSink | None,
        attend: Attend | None,
    ) -> Iterator[Events]:
        """What the selector tells, in order; on an error also what the live tracks give."""
        cadence = Cadence(hz=0.0 if source.stills else self._hz)
        tracker = Watched(self._new_tracker(), self._slips)
        selector = self._new_selector(source.name, source.stills)
        if candidates is not None:
            selector = Observed(selector, candidates)
        bound = self._new_bound() if self._new_bound is not None else None
        cuts = SceneCuts()
        why = TrackEnd.END_OF_SOURCE
        try:
            with (
                self._before(cadence.due(source), stop, 3) as frames,
                self._before(self._looks(frames, progress, attend), stop, 3) as looks,
            ):
                for look in _awaited(looks, "wait", progress):
                    if stop():
                        break
                    frame = look.frame
                    progress.frames, progress.pts_s = look.frames, frame.pts_s
                    progress.size = frame.picture.width, frame.picture.height
                    if source.stills or self._is_cut(cuts, frame, progress):
                        yield from _ended(selector, tracker.finish(), TrackEnd.SCENE_CUT, progress)
                    ended, slipped = self._step(look, tracker, selector, bound, progress, boxes)
                    yield from _advanced(selector, frame.pts_s, progress)
                    yield from _ended(selector, slipped, TrackEnd.SLIPPED, progress)
                    yield from _ended(selector, ended, TrackEnd.LOST, progress)
        except Exception:
            yield from _advanced(selector, progress.pts_s, progress)
            left = *tracker.left, *tracker.finish()
            yield from _ended(selector, left, TrackEnd.SHUTDOWN, progress)
            raise
        if stop():
            why = TrackEnd.SHUTDOWN
        else:
            progress.frames = cadence.frames
        yield from _ended(selector, tracker.finish(), why, progress)

    def _measure(self, progress: Progress) -> Measure | None:
        """The assessor, one call at a time: the loop asks it about candidates, its caller about shots."""
        assessor, turn = self._assessor, self._assessing
        if assessor is None:
            return None

        def measure(crops: Sequence[Crop]) -> Sequence[Mapping[str, float]]:
            with turn, timed(progress, "assess"):
                measured = assessor.assess(crops)
                progress.assessed += len(crops)
            return measured

        return measure

    def _before(
        self, items: Iterator[Item], stop: Callable[[], bool], depth: int
    ) -> AbstractContextManager[Iterator[Item]]:
        return Prefetch(items, stop, depth) if self._ahead else nullcontext(items)

    def _looks(self, frames: Iterator[Counted], progress: Progress, attend: Attend | None) -> Iterator[_Look]:
        """What the detector sees, in order: made in a thread of its own, a few frames ahead of the rest.

        That thread does nothing else: each small step in Python would have it wait for the other's.
        """
        for counted in _awaited(frames, "decode", progress):
            with timed(progress, "detect"):
                found = self._detector.detect(counted.frame)
            ignored = found.boxes[:0]
            if attend is not None:
                taken = attend(counted.frame, found)
                ignored = found.boxes[~taken]
                found = Detections(found.boxes[taken], found.scores[taken], found.landmarks[taken])
            yield _Look(counted.frame, counted.frames, found, ignored)

    def _is_cut(self, cuts: SceneCuts, frame: Frame, progress: Progress) -> bool:
        """Whether no track goes on from the frame before to this one."""
        if not self._scene_cuts:
            return False
        step = max(1, min(frame.picture.width, frame.picture.height) // 64)
        with timed(progress, "cuts"):
            return cuts.is_cut(frame.picture.luma(step), frame.pts_s)

    def _step(
        self,
        look: _Look,
        tracker: Watched,
        selector: Selector,
        bound: ScoreBound | None,
        progress: Progress,
        boxes: BoxSink | None,
    ) -> tuple[Sequence[int], Sequence[int]]:
        """One frame, up to what the selector makes of it; the tracks that were lost and that slipped."""
        with timed(progress, "track"):
            tracking = tracker.update(look.found, look.frame.pts_s)
        slipped: Mapping[int, int] = {}
        try:
            crops, qualities = self._scored(look, tracking, tracker, selector, bound, progress)
            slipped = tracker.follow(crops, qualities)
        finally:
            # Even if the scorer fails, whoever takes boxes hears of a track before of its end.
            if boxes is not None:
                boxes.offer(look.frame, look.found, _renamed(tracking, slipped))
        crops = [dataclasses.replace(c, track=slipped[c.track]) if c.track in slipped else c for c in crops]
        if (measure := self._measure(progress)) is not None:
            qualities = _judged(measure, crops, qualities, selector)
        with timed(progress, "select"):
            for crop, quality in zip(crops, qualities, strict=True):
                selector.offer(crop, quality)
        progress.detected += 1
        progress.faces += len(look.found)
        progress.scored += len(crops)
        return tracking.ended, tuple(slipped)

    def _scored(
        self,
        look: _Look,
        tracking: Tracking,
        tracker: Watched,
        selector: Selector,
        bound: ScoreBound | None,
        progress: Progress,
    ) -> tuple[Sequence[Crop], Sequence[Quality]]:
        """The frame's crops that are worth a score, with it."""
        with timed(progress, "align"):
            crops = self._crops(look, tracking, selector)
        if bound is not None and crops:
            with timed(progress, "bound"):
                most = bound.bounds(crops)
                crops = [
                    crop
                    for crop, score in zip(crops, most, strict=True)
                    if tracker.doubts(crop.track, score) or selector.wants(crop, score)
                ]
        with timed(progress, "score"):
            qualities = self._scorer.score(crops)
        if bound is not None:
            bound.learn(crops, qualities)
        return crops, qualities

    def _crops(self, look: _Look, tracking: Tracking, selector: Selector) -> Sequence[Crop]:
        """The chips of the tracked faces that pass the gate."""
        crops = []
        frame, found = look.frame, look.found
        size = frame.picture.width, frame.picture.height
        refusals = self._gate(found, *size) if self._gate else [None] * len(found)
        for index, (track, refused) in enumerate(zip(tracking.ids.tolist(), refusals, strict=True)):
            if track < 0:
                continue
            if refused is not None:
                selector.reject(track, frame.pts_s, refused)
                continue
            shown = _alone(look, index) if self._blur_others else frame
            made = align(
                shown, found, index, track, margin=self._margin or 0.0, portrait=self._margin is not None
            )
            if isinstance(made, Rejection):
                selector.reject(track, frame.pts_s, Refusal(made))
            elif selector.admit(made) is None:
                crops.append(made)
        return crops


def _renamed(tracking: Tracking, names: Mapping[int, int]) -> Tracking:
    """With other ids for some of the tracks."""
    if not names:
        return tracking
    ids = [names.get(track, track) for track in tracking.ids.tolist()]
    return Tracking(np.array(ids, np.int64), tracking.ended)


def _alone(look: _Look, index: int) -> Frame:
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


def _advanced(selector: Selector, pts_s: float, progress: Progress) -> Iterator[Events]:
    """What is told at pts_s: windows that are over, and shots told early."""
    with timed(progress, "select"):
        events = selector.advance(pts_s)
    if events:
        yield events


def _ended(selector: Selector, tracks: Sequence[int], why: TrackEnd, progress: Progress) -> Iterator[Events]:
    """The terminal events of tracks."""
    with timed(progress, "select"):
        results = [selector.end(track, why) for track in tracks]
    events = [result for result in results if result is not None]
    if events:
        yield events


@dataclass(frozen=True, slots=True)
class _Look:
    """A frame and what the detector saw in it. frames: of the source up to and with it. ignored: (m, 4) boxes
    of faces that are not to be processed."""

    frame: Frame
    frames: int
    found: Detections
    ignored: F32


def _awaited(items: Iterator[Item], stage: str, progress: Progress) -> Iterator[Item]:
    while True:
        with timed(progress, stage):
            item = next(items, None)
        if item is None:
            return
        yield item
