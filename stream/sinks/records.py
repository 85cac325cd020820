"""The lines of shots.jsonl and tracks.jsonl (docs/results.md describes every field)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import SourceUnreadable
from ..types import BestShot, Rejection, TrackResult, TrackSummary

Pixels = tuple[float, float]
_SURROGATES = re.compile("[\ud800-\udfff]")


class Record(BaseModel):
    """Fields that a later facesieve of the same schema version adds are passed over when reading."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="ignore")

    def line(self) -> str:
        """One line of ASCII JSON; fields that were not set are left out."""
        fields = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return json.dumps(fields, separators=(",", ":"), allow_nan=False)


_R = TypeVar("_R", bound=Record)


class ShotRecord(Record):
    """A kept shot. Paths are relative to the folder of results and use /.

    window: which part of a long track it is of. enrol: good enough to enrol, not only to recognise. unfit:
    the requirements that it misses, kept for want of a fit one.
    """

    format: Literal["facesieve.shot/2"] = Field(alias="schema")
    source: str
    track: int = Field(ge=0)
    window: int = Field(0, ge=0)
    identity: int | None
    rank: int = Field(ge=1)
    reason: str
    enrol: bool = False
    unfit: tuple[str, ...] = ()
    frame_index: int
    pts_s: float
    wall_s: float | None = None
    box: tuple[float, float, float, float]
    landmarks: tuple[Pixels, Pixels, Pixels, Pixels, Pixels]
    detection_score: float
    eye_distance_px: float
    truncated: float
    score: float
    calibrated: float | None
    model: str
    factors: dict[str, float]
    components: dict[str, float]
    embedding: tuple[float, ...] | None = None
    chip: str
    portrait: str | None
    portrait_origin: tuple[int, int] | None
    portrait_size: tuple[int, int] | None


class Timeline(BaseModel):
    """Scored candidates in time order, one entry each in three lists, or four.

    score: None where the model gave none that is finite. rejected: None where the candidate was kept.
    calibrated: empty where the model has no calibration.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    pts_s: tuple[float, ...]
    score: tuple[float | None, ...]
    rejected: tuple[str | None, ...]
    calibrated: tuple[float | None, ...] = ()


class TrackRecord(Record):
    """A track's whole life, or a window of a long one's; kept + sum(rejected) = frames_seen.

    failed: of faces refused for their pose or by a requirement profile, how many failed each requirement; one
    may fail several.
    """

    format: Literal["facesieve.track/1"] = Field(alias="schema")
    source: str
    track: int = Field(ge=0)
    window: int = Field(0, ge=0)
    identity: int | None
    first_pts_s: float
    last_pts_s: float
    frames_seen: int
    frames_scored: int
    kept: int
    rejected: dict[str, int]
    failed: dict[str, int] = {}
    end: str
    timeline: Timeline


def decimals(value: float, places: int) -> float:
    """Rounded to places behind the point; never −0.0, which would tell apart what is equal."""
    return round(float(value), places) + 0.0


def significant(value: float) -> float:
    """Six significant digits: what a float32 score holds, less the noise of its last bit."""
    return float(f"{float(value):.6g}") + 0.0


def printable(text: str) -> str:
    """Text that can be encoded: halves of surrogate pairs (undecodable file names) become U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def shot_files(track: int, rank: int, window: int = 0) -> tuple[str, str]:
    """Where a shot's portrait and chip lie in the folder of results."""
    folder = f"shots/{track}-w{window}" if window else f"shots/{track}"
    return f"{folder}/{rank}.jpg", f"{folder}/{rank}_chip.png"


def shot_record(
    shot: BestShot,
    identity: int | None,
    window: int = 0,
    *,
    files: tuple[str, str] | None = None,
    embedding: bool = False,
) -> ShotRecord:
    """What is written of a shot. files: its portrait and chip, where they lie elsewhere than shot_files says.
    embedding: whether its embedding is written, too."""
    crop, quality = shot.crop, shot.quality
    portrait, chip = files or shot_files(crop.track, shot.rank, window)
    size = None if crop.portrait is None else (crop.portrait.shape[1], crop.portrait.shape[0])
    fields: dict[str, object] = {
        "schema": "facesieve.shot/2",
        "source": printable(shot.source),
        "track": crop.track,
        "window": window,
        "identity": identity,
        "rank": shot.rank,
        "reason": printable(shot.reason),
        "enrol": shot.enrol,
        "frame_index": crop.frame_index,
        "pts_s": decimals(crop.pts_s, 6),
        "box": tuple(decimals(v, 2) for v in crop.box),
        "landmarks": tuple((decimals(x, 2), decimals(y, 2)) for x, y in crop.landmarks),
        "detection_score": decimals(crop.detection_score, 4),
        "eye_distance_px": decimals(crop.eye_distance_px, 2),
        "truncated": decimals(crop.truncated, 4),
        "score": significant(quality.score),
        "calibrated": None if quality.calibrated is None else decimals(quality.calibrated, 4),
        "model": printable(quality.model),
        "factors": {printable(k): decimals(v, 4) for k, v in sorted(quality.factors.items())},
        "components": {printable(k): decimals(v, 2) for k, v in sorted(quality.components.items())},
        "chip": chip,
        "portrait": None if size is None else portrait,
        "portrait_origin": None if size is None else crop.portrait_origin,
        "portrait_size": size,
    }
    if shot.unfit:
        fields["unfit"] = tuple(printable(name) for name in shot.unfit)
    if crop.wall_s is not None:
        fields["wall_s"] = decimals(crop.wall_s, 3)
    if embedding and quality.embedding is not None:
        fields["embedding"] = tuple(significant(v) for v in quality.embedding)
    return ShotRecord.model_validate(fields)


def track_record(summary: TrackSummary) -> TrackRecord:
    """What is written of a track; reasons come in the order of Rejection, those of no face are left out."""
    points = summary.timeline
    calibrated = tuple(None if p.calibrated is None else decimals(p.calibrated, 3) for p in points)
    return TrackRecord.model_validate(
        {
            "schema": "facesieve.track/1",
            "source": printable(summary.source),
            "track": summary.track,
            "window": summary.window,
            "identity": summary.identity,
            "first_pts_s": decimals(summary.first_pts_s, 6),
            "last_pts_s": decimals(summary.last_pts_s, 6),
            "frames_seen": summary.frames_seen,
            "frames_scored": summary.frames_scored,
            "kept": summary.kept,
            "rejected": {str(r): summary.rejected[r] for r in Rejection if summary.rejected.get(r)},
            "failed": {printable(name): count for name, count in summary.failed.items()},
            "end": str(summary.end),
            "timeline": {
                "pts_s": tuple(decimals(p.pts_s, 6) for p in points),
                "score": tuple(significant(p.score) if math.isfinite(p.score) else None for p in points),
                "rejected": tuple(None if p.rejected is None else str(p.rejected) for p in points),
                **({"calibrated": calibrated} if any(c is not None for c in calibrated) else {}),
            },
        }
    )


def records(result: TrackResult, *, embedding: bool = False) -> tuple[TrackRecord, tuple[ShotRecord, ...]]:
    """The track's line and its shots' lines."""
    summary = result.summary
    shots = tuple(shot_record(s, summary.identity, summary.window, embedding=embedding) for s in result.shots)
    return track_record(summary), shots


def read_shots(path: Path) -> Iterator[ShotRecord]:
    """Every shot of shots.jsonl, in file order. Raises SourceUnreadable naming file and line."""
    return (shot for _, shot in read_placed(ShotRecord, path))


def read_tracks(path: Path) -> Iterator[TrackRecord]:
    """Every track of tracks.jsonl, in file order. Raises SourceUnreadable naming file and line."""
    return (track for _, track in read_placed(TrackRecord, path))


def read_placed(kind: type[_R], path: Path) -> Iterator[tuple[int, _R]]:
    """Every record of a file and where its line begins, in bytes; see read_shots.

    A line that lacks its line break was being written when the process was killed, and is left out.
    """
    at = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield at, _parsed(kind, f"{str(path)!r} line {number}", line)
                at += len(line)
    except OSError as error:
        raise SourceUnreadable(f"cannot read {str(path)!r}: {error.strerror}") from error


def read_line(kind: type[_R], path: Path, at: int) -> _R:
    """The record whose line begins at that byte. Raises SourceUnreadable."""
    try:
        with path.open("rb") as file:
            file.seek(at)
            return _parsed(kind, f"{str(path)!r} at byte {at}", file.readline())
    except OSError as error:
        raise SourceUnreadable(f"cannot read {str(path)!r}: {error.strerror}") from error


def _parsed(kind: type[_R], where: str, line: bytes) -> _R:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SourceUnreadable(f"{where}: {field or 'JSON'}: {first['msg']}") from error
