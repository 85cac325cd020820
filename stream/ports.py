"""The parts a pipeline is made of, as Protocols. Pass any object that has the methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from .types import (
    F32,
    U8,
    BestShot,
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

Order = Literal["rgb", "bgr"]


class Picture(Protocol):
    """The pixels of one decoded frame, converted only where asked for. It is as players show it: rotation is
    applied, and pixels are square."""

    @property
    def width(self) -> int:
        """Pixels across, ≥ 1."""

    @property
    def height(self) -> int:
        """Pixels down, ≥ 1."""

    def scaled(self, width: int, height: int, order: Order = "rgb") -> U8:
        """The whole picture as (height, width, 3) uint8, scaled straight from the decoder's planes."""

    def region(self, x0: int, y0: int, x1: int, y1: int) -> U8:
        """(y1−y0, x1−x0, 3) uint8 RGB at full resolution; what lies outside the picture is black."""

    def luma(self, step: int) -> U8:
        """Every step-th luma sample each way, (ceil(h/step), ceil(w/step)) uint8: cheap change detection."""


class FrameSource(Protocol):
    """Frames in presentation order. Iterate once; close releases the decoder."""

    @property
    def name(self) -> str:
        """Short and printable."""

    @property
    def stills(self) -> bool:
        """True when the frames are unrelated pictures: nothing is tracked from one to the next."""

    @property
    def duration_s(self) -> float | None:
        """As the container says; None when unknown."""

    @property
    def damage(self) -> str | None:
        """After iteration: what kept part of the source from being read, else None."""

    def __iter__(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...


class Detector(Protocol):
    """Finds faces with five landmarks."""

    @property
    def name(self) -> str: ...
    def detect(self, frame: Frame) -> Detections:
        """Faces in pixels of the frame, best first."""

    def close(self) -> None: ...


class Tracker(Protocol):
    """Gives detections of one face the same id, one instance a source; ids are never reused."""

    def update(self, detections: Detections, pts_s: float) -> Tracking:
        """Associate the next frame's detections; pts_s must increase."""

    def finish(self) -> tuple[int, ...]:
        """End every live track (scene cut, end of source); returns the ids that ended, ascending."""


class Engine(Protocol):
    """A compiled network. Outputs are valid until the next call."""

    @property
    def inputs(self) -> Mapping[str, tuple[tuple[int | None, ...], np.dtype[Any]]]:
        """name → (shape with None for dynamic, dtype)."""

    @property
    def outputs(self) -> Mapping[str, tuple[tuple[int | None, ...], np.dtype[Any]]]: ...
    def infer(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]: ...
    def close(self) -> None: ...


class QualityScorer(Protocol):
    """Scores crops in batches."""

    @property
    def name(self) -> str:
        """Names the model in every Quality it makes."""

    def score(self, crops: Sequence[Crop]) -> Sequence[Quality]:
        """One Quality a crop, in order; [] for []."""

    def close(self) -> None: ...


class Assessor(Protocol):
    """Measures quality components of crops, in batches."""

    def assess(self, crops: Sequence[Crop]) -> Sequence[Mapping[str, float]]:
        """The components of each crop by name, in order; 0–100, or degrees where a name ends in _deg."""

    def close(self) -> None: ...


class ScoreBound(Protocol):
    """Bounds the scores of one source's crops before they are computed, so that hopeless ones need not be."""

    def bounds(self, crops: Sequence[Crop]) -> Sequence[float]:
        """For each crop, no two of one track, the best raw score that is to be hoped for."""

    def learn(self, crops: Sequence[Crop], qualities: Sequence[Quality]) -> None:
        """What the scorer said of some of the crops that were bounded last."""


class Embedder(Protocol):
    """Turns crops into directions that are near for one person, in batches."""

    @property
    def name(self) -> str:
        """Names the model; similarities of different models are never compared."""

    def embed(self, crops: Sequence[Crop]) -> F32:
        """(n, d) float32, a row of unit length for each crop, in order; (0, 0) for []."""

    def close(self) -> None: ...


class Selector(Protocol):
    """Keeps the best shots of each track of one source. Of each detection one is called: reject, or admit;
    if that lets it through, wants where a bound is known, and if it does, offer."""

    def reject(self, track: int, pts_s: float, refusal: Refusal) -> None:
        """A detection of the track that was refused before its chip was looked at."""

    def admit(self, crop: Crop) -> Rejection | None:
        """Why a chip is refused (and counted so) before it is scored; None if it may be scored."""

    def wants(self, crop: Crop, bound: float) -> bool:
        """Whether to score a crop whose score is at most bound. False: it could change nothing; counted."""

    def wants_components(self, crop: Crop, quality: Quality) -> bool:
        """Whether a scored crop's components decide, so that they are to be measured before it is offered."""

    def offer(self, crop: Crop, quality: Quality) -> Rejection | None:
        """A scored candidate; why it is refused at once, None while it may still be kept."""

    def advance(self, pts_s: float) -> Sequence[TrackResult | ShotRevision]:
        """What is to be told after all faces of pts_s were given: windows that are over, early shots."""

    def end(self, track: int, why: TrackEnd) -> TrackResult | None:
        """The track's terminal event; None if the track was never offered or rejected anything."""


class CandidateSink(Protocol):
    """Takes every scored candidate of one source, kept or not."""

    def offer(self, crop: Crop, quality: Quality, refused: Rejection | None) -> None:
        """A scored candidate; refused: why the selector refused it at once, else None."""

    def settle(self, result: TrackResult) -> None:
        """A track, or a window of it, has ended: which of its candidates were kept."""


class BoxSink(Protocol):
    """Takes the detections of every frame that was looked at, with their tracks."""

    def offer(self, frame: Frame, found: Detections, tracking: Tracking) -> None:
        """A frame's faces, after they were tracked."""


class Sink(Protocol):
    """Takes terminal events as they come; what was written stays readable whatever happens later."""

    def write(self, result: TrackResult) -> None: ...
    def close(self) -> None: ...


class Clock(Protocol):
    """Wall time, passed in so that tests own it."""

    def now_s(self) -> float:
        """Unix seconds."""


class Closing:
    """Context manager on top of a close method."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release what is held; twice does no harm."""


__all__ = [
    "Assessor",
    "BestShot",
    "BoxSink",
    "CandidateSink",
    "Clock",
    "Closing",
    "Detector",
    "Embedder",
    "Engine",
    "FrameSource",
    "Order",
    "Picture",
    "QualityScorer",
    "ScoreBound",
    "Selector",
    "Sink",
    "Tracker",
]
