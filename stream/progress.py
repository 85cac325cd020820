"""What a run has done so far, and how long it took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """What a run has done so far; read it any time.

    frames: decoded. began_s: PTS of the first that was looked at. pts_s: of the newest. size: its width and
    height. detected: frames a detector saw. faces: detections. scored: crops. assessed: crops whose
    components were measured. tracks: ended. revisions: shots told early. stages_s: seconds spent stage by
    stage; where a film is read ahead, by the detector's thread (`decode` waits for the decoder; detect),
    the one that cuts faces out (`wait` waits for the detector; cuts, track, align), the one that chooses
    (bound, score, select) and the caller's (assess).
    on_stage: told each time a stage ends: which, and the seconds it took.
    """

    frames: int = 0
    began_s: float | None = None
    pts_s: float = 0.0
    size: tuple[int, int] | None = None
    detected: int = 0
    faces: int = 0
    scored: int = 0
    assessed: int = 0
    tracks: int = 0
    shots: int = 0
    revisions: int = 0
    stages_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    on_stage: Callable[[str, float], None] | None = None

    @property
    def played_s(self) -> float:
        """Of the source's own time, which need not begin at 0."""
        return 0.0 if self.began_s is None else self.pts_s - self.began_s


@contextmanager
def timed(progress: Progress, stage: str) -> Iterator[None]:
    """Adds the seconds that the block takes to a stage."""
    started = time.perf_counter()
    try:
        yield
    finally:
        took_s = time.perf_counter() - started
        progress.stages_s[stage] += took_s
        if progress.on_stage is not None:
            progress.on_stage(stage, took_s)
