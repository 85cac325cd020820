"""The frame loop: video in, terminal events of tracks out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .cadence import Cadence, Counted, Prefetch
from .cuts import SceneCuts
from .cutting import Cutter, Cutting, Gate, Look
from .observed import Observed
from .passage import Passage
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
    Crop,
    Detections,
    Frame,
    ShotRevision,
    TrackEnd,
    TrackResult,
)

__all__ = ["Gate", "Pipeline", "Progress"]

Item = TypeVar("Item")
_AHEAD = 3  # frames, looks and cut faces that may wait for the next step
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
    without. ahead: decode, detect, cut faces out and choose in threads of their own, ahead of each other, so
    that a film is done soonest; the caller's thread measures the shots of tracks that ended. Without, all is
    done in the caller's thread and no frame waits, as live sources want it.
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
        self._hz = hz
        self._scene_cuts = scene_cuts
        self._assessor, self._assessing = assessor, threading.Lock()
        self._new_bound = new_bound
        self._ahead = ahead
        self._enrols = enrols
        self._slips = slips
        self._cutting = Cutting(gate, margin, blur_others)

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
        selector = self._new_selector(source.name, source.stills)
        cutter = Cutter(
            self._new_tracker(),
            self._cutting,
            progress,
            scenes=SceneCuts() if self._scene_cuts else None,
            stills=source.stills,
        )
        passage = Passage(
            Watched(self._slips),
            Observed(selector, candidates) if candidates is not None else selector,
            self._scorer,
            progress,
            bound=self._new_bound() if self._new_bound is not None else None,
            measure=self._measure(progress),
            boxes=boxes,
        )
        try:
            with (
                self._before(cadence.due(source), stop, _AHEAD) as frames,
                self._before(self._looks(frames, progress, attend), stop, _AHEAD) as looks,
                self._before(cutter.cuts(_awaited(looks, "wait", progress)), stop, _AHEAD) as cuts,
            ):
                for cut in cuts:
                    if stop():
                        break
                    yield from passage.follow(cut)
        except Exception:
            yield from passage.fail()
            raise
        why = TrackEnd.SHUTDOWN if stop() else TrackEnd.END_OF_SOURCE
        if why is TrackEnd.END_OF_SOURCE:
            progress.frames = cadence.frames
        yield from passage.finish(why)

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

    def _looks(self, frames: Iterator[Counted], progress: Progress, attend: Attend | None) -> Iterator[Look]:
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
            yield Look(counted.frame, counted.frames, found, ignored)


def _awaited(items: Iterator[Item], stage: str, progress: Progress) -> Iterator[Item]:
    while True:
        with timed(progress, stage):
            item = next(items, None)
        if item is None:
            return
        yield item
