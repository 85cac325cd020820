"""A folder of results, read back: what the report shows, checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ..errors import SourceMissing, SourceUnreadable
from .files import PART
from .records import ShotRecord, Timeline, TrackRecord, read_line, read_placed


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class SourceFacts(_Facts):
    """stills: unrelated pictures instead of a video. damage: what kept part of it from being read."""

    name: str | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    stills: bool = False
    live: bool = False
    damage: str | None = None


class Counts(_Facts):
    """frames: decoded. frames_detected: looked at for faces."""

    frames: int | None = None
    frames_detected: int | None = None


class Model(_Facts):
    """A network that took part. task: detection, quality …"""

    name: str | None = None
    task: str | None = None


class Run(_Facts):
    """What the report reads of run.json; every field but the schema may be missing there."""

    format: Literal["facesieve.run/1"] = Field(alias="schema")
    interrupted: bool = False
    error: str | None = None
    config: dict[str, JsonValue] = {}
    source: SourceFacts = SourceFacts()
    counts: Counts = Counts()
    models: tuple[Model, ...] = ()

    def model(self, task: str) -> str | None:
        """The name of the first model with that task."""
        return next((model.name for model in self.models if model.task == task), None)


_NO_TIMELINE = Timeline(pts_s=(), score=(), rejected=())


class Shots(Mapping[int, tuple[ShotRecord, ...]]):
    """Each track's shots, best first; read from the file at each look, since days of video hold many."""

    def __init__(self, path: Path, places: Mapping[int, tuple[int, ...]]) -> None:
        """places: where the lines of each track's shots begin in the file, in bytes."""
        self._path, self._places = path, places

    def __getitem__(self, track: int) -> tuple[ShotRecord, ...]:
        found = [read_line(ShotRecord, self._path, at) for at in self._places[track]]
        if len({shot.window for shot in found}) > 1:  # ranks are of one window each
            return tuple(sorted(found, key=lambda shot: (-shot.score, shot.window, shot.rank)))
        return tuple(sorted(found, key=lambda shot: shot.rank))

    def __contains__(self, track: object) -> bool:
        return track in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def number(self) -> int:
        """Shots in all, without a look at the file."""
        return sum(map(len, self._places.values()))


@dataclass(slots=True)
class Extremes:
    """The least and the greatest value met so far; low > high where there was none."""

    low: float = math.inf
    high: float = -math.inf

    def meet(self, values: Iterable[float | None]) -> None:
        for value in values:
            if value is not None:
                self.low, self.high = min(self.low, value), max(self.high, value)

    @property
    def met(self) -> tuple[float, ...]:
        return (self.low, self.high) if self.low <= self.high else ()


@dataclass(frozen=True, slots=True)
class Results:
    """tracks: by first time, without their timelines; the windows of a long one are one track here. shots: a
    track without shots has no entry. models: that scored the shots. scores: of those models, all candidates.
    calibrated: whether every shot has a calibrated score. courses: whether the timelines of kept tracks have
    them, too. measured: whether one shot has quality components. begin_s, end_s: of its time axis.

    run: None where run.json is missing, because the run did not end by itself.
    """

    folder: Path
    run: Run | None
    tracks: tuple[TrackRecord, ...]
    shots: Shots
    models: tuple[str, ...]
    scores: Extremes
    calibrated: bool
    courses: bool
    measured: bool
    lines: Path
    places: Mapping[int, tuple[int, ...]]
    begin_s: float
    end_s: float

    def whole(self, track: int) -> TrackRecord:
        """A track with its timeline, read anew."""
        return joined([read_line(TrackRecord, self.lines, at) for at in self.places[track]])


def read_results(folder: Path) -> Results:
    """Read the results in folder, of a run that was cut short too.

    Raises SourceMissing where there are none, SourceUnreadable naming file, line and field.
    """
    tracks: dict[int, TrackRecord] = {}
    places: dict[int, tuple[int, ...]] = {}
    scores, models, calibrated, measured = Extremes(), set(), True, False
    courses = True
    lines = present(folder, "tracks.jsonl")
    for at, read in read_placed(TrackRecord, lines):
        if read.kept:
            scores.meet(read.timeline.score)
            courses &= len(read.timeline.calibrated) == len(read.timeline.pts_s)
        bare = read.model_copy(update={"timeline": _NO_TIMELINE})
        tracks[read.track] = joined([tracks[read.track], bare]) if read.track in tracks else bare
        places[read.track] = (*places.get(read.track, ()), at)
    shots: dict[int, tuple[int, ...]] = {}
    path = present(folder, "shots.jsonl")
    for at, shot in read_placed(ShotRecord, path):
        if shot.track in tracks and shot.window <= tracks[shot.track].window:
            # else its track, or window of it, was being written when the process was killed
            shots[shot.track] = (*shots.get(shot.track, ()), at)
            scores.meet((shot.score,))
            models.add(shot.model)
            calibrated &= shot.calibrated is not None
            measured |= bool(shot.components)
    run = _read_run(folder / "run.json")
    return Results(
        folder,
        run,
        tuple(sorted(tracks.values(), key=lambda t: (t.first_pts_s, t.track))),
        Shots(path, shots),
        tuple(sorted(models)),
        scores,
        calibrated,
        calibrated and courses,
        measured,
        lines,
        places,
        *_extent(None if run is None else run.source.duration_s, tracks.values()),
    )


def _extent(length_s: float | None, tracks: Collection[TrackRecord]) -> tuple[float, float]:
    """When a source begins and ends on its own clock: as long as it says to be, from 0 on, or as late as its
    last track asks for (recordings of streams begin at any time); longer where tracks need it."""
    last = max((track.last_pts_s for track in tracks), default=0.0)
    begin = 0.0 if length_s is None else max(0.0, last - length_s)
    begin = min(begin, min((track.first_pts_s for track in tracks), default=begin))
    return begin, max(begin + (length_s or 0.0), last)


def joined(windows: Sequence[TrackRecord]) -> TrackRecord:
    """The windows of one track as one; it ended as the last of them did."""
    if len(windows) == 1:
        return windows[0]
    windows = sorted(windows, key=lambda w: w.window)
    lines = [w.timeline for w in windows]
    last = windows[-1]
    return last.model_copy(
        update={
            "first_pts_s": min(w.first_pts_s for w in windows),
            "last_pts_s": max(w.last_pts_s for w in windows),
            "frames_seen": sum(w.frames_seen for w in windows),
            "frames_scored": sum(w.frames_scored for w in windows),
            "kept": sum(w.kept for w in windows),
            "rejected": total(w.rejected for w in windows),
            "failed": total(w.failed for w in windows),
            "timeline": Timeline(
                pts_s=tuple(chain.from_iterable(line.pts_s for line in lines)),
                score=tuple(chain.from_iterable(line.score for line in lines)),
                rejected=tuple(chain.from_iterable(line.rejected for line in lines)),
                calibrated=tuple(chain.from_iterable(line.calibrated for line in lines)),
            ),
        }
    )


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of each key's counts."""
    sums: Counter[str] = Counter()
    for one in counts:
        sums.update(one)
    return dict(sums)


def present(folder: Path, name: str) -> Path:
    """The file, or the part of it that a killed run left."""
    for path in (folder / name, folder / (name + PART)):
        if path.is_file():
            return path
    raise SourceMissing(f"expected results of a run in {str(folder)!r}, there is no {name}")


def _read_run(path: Path) -> Run | None:
    try:
        return Run.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceUnreadable(f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SourceUnreadable(f"{str(path)!r}: {field or 'JSON'}: {first['msg']}") from error
