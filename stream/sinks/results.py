"""A folder of results, read back: what the report shows, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import SourceMissing, SourceUnreadable
from .files import PART
from .records import ShotRecord, TrackRecord, read_shots, read_tracks


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


@dataclass(frozen=True, slots=True)
class Results:
    """tracks: by first time. shots: per track, best first; a track without shots has no entry.

    run: None where run.json is missing, because the run did not end by itself.
    """

    folder: Path
    run: Run | None
    tracks: tuple[TrackRecord, ...]
    shots: Mapping[int, tuple[ShotRecord, ...]]


def read_results(folder: Path) -> Results:
    """Read the results in folder, of a run that was cut short too.

    Raises SourceMissing where there are none, SourceUnreadable naming file, line and field.
    """
    tracks = {t.track: t for t in read_tracks(_present(folder, "tracks.jsonl"))}
    shots: dict[int, list[ShotRecord]] = {}
    for shot in read_shots(_present(folder, "shots.jsonl")):
        if shot.track in tracks:  # else its track was being written when the process was killed
            shots.setdefault(shot.track, []).append(shot)
    return Results(
        folder,
        _read_run(folder / "run.json"),
        tuple(sorted(tracks.values(), key=lambda t: (t.first_pts_s, t.track))),
        {track: tuple(sorted(kept, key=lambda s: s.rank)) for track, kept in shots.items()},
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
