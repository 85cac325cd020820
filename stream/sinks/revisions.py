"""The lines of revisions.jsonl: shots that were told before their track ended (docs/results.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..types import ShotRevision
from .records import Record, ShotRecord, decimals, printable, read_placed, shot_files, shot_record

REVISIONS = "revisions.jsonl"


class RevisionRecord(Record):
    """A shot told early. told_pts_s: when. shot: as a line of shots.jsonl, with image files of its own."""

    format: Literal["facesieve.revision/1"] = Field(alias="schema")
    source: str
    track: int = Field(ge=0)
    window: int = Field(ge=0)
    revision: int = Field(ge=1)
    why: str
    told_pts_s: float
    shot: ShotRecord


def revision_files(track: int, revision: int, window: int = 0) -> tuple[str, str]:
    """Where its portrait and chip lie in the folder of results: beside those of the track's shots."""
    folder = shot_files(track, 1, window)[0].rpartition("/")[0]
    return f"{folder}/r{revision}.jpg", f"{folder}/r{revision}_chip.png"


def revision_record(revision: ShotRevision, *, embedding: bool = False) -> RevisionRecord:
    """What is written of a revision. embedding: whether its embedding is, too."""
    files = revision_files(revision.track, revision.revision, revision.window)
    shot = shot_record(revision.shot, None, revision.window, files=files, embedding=embedding)
    return RevisionRecord.model_validate(
        {
            "schema": "facesieve.revision/1",
            "source": printable(revision.source),
            "track": revision.track,
            "window": revision.window,
            "revision": revision.revision,
            "why": str(revision.why),
            "told_pts_s": decimals(revision.pts_s, 6),
            "shot": shot.model_dump(by_alias=True, exclude_unset=True),
        }
    )


def read_revisions(path: Path) -> Iterator[RevisionRecord]:
    """Every revision of revisions.jsonl, in file order. Raises SourceUnreadable naming file and line."""
    return (revision for _, revision in read_placed(RevisionRecord, path))
