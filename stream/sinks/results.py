"""A folder of results, read back: what the report shows, checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
        found = (read_line(ShotRecord, self._path, at) for at in self._places[track])
        return tuple(sorted(found, key=lambda shot: shot.rank))

    def __contains__(self, track: object) -> bool:
        return track in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@dataclass(frozen=True, slots=True)
class Results:
    """tracks: by first time, without their timelines. shots: a track without shots has no entry.

    run: None where run.json is missing, because the run did not end by itself.
    """

    folder: Path
    run: Run | None
    tracks: tuple[TrackRecord, ...]
    shots: Mapping[int, tuple[ShotRecord, ...]]
    places: Mapping[int, tuple[Path, int]]

    def whole(self, track: int) -> TrackRecord:
        """A track with its timeline, read anew."""
        return read_line(TrackRecord, *self.places[track])


def read_results(folder: Path) -> Results:
    """Read the results in folder, of a run that was cut short too.

    Raises SourceMissing where there are none, SourceUnreadable naming file, line and field.
    """
    tracks, places = {}, {}
    path = _present(folder, "tracks.jsonl")
    for at, track in read_placed(TrackRecord, path):
        tracks[track.track] = track.model_copy(update={"timeline": _NO_TIMELINE})
        places[track.track] = (path, at)
    shots: dict[int, tuple[int, ...]] = {}
    path = _present(folder, "shots.jsonl")
    for at, shot in read_placed(ShotRecord, path):
        if shot.track in tracks:  # else its track was being written when the process was killed
            shots[shot.track] = (*shots.get(shot.track, ()), at)
    return Results(
        folder,
        _read_run(folder / "run.json"),
        tuple(sorted(tracks.values(), key=lambda t: (t.first_pts_s, t.track))),
        Shots(path, shots),
        places,
    )


def _present(folder: Path, name: str) -> Path:
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
