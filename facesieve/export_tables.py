"""Shots, tracks and identities as tables, in CSV or Parquet; docs/results.md lists the columns."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .export_tracks import POINTS, identities
from .stream.errors import EngineUnavailable
from .stream.sinks.files import replacing
from .stream.sinks.gallery import Gallery
from .stream.sinks.records import ShotRecord, TrackRecord, read_placed, shot_files
from .stream.sinks.results import present

ROWS = 1024
_FORMULA = ("=", "+", "-", "@", "\t")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """columns: name → type of its values (any may be None). rows: read anew at each iteration."""

    name: str
    columns: Mapping[str, type]
    rows: Iterable[Row]


def tables(gallery: Gallery, *, embeddings: bool) -> list[Table]:
    """shots, tracks (a row a window of a long one) and, where anybody is known, identities (a row a track).

    embeddings: add the shots' embeddings, where the run stored them.
    """
    shots, tracks = _Shots(gallery), _Tracks(gallery)
    made = [
        Table("shots", shots.columns(embeddings=embeddings), shots),
        Table("tracks", tracks.columns(), tracks),
    ]
    if any(person.identity is not None for person in gallery.people):
        kinds = {"identity": int, "folder": str, "source": str, "track": int}
        kinds |= {"first_pts_s": float, "last_pts_s": float, "frames_seen": int, "kept": int}
        made.append(Table("identities", kinds, list(_identity_rows(gallery))))
    return made


class _Shots:
    """Rows of kept shots, source by source, in the order of their files."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._who = identities(gallery)

    def columns(self, *, embeddings: bool) -> dict[str, type]:
        """Looks through all shots: what was measured of them differs."""
        factors: set[str] = set()
        components: set[str] = set()
        embedded = unfit = False
        for _, shot in self._records():
            factors |= shot.factors.keys()
            components |= shot.components.keys()
            embedded = embedded or shot.embedding is not None
            unfit = unfit or bool(shot.unfit)
        kinds: dict[str, type] = {"folder": str, "source": str, "track": int, "window": int, "identity": int}
        kinds |= {"rank": int, "reason": str, "enrol": bool, "frame_index": int, "pts_s": float}
        kinds |= dict.fromkeys(("wall_s", "x0", "y0", "x1", "y1"), float)
        kinds |= {f"{point}_{axis}": float for point in POINTS for axis in "xy"}
        kinds |= dict.fromkeys(("detection_score", "eye_distance_px", "truncated", "score"), float)
        kinds |= {"calibrated": float, "model": str, "chip": str, "portrait": str}
        kinds |= {"unfit": str} if unfit else {}
        kinds |= {f"factor_{name}": float for name in sorted(factors)}
        kinds |= {f"component_{name}": float for name in sorted(components)}
        return kinds | ({"embedding": list} if embeddings and embedded else {})

    def __iter__(self) -> Iterator[Row]:
        for index, shot in self._records():
            source = self._gallery.sources[index]
            portrait, chip = shot_files(shot.track, shot.rank, shot.window)
            row: dict[str, Any] = shot.model_dump(include=_PLAIN)
            row |= dict(zip(("x0", "y0", "x1", "y1"), shot.box, strict=True))
            for name, (x, y) in zip(POINTS, shot.landmarks, strict=True):
                row |= {f"{name}_x": x, f"{name}_y": y}
            row["unfit"] = " ".join(shot.unfit) or None
            row |= {f"factor_{name}": value for name, value in shot.factors.items()}
            row |= {f"component_{name}": value for name, value in shot.components.items()}
            row |= {"folder": source.folder, "identity": self._who.get((index, shot.track))}
            row |= {"chip": source.path(chip), "portrait": source.path(portrait) if shot.portrait else None}
            yield row

    def _records(self) -> Iterator[tuple[int, ShotRecord]]:
        for index, source in enumerate(self._gallery.sources):
            shots = source.results.shots
            for _, shot in read_placed(ShotRecord, present(source.results.folder, "shots.jsonl")):
                if shot.track in shots:  # else its track was being written when the process was killed
                    yield index, shot


_PLAIN = {
    "source", "track", "window", "rank", "reason", "enrol", "frame_index", "pts_s", "wall_s",
    "detection_score", "eye_distance_px", "truncated", "score", "calibrated", "model", "embedding",
}  # fmt: skip


class _Tracks:
    """Rows of tracks, source by source, in the order of their files."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._who = identities(gallery)

    def columns(self) -> dict[str, type]:
        """Looks through all tracks: reasons that never occurred have no column."""
        reasons = sorted({reason for _, track in self._records() for reason in track.rejected})
        kinds: dict[str, type] = {"folder": str, "source": str, "track": int, "window": int, "identity": int}
        kinds |= {"first_pts_s": float, "last_pts_s": float, "frames_seen": int, "frames_scored": int}
        return kinds | {"kept": int, "end": str} | {f"rejected_{reason}": int for reason in reasons}

    def __iter__(self) -> Iterator[Row]:
        for index, track in self._records():
            row: dict[str, Any] = track.model_dump(exclude={"timeline", "rejected", "failed", "format"})
            row |= {f"rejected_{reason}": count for reason, count in track.rejected.items()}
            row |= {
                "folder": self._gallery.sources[index].folder,
                "identity": self._who.get((index, track.track)),
            }
            yield row

    def _records(self) -> Iterator[tuple[int, TrackRecord]]:
        for index, source in enumerate(self._gallery.sources):
            for _, track in read_placed(TrackRecord, source.results.lines):
                yield index, track


def _identity_rows(gallery: Gallery) -> Iterator[Row]:
    known = {
        (index, track.track): track
        for index, source in enumerate(gallery.sources)
        for track in source.results.tracks
    }
    people = [person for person in gallery.people if person.identity is not None]
    for person in sorted(people, key=lambda person: person.identity or 0):
        for seen in person.tracks:
            track, source = known[seen.source, seen.track], gallery.sources[seen.source]
            row = track.model_dump(include={"track", "first_pts_s", "last_pts_s", "frames_seen", "kept"})
            yield row | {"identity": person.identity, "folder": source.folder, "source": source.name}


def write_csv(path: Path, table: Table) -> int:
    """Returns the number of rows. Text that a spreadsheet would take for a formula gets a ' before it, and
    carriage returns become line breaks: readers end an unquoted row at them."""
    with (
        replacing(path) as fd,
        os.fdopen(os.dup(fd), "w", encoding="utf-8", errors="replace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([_harmless(name) for name in table.columns])
        count = 0
        for row in table.rows:
            writer.writerow([_harmless(row.get(name)) for name in table.columns])
            count += 1
    return count


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) else text


def need_arrow() -> None:
    """Raise EngineUnavailable where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as missing:
        raise EngineUnavailable("Parquet needs `pip install 'facesieve[parquet]'`") from missing


def write_parquet(path: Path, table: Table) -> int:
    """Returns the number of rows, of which at most ROWS are in memory; see need_arrow."""
    need_arrow()
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    kinds[list] = arrow.list_(arrow.float32())
    schema = arrow.schema([(name, kinds[kind]) for name, kind in table.columns.items()])
    count, rows = 0, iter(table.rows)
    with (
        replacing(path) as fd,
        os.fdopen(os.dup(fd), "wb") as file,
        parquet.ParquetWriter(file, schema) as writer,
    ):
        while batch := list(itertools.islice(rows, ROWS)):
            columns = [_column(batch, name, kind) for name, kind in table.columns.items()]
            arrays = [arrow.array(c, kinds[k]) for c, k in zip(columns, table.columns.values(), strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            count += len(batch)
    return count


def _column(batch: Sequence[Row], name: str, kind: type) -> list[Any]:
    values = [row.get(name) for row in batch]
    if kind is str:  # halves of surrogate pairs have no UTF-8
        return [None if v is None else str(v).encode("utf-8", "replace").decode() for v in values]
    return values
