"""Notices that a track goes on with somebody else's face, and gives that face a track of its own."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .types import F32, Crop, Detections, Quality, Tracking

_REFERENCES = 16  # of a track's chips, the newest that new ones are compared with, besides the mean of all
_NEAR_S = 0.2  # a face looks like itself so long ago; after longer it may just have turned
_JUMP_IOU = 0.3  # two looks whose boxes overlap less (one in a hundred, eight times a second) are no evidence


@dataclass(frozen=True, slots=True)
class SlipLimits:
    """least: cosine similarity of the scorer's embeddings below which two chips are taken for two people.
    score: least raw score of a chip whose embedding is believed."""

    least: float
    score: float


@dataclass(slots=True)
class _Face:
    """What a live track has shown. look: the newest that saw it. doubted: whether it was out of sight, or
    jumped, since a chip was last compared. compared_s: PTS of that chip. total: sum of the embeddings."""

    track: int
    look: int
    box: list[float]
    doubted: bool = False
    compared_s: float = -math.inf
    total: npt.NDArray[np.float64] | None = None
    recent: deque[F32] = field(default_factory=lambda: deque(maxlen=_REFERENCES))

    def likeness(self, embedding: F32) -> float:
        """To the mean of all chips, or to the most similar of the newest."""
        if self.total is None:
            return 1.0
        mean = float(self.total @ embedding) / max(float(np.linalg.norm(self.total)), 1e-12)
        return max(mean, float((np.stack(self.recent) @ embedding).max()))

    def learn(self, embedding: F32, pts_s: float) -> None:
        """One more chip of this face."""
        self.total = embedding.astype(np.float64) if self.total is None else self.total + embedding
        self.recent.append(embedding)
        self.doubted, self.compared_s = False, pts_s


class Watched:
    """The tracks of one source, each held to one face.

    Motion alone cannot tell: when a face passes before another and only one is detected, a tracker may go on
    with the wrong one. So scored chips are compared with the track's earlier ones. One unlike all of them
    (SlipLimits) is of another person if the track was out of sight before it or its box jumped, or if a chip
    was compared a moment ago, for a face does not change so quickly. Otherwise, with looks between that
    nobody scored, the face may have turned, and the chip is taken as it is. Chips of low quality look like
    nobody and are passed over; so a slip to a face that never shows well goes unnoticed.

    Names are the tracker's ids until the first slip and ascend; the tracker never hears of them. limits: None
    trusts the tracker. left: the tracks that slipped at the newest look; nobody has them any more.
    """

    def __init__(self, limits: SlipLimits | None) -> None:
        self._limits = limits
        self._faces: dict[int, _Face] = {}
        self._newest = -1
        self._look = 0
        self.left: tuple[int, ...] = ()

    def see(self, tracking: Tracking, detections: Detections) -> Tracking:
        """What the tracker says of the next look, with the names of the tracks."""
        self._look, self.left = self._look + 1, ()
        ids = tracking.ids.copy()
        order = np.argsort(tracking.ids, kind="stable")
        for index in order[tracking.ids[order] >= 0].tolist():
            ids[index] = self._see(int(tracking.ids[index]), detections.boxes[index].tolist())
        return Tracking(ids, self.end(tracking.ended))

    def name(self, known_as: int) -> int:
        """Of a track that the tracker knows by that id and that was seen."""
        return self._faces[known_as].track

    def end(self, known_as: Sequence[int]) -> tuple[int, ...]:
        """The names, ascending, of tracks that ended for the tracker and are forgotten now."""
        gone = (self._faces.pop(name, None) for name in known_as)
        return tuple(sorted(face.track for face in gone if face is not None))

    def finish(self) -> tuple[int, ...]:
        """The same of every live track."""
        return self.end(tuple(self._faces))

    def doubts(self, track: int, bound: float) -> bool:
        """Whether a chip of the track, of at most that score, is to be scored to see whose it is."""
        limits = self._limits
        return limits is not None and bound >= limits.score and self._is_doubted(track)

    def follow(self, crops: Sequence[Crop], qualities: Sequence[Quality]) -> Mapping[int, int]:
        """Tracks of the newest look that show another face than before → the tracks that this face has from
        now on. crops: no two of one track."""
        found: dict[int, int] = {}
        if self._limits is None:
            return found
        by_track = {face.track: face for face in self._faces.values()}
        for crop, quality in zip(crops, qualities, strict=True):
            face, embedding = by_track[crop.track], quality.embedding
            if embedding is None or not quality.score >= self._limits.score:
                continue
            telling = face.doubted or crop.pts_s - face.compared_s <= _NEAR_S
            if telling and face.likeness(embedding) < self._limits.least:
                found[crop.track] = face.track = self._newest = self._newest + 1
                face.total = None
                face.recent.clear()
            face.learn(embedding, crop.pts_s)
        self.left = tuple(found)
        return found

    def _see(self, known_as: int, box: list[float]) -> int:
        face = self._faces.get(known_as)
        if face is None:
            self._newest = max(known_as, self._newest + 1)
            self._faces[known_as] = _Face(self._newest, self._look, box)
            return self._newest
        missed = self._look - face.look > 1
        face.doubted |= missed or _overlap(face.box, box) < _JUMP_IOU
        face.look, face.box = self._look, box
        return face.track

    def _is_doubted(self, track: int) -> bool:
        return any(face.doubted and face.recent for face in self._faces.values() if face.track == track)


def _overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union: geometry.iou of a single pair, for which plain numbers are quicker."""
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (both - shared) if both > shared else 0.0
