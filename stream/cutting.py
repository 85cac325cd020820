"""From what the detector saw to whose face each is, cut out: what needs no network and no selector."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .align import align
from .bystanders import WithoutOthers
from .cuts import SceneCuts
from .ports import Tracker
from .progress import Progress, timed
from .types import F32, Crop, Detections, Frame, Refusal, Rejection, Tracking

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


@dataclass(frozen=True, slots=True)
class Cut:
    """A look with its faces. Tracks go by the tracker's own ids. cut_off: the tracks that a scene cut ended
    before it. faces: of every tracked detection in turn, its crop or why there is none."""

    look: Look
    cut_off: tuple[int, ...]
    tracking: Tracking
    faces: tuple[tuple[int, Crop | Refusal], ...]


class Cutter:
    """Follows the faces of one source and cuts them out, a look at a time.

    scenes: None where scenes are not told apart. stills: every frame is a scene of its own.
    """

    def __init__(
        self,
        tracker: Tracker,
        cutting: Cutting,
        progress: Progress,
        *,
        scenes: SceneCuts | None,
        stills: bool,
    ) -> None:
        self._tracker, self._cutting, self._progress = tracker, cutting, progress
        self._scenes, self._stills = scenes, stills

    def cuts(self, looks: Iterator[Look]) -> Iterator[Cut]:
        """Each look's, in order."""
        for look in looks:
            yield self._cut(look)

    def _cut(self, look: Look) -> Cut:
        frame, progress = look.frame, self._progress
        cut_off = self._tracker.finish() if self._stills or self._is_new_scene(frame) else ()
        with timed(progress, "track"):
            tracking = self._tracker.update(look.found, frame.pts_s)
        with timed(progress, "align"):
            faces = tuple(self._faces(look, tracking))
        return Cut(look, cut_off, tracking, faces)

    def _is_new_scene(self, frame: Frame) -> bool:
        """Whether no track goes on from the frame before to this one."""
        if self._scenes is None:
            return False
        step = max(1, min(frame.picture.width, frame.picture.height) // 64)
        with timed(self._progress, "cuts"):
            return self._scenes.is_cut(frame.picture.luma(step), frame.pts_s)

    def _faces(self, look: Look, tracking: Tracking) -> Iterator[tuple[int, Crop | Refusal]]:
        frame, found, cutting = look.frame, look.found, self._cutting
        size = frame.picture.width, frame.picture.height
        refusals = cutting.gate(found, *size) if cutting.gate else [None] * len(found)
        for index, (track, refused) in enumerate(zip(tracking.ids.tolist(), refusals, strict=True)):
            if track < 0:
                continue
            if refused is not None:
                yield track, refused
                continue
            shown = _alone(look, index) if cutting.blur_others else frame
            margin, portrait = cutting.margin or 0.0, cutting.margin is not None
            made = align(shown, found, index, track, margin=margin, portrait=portrait)
            yield track, Refusal(made) if isinstance(made, Rejection) else made


def _alone(look: Look, index: int) -> Frame:
    """The frame, for cutting that face out of it: all others are unrecognisable."""
    boxes = look.found.boxes
    others = np.concatenate([np.delete(boxes, index, 0), look.ignored])
    return dataclasses.replace(look.frame, picture=WithoutOthers(look.frame.picture, boxes[index], others))
