"""The frame loop: video in, terminal events of tracks out."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from .align import align
from .cadence import Cadence, Counted, Prefetch
from .cuts import SceneCuts
from .observed import Observed
from .ports import BoxSink, CandidateSink, Detector, FrameSource, QualityScorer, Selector, Tracker
from .types import Crop, Detections, Frame, Rejection, TrackEnd, Tracking, TrackResult

Item = TypeVar("Item")
Gate = Callable[[Detections, int, int], Sequence[Rejection | None]]
"""The cheap tests before chips are cut: detections, frame width and height → why each is refused, or None."""


@dataclass(slots=True)
class Progress:
    """What a run has done so far; read it any time.

    frames: decoded. pts_s: of the newest. size: its width and height. detected: frames a detector saw. faces:
    detections. scored: crops. tracks: ended. stages_s: seconds spent stage by stage, by the detector's thread
    (`decode` waits for the decoder; cuts, detect) and the loop's (`wait` waits for the detector; the rest).
    """

    frames: int = 0
    pts_s: float = 0.0
    size: tuple[int, int] | None = None
    detected: int = 0
    faces: int = 0
    scored: int = 0
    tracks: int = 0
    shots: int = 0
    stages_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))


class Pipeline:
    """Detect, track, align, score, select: composable from any objects that have the ports' methods.

    detector, scorer: shared by all sources, one at a time. new_tracker: a fresh tracker for each source.
    new_selector: (source name, stills) → the selector of one source. gate: refuses detections before their
    chips are cut (None lets all pass). hz: detections a second of video, 0 = every frame. scene_cuts: end all
    tracks at a cut.
    margin: of the kept portrait around the box; None keeps chips only.
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
    ) -> None:
        self._detector = detector
        self._new_tracker = new_tracker
        self._scorer = scorer
        self._new_selector = new_selector
        self._gate = gate
        self._hz = hz
        self._scene_cuts = scene_cuts
        self._margin = margin

    def run(
        self,
        source: FrameSource,
        *,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
        candidates: CandidateSink | None = None,
        boxes: BoxSink | None = None,
    ) -> Iterator[TrackResult]:
        """Terminal events in the order in which tracks end, each track exactly once.

        The same source and parts give the same events whatever the thread timing. stop: asked at every
        detection; when true, all tracks end with SHUTDOWN. On an error the live tracks are still ended and
        yielded, then the error is raised; closing the generator early drops them. candidates: gets every
        scored crop as well, and every track's end before it is yielded. boxes: gets every frame's detections.
        """
        progress = progress if progress is not None else Progress()
        cadence = Cadence(hz=0.0 if source.stills else self._hz)
        tracker, selector = self._new_tracker(), self._new_selector(source.name, source.stills)
        if candidates is not None:
            selector = Observed(selector, candidates)
        why = TrackEnd.END_OF_SOURCE
        try:
            with (
                Prefetch(cadence.due(source), stop) as frames,
                Prefetch(self._looks(frames, source.stills, progress), stop, depth=1) as looks,
            ):
                for look in _awaited(looks, "wait", progress):
                    if stop():
                        break
                    frame = look.frame
                    progress.frames, progress.pts_s = look.frames, frame.pts_s
                    progress.size = frame.picture.width, frame.picture.height
                    if look.apart:
                        yield from self._end(tracker.finish(), selector, TrackEnd.SCENE_CUT, progress)
                    yield from self._step(look, tracker, selector, progress, boxes)
        except Exception:
            yield from self._end(tracker.finish(), selector, TrackEnd.SHUTDOWN, progress)
            raise
        if stop():
            why = TrackEnd.SHUTDOWN
        else:
            progress.frames = cadence.frames
        yield from self._end(tracker.finish(), selector, why, progress)

    def _looks(self, frames: Iterator[Counted], stills: bool, progress: Progress) -> Iterator[_Look]:
        """What the detector sees, in order: made in a thread of its own, one frame ahead of the rest."""
        cuts = SceneCuts() if self._scene_cuts and not stills else None
        for counted in _awaited(frames, "decode", progress):
            frame = counted.frame
            with _timed(progress, "cuts"):
                apart = stills or (cuts is not None and _is_cut(cuts, frame))
            with _timed(progress, "detect"):
                found = self._detector.detect(frame)
            yield _Look(frame, counted.frames, apart, found)

    def _step(
        self, look: _Look, tracker: Tracker, selector: Selector, progress: Progress, boxes: BoxSink | None
    ) -> Iterator[TrackResult]:
        frame, found = look.frame, look.found
        with _timed(progress, "track"):
            tracking = tracker.update(found, frame.pts_s)
        if boxes is not None:
            boxes.offer(frame.index, frame.pts_s, found, tracking)
        with _timed(progress, "align"):
            crops = self._crops(frame, found, tracking, selector)
        with _timed(progress, "score"):
            qualities = self._scorer.score(crops)
        with _timed(progress, "select"):
            for crop, quality in zip(crops, qualities, strict=True):
                selector.offer(crop, quality)
        progress.detected += 1
        progress.faces += len(found)
        progress.scored += len(crops)
        yield from self._end(tracking.ended, selector, TrackEnd.LOST, progress)

    def _crops(
        self, frame: Frame, found: Detections, tracking: Tracking, selector: Selector
    ) -> Sequence[Crop]:
        """The chips of the tracked faces that pass the gate."""
        crops = []
        size = frame.picture.width, frame.picture.height
        refusals = self._gate(found, *size) if self._gate else [None] * len(found)
        for index, (track, refused) in enumerate(zip(tracking.ids.tolist(), refusals, strict=True)):
            if track < 0:
                continue
            made = refused or align(
                frame, found, index, track, margin=self._margin or 0.0, portrait=self._margin is not None
            )
            if isinstance(made, Rejection):
                selector.reject(track, frame.pts_s, made)
            else:
                crops.append(made)
        return crops

    def _end(
        self, tracks: Sequence[int], selector: Selector, why: TrackEnd, progress: Progress
    ) -> Iterator[TrackResult]:
        for track in tracks:
            with _timed(progress, "select"):
                result = selector.end(track, why)
            if result is not None:
                progress.tracks += 1
                progress.shots += len(result.shots)
                yield result


@dataclass(frozen=True, slots=True)
class _Look:
    """A frame and what the detector saw in it. frames: of the source up to and with it. apart: from the look
    before, so that no track goes on."""

    frame: Frame
    frames: int
    apart: bool
    found: Detections


def _is_cut(cuts: SceneCuts, frame: Frame) -> bool:
    step = max(1, min(frame.picture.width, frame.picture.height) // 64)
    return cuts.is_cut(frame.picture.luma(step), frame.pts_s)


def _awaited(items: Iterator[Item], stage: str, progress: Progress) -> Iterator[Item]:
    while True:
        with _timed(progress, stage):
            item = next(items, None)
        if item is None:
            return
        yield item


@contextmanager
def _timed(progress: Progress, stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        progress.stages_s[stage] += time.perf_counter() - started
