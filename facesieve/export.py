"""`facesieve export`: a run's results in the formats of other tools."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .enrolment import Unused, shots_of
from .export_tables import need_arrow, tables, write_csv, write_parquet
from .export_tracks import identities, sightings, write_coco, write_mot, write_seqinfo
from .stream.decode.sources import slug
from .stream.errors import OutputExists
from .stream.sinks.files import make_folder, naming, write_whole
from .stream.sinks.gallery import Gallery, Person, read_gallery

Format = Literal["csv", "parquet", "coco", "mot", "folder"]
INDEX = "index.csv"
_PERSON = re.compile(r"identity-\d+|(source-\d+-)?track-\d+")
_PICTURE = re.compile(r"\d+(\.jpg|_chip\.png)(\.part)?")
_MAGIC = {".jpg": b"\xff\xd8", ".png": b"\x89PNG\r\n\x1a\n"}


@dataclass(slots=True)
class Exported:
    """files: what was written, and how many rows, annotations or pictures are in each (a folder counts as
    one). unused: pictures of the run that could not be read."""

    out: Path
    files: dict[str, int] = field(default_factory=dict)
    unused: list[Unused] = field(default_factory=list)


def export(
    run: Path,
    form: Format,
    out: Path | None = None,
    *,
    kept_only: bool = False,
    embeddings: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write the results in `run` to the folder out (default: `export-<form>` in run).

    kept_only: COCO and MOT of the kept shots alone, which needs no boxes.jsonl. embeddings: into Parquet.
    overwrite: replace an earlier export; other files stay.
    Raises SourceMissing where there are no results, or no boxes.jsonl where it is wanted; SourceUnreadable;
    EngineUnavailable without pyarrow; OutputExists, OutputUnwritable, OutputFull.
    """
    gallery = read_gallery(run)
    done = Exported(out if out is not None else run / f"export-{form}")
    if form in ("coco", "mot"):
        for index in range(len(gallery.sources)):  # is everything there? before anything is written
            next(sightings(gallery, index, kept_only=kept_only), None)
    if form == "parquet":
        need_arrow()
    make_folder(done.out)
    with naming(done.out):
        if any(done.out.iterdir()) and not overwrite:
            raise OutputExists(f"{str(done.out)!r} is not empty: choose another folder, or --overwrite")
    match form:
        case "csv":
            for table in tables(gallery, embeddings=False):
                done.files[f"{table.name}.csv"] = write_csv(done.out / f"{table.name}.csv", table)
        case "parquet":
            for table in tables(gallery, embeddings=embeddings):
                done.files[f"{table.name}.parquet"] = write_parquet(done.out / f"{table.name}.parquet", table)
        case "coco" | "mot":
            _write_tracks(gallery, form, done, kept_only=kept_only)
        case "folder":
            _write_folders(gallery, done)
    return done


def _write_tracks(gallery: Gallery, form: Literal["coco", "mot"], done: Exported, *, kept_only: bool) -> None:
    """A file a source."""
    known = identities(gallery)
    for index, name in enumerate(_names(gallery)):
        faces = sightings(gallery, index, kept_only=kept_only)
        if form == "mot":
            done.files[f"{name}.txt"] = write_mot(done.out / f"{name}.txt", faces)
            make_folder(done.out / name)
            write_seqinfo(done.out / name / "seqinfo.ini", gallery, index, name)
        else:
            again = sightings(gallery, index, kept_only=kept_only)
            who = {track: identity for (source, track), identity in known.items() if source == index}
            done.files[f"{name}.json"] = write_coco(done.out / f"{name}.json", faces, again, name, who)


def _names(gallery: Gallery) -> list[str]:
    """A file name for each source, from the names of folders that are there."""
    return [source.folder or slug(gallery.folder.resolve().name or "results") for source in gallery.sources]


def _write_folders(gallery: Gallery, done: Exported) -> None:
    """A folder a person: shots best first as 01.jpg and 01_chip.png, and index.csv that says of each whence.

    All names are made from numbers. Pictures are copied byte for byte if they begin as such.
    """
    _clear(done.out)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("file", "identity", "folder", "track", "window", "rank", "frame_index", "pts_s", "score")
    )
    for person in gallery.people:
        name = _person_name(gallery, person)
        make_folder(done.out / name)
        done.files[name] = 0
        for number, shown in enumerate(shots_of(gallery, person), 1):
            shot, source = shown.shot, gallery.sources[shown.source]
            for file, end in zip(shown.files, (".jpg", "_chip.png"), strict=True):
                if end == ".jpg" and shot.portrait is None:
                    continue
                data = _picture(source.results.folder, file)
                if isinstance(data, str):
                    done.unused.append(Unused(source.path(file), data))
                    continue
                copy = f"{name}/{number:02d}{end}"
                write_whole(done.out / copy, data)
                done.files[name] += 1
                place = (source.folder, shot.track, shot.window, shot.rank, shot.frame_index, shot.pts_s)
                writer.writerow((copy, person.identity, *place, shot.score))
    write_whole(done.out / INDEX, text.getvalue().encode())


def _person_name(gallery: Gallery, person: Person) -> str:
    if person.identity is not None:
        return f"identity-{person.identity:04d}"
    seen = person.tracks[0]
    several = f"source-{seen.source + 1:02d}-" if len(gallery.sources) > 1 else ""
    return f"{several}track-{seen.track:04d}"


def _picture(root: Path, name: str) -> bytes | str:
    """The bytes of root/name, or why it is not copied."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        return "a link that leads out of the results"
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return data if data.startswith(_MAGIC[path.suffix]) else f"not a {path.suffix[1:].upper()} picture"


def _clear(out: Path) -> None:
    """Remove the pictures of an earlier export, and nothing else."""
    with naming(out):
        for folder in out.iterdir():
            if not _PERSON.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
                continue
            for path in folder.iterdir():
                if _PICTURE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                    path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()
