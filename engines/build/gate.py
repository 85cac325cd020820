"""Rank fidelity: does a compiled network choose the frames that its fp32 original chooses?

A quality network is used to order the frames of a track, so that is what is measured, on real chips: the
rank correlation of the scores, and the share of tracks whose best frame stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ...stream.errors import ConfigError, GateFailed
from ...stream.geometry import ARCFACE_POINTS
from ...stream.ports import Engine
from ...stream.types import CHIP_PX, F32, U8, Crop, Quality
from ..models.students import OnnxScorer
from .ranks import spearman

Precision = Literal["fp16", "int8", "bf16"]
MARGIN: Final = 0.05
"""Of the standard deviation of the fp32 scores: frames nearer to each other than that are equally good."""
LEAST_TRACKS: Final = 10


@dataclass(frozen=True, slots=True)
class Chips:
    """Real faces to measure on.

    chips: (n, 112, 112, 3) uint8 RGB. tracks: (n,) name of each chip's track (video). eye_distances_px: (n,)
    float32, in pixels of the frame.
    """

    chips: U8
    tracks: npt.NDArray[np.str_]
    eye_distances_px: F32

    def __post_init__(self) -> None:
        n = len(self.chips)
        sound = self.chips.shape == (n, CHIP_PX, CHIP_PX, 3) and self.chips.dtype == np.uint8
        if not sound or self.tracks.shape != (n,) or self.eye_distances_px.shape != (n,):
            raise ConfigError(
                f"expected chips (n, 112, 112, 3) uint8 with a track and an eye distance each, got "
                f"{self.chips.shape} {self.chips.dtype}, {self.tracks.shape}, {self.eye_distances_px.shape}"
            )

    def __len__(self) -> int:
        return len(self.chips)

    def take(self, rows: npt.NDArray[Any]) -> Chips:
        """Those rows (numbers or a mask), in their order."""
        return Chips(self.chips[rows], self.tracks[rows], self.eye_distances_px[rows])

    def crops(self) -> list[Crop]:
        """As the pipeline hands them to a scorer."""
        return [
            Crop.of_chip(chip, ARCFACE_POINTS, index=i, eye_distance_px=float(eyes))
            for i, (chip, eyes) in enumerate(zip(self.chips, self.eye_distances_px, strict=True))
        ]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How near a network's choices are to the original's.

    chips, tracks: measured on; tracks of one frame are left out of tracks. spearman: of the scores, NaN where
    one side does not vary. largest_change: of a score, in units of the original's scores; score_deviation:
    their standard deviation. same_best, kept_best: shares of tracks whose best frame is the same; or the same
    or replaced by one that the original scores at most `margin` deviations lower. cosine_mean, cosine_least:
    of the two embeddings of a chip; None for a network without them.
    """

    chips: int
    tracks: int
    spearman: float
    largest_change: float
    score_deviation: float
    same_best: float
    kept_best: float
    margin: float
    cosine_mean: float | None
    cosine_least: float | None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a Fidelity must reach at least."""

    spearman: float
    kept_best: float


THRESHOLDS: Final[dict[Precision, Thresholds]] = {
    "fp16": Thresholds(0.999, 0.99),
    "bf16": Thresholds(0.999, 0.99),
    "int8": Thresholds(0.98, 0.97),
}


def qualities(engine: Engine, chips: Chips, *, batch: int = 16) -> list[Quality]:
    """What the network says of each chip; the engine stays open.

    Raises ConfigError for fewer than ten tracks of two frames, ModelInvalid where it gives no numbers.
    """
    _require_tracks(chips)
    return OnnxScorer(engine, name="the network", max_batch=batch).score(chips.crops())


def compare(
    original: Sequence[Quality], compiled: Sequence[Quality], chips: Chips, *, margin: float = MARGIN
) -> Fidelity:
    """Of what two networks say of the same chips."""
    cosines = _cosines(original, compiled)
    return fidelity(_scores(original), _scores(compiled), chips.tracks, cosines, margin=margin)


def fidelity(
    original: npt.NDArray[np.float64],
    compiled: npt.NDArray[np.float64],
    tracks: npt.NDArray[np.str_],
    cosines: npt.NDArray[np.float64] | None = None,
    *,
    margin: float = MARGIN,
) -> Fidelity:
    """Of two scores (n,) of the same chips; cosines (n,) between the embeddings, if there are any."""
    deviation = float(original.std())
    same = kept = counted = 0
    for track in np.unique(tracks):
        rows = np.flatnonzero(tracks == track)
        if len(rows) < 2:
            continue
        best, chosen = rows[np.argmax(original[rows])], rows[np.argmax(compiled[rows])]
        counted += 1
        same += bool(best == chosen)
        kept += bool(original[best] - original[chosen] <= margin * deviation)
    return Fidelity(
        chips=len(original),
        tracks=counted,
        spearman=spearman(original, compiled),
        largest_change=float(np.abs(original - compiled).max()),
        score_deviation=deviation,
        same_best=same / max(counted, 1),
        kept_best=kept / max(counted, 1),
        margin=margin,
        cosine_mean=None if cosines is None else float(cosines.mean()),
        cosine_least=None if cosines is None else float(cosines.min()),
    )


def require(found: Fidelity, precision: Precision, label: str) -> None:
    """Raise GateFailed, with the figures, unless the fidelity reaches the precision's thresholds."""
    wanted = THRESHOLDS[precision]
    if not (found.spearman >= wanted.spearman and found.kept_best >= wanted.kept_best):
        raise GateFailed(
            f"{label}: does not choose as its original: {shortfall(found, wanted)}; not installed"
        )


def shortfall(found: Fidelity, wanted: Thresholds) -> str:
    """The figures beside the thresholds, for a message."""
    cosine = "" if found.cosine_mean is None else f", embedding cosine {found.cosine_mean:.4f}"
    return (
        f"Spearman {found.spearman:.5f} (expected ≥ {wanted.spearman}), best frame kept in "
        f"{found.kept_best:.2%} of {found.tracks} tracks (expected ≥ {wanted.kept_best:.0%}; the very same "
        f"frame in {found.same_best:.2%}), largest change of a score {found.largest_change:.3g} where scores "
        f"deviate by {found.score_deviation:.3g}{cosine}"
    )


def as_record(found: Fidelity, precision: Precision) -> dict[str, Any]:
    """For the report beside the model."""
    return {"thresholds": asdict(THRESHOLDS[precision]), **asdict(found)}


def _require_tracks(chips: Chips) -> None:
    _, frames = np.unique(chips.tracks, return_counts=True)
    if (several := int((frames > 1).sum())) < LEAST_TRACKS:
        raise ConfigError(
            f"expected chips of {LEAST_TRACKS} tracks (column video of faces.csv) of two frames or more to "
            f"measure on, got {len(chips)} chips, {several} such tracks"
        )


def _scores(qualities: Sequence[Quality]) -> npt.NDArray[np.float64]:
    return np.array([quality.score for quality in qualities])


def _cosines(before: Iterable[Quality], after: Iterable[Quality]) -> npt.NDArray[np.float64] | None:
    pairs = [
        float(a.embedding.astype(np.float64) @ b.embedding)
        for a, b in zip(before, after, strict=True)
        if a.embedding is not None and b.embedding is not None
    ]
    return np.array(pairs) if pairs else None
