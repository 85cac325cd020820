"""Every tracked detection of a run in one file of lines; docs/results.md describes it.

A line is written as its frame is done, so that a film of any length costs no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from ..errors import SourceMissing
from ..ports import Closing
from ..types import Detections, Frame, Tracking
from .files import PART, LineFile
from .records import Record, decimals, read_placed

BOXES = "boxes.jsonl"
_SCHEMA = "facesieve.boxes/1"
_Point = tuple[float, float]


class BoxesRecord(Record):
    """The tracked faces of one frame; the four lists are of one length, ≥ 1, best detection first.

    size: width and height of the decoded frame, px. boxes: x0 y0 x1 y1 in its pixels, half-open. scores: the
    detector's, in [0, 1]. landmarks: as Detections has them.
    """

    format: Literal["facesieve.boxes/1"] = Field(alias="schema")
    frame_index: int = Field(ge=0)
    pts_s: float
    size: tuple[PositiveInt, PositiveInt]
    tracks: tuple[int, ...] = Field(min_length=1)
    boxes: tuple[tuple[float, float, float, float], ...]
    scores: tuple[float, ...]
    landmarks: tuple[tuple[_Point, _Point, _Point, _Point, _Point], ...]

    @model_validator(mode="after")
    def _of_one_length(self) -> BoxesRecord:
        counts = len(self.tracks), len(self.boxes), len(self.scores), len(self.landmarks)
        if len(set(counts)) != 1:
            raise ValueError(f"expected as many tracks, boxes, scores and landmarks, got {counts}")
        return self


class BoxFile(Closing):
    """Writes boxes.jsonl in the folder `out`, which is there; close gives the file its name.

    Raises OutputExists where another run writes there, OutputUnwritable and OutputFull with the path.
    """

    def __init__(self, out: Path) -> None:
        self._lines = LineFile(out / BOXES)

    def offer(self, frame: Frame, found: Detections, tracking: Tracking) -> None:
        """Add a frame's detections that belong to a track; a frame without any makes no line.

        A detection whose numbers are not finite has no place, and is left out.
        """
        finite = np.isfinite(found.boxes).all(1) & np.isfinite(found.landmarks).all((1, 2))
        rows = np.flatnonzero((tracking.ids >= 0) & finite & np.isfinite(found.scores)).tolist()
        if not rows:
            return
        fields = {
            "schema": _SCHEMA,
            "frame_index": frame.index,
            "pts_s": decimals(frame.pts_s, 6),
            "size": (frame.picture.width, frame.picture.height),
            "tracks": tuple(int(tracking.ids[row]) for row in rows),
            "boxes": tuple(tuple(decimals(v, 2) for v in found.boxes[row]) for row in rows),
            "scores": tuple(decimals(found.scores[row], 4) for row in rows),
            "landmarks": tuple(
                tuple((decimals(x, 2), decimals(y, 2)) for x, y in found.landmarks[row]) for row in rows
            ),
        }
        self._lines.append(BoxesRecord.model_validate(fields).line())

    def close(self) -> None:
        self._lines.close()


def read_boxes(folder: Path) -> Iterator[BoxesRecord]:
    """The tracked detections of a run with `--boxes`, frame by frame; of a run that was cut short too.

    Raises SourceMissing where there are none, SourceUnreadable naming file and line.
    """
    for path in (folder / BOXES, folder / (BOXES + PART)):
        if path.is_file():
            return (record for _, record in read_placed(BoxesRecord, path))
    raise SourceMissing(f"expected {BOXES} in {str(folder)!r}: `facesieve run --boxes` writes it")
