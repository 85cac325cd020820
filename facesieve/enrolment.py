"""A gallery: folders of people's pictures, or an earlier run's identities, as templates to search in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .score import cut, labelled_crops, prominence
from .stream.decode.images import declared_size, natural_order
from .stream.decode.sources import open_source, printable
from .stream.errors import NoFrames, NotVideo, SourceError, SourceMissing, SourceUnreadable
from .stream.matching import Enrolled, template
from .stream.ports import Detector, Embedder
from .stream.sinks.gallery import IDENTITIES, Gallery, Person, Shown, read_gallery
from .stream.types import CHIP_PX, F32, U8, Crop

BATCH = 64
Weigh = Callable[[Sequence[Crop]], Sequence[float]]
RIVAL = 0.5
"""A second face with this share of the main one's prominence leaves open who is meant."""


@dataclass(frozen=True, slots=True)
class Unused:
    """A file of the gallery (or a shot of the run) that took no part, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """enrolled: who can be found. files: how many faces each is made of, in the same order. absent: people of
    whom no file could be used. unused: every such file."""

    enrolled: Enrolled
    files: tuple[int, ...]
    absent: tuple[str, ...]
    unused: tuple[Unused, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One file of a person: its face with a weight ≥ 0 for the template (None: as scored), or a reason."""

    person: str
    file: str
    face: Crop | str
    weight: float | None = None


def enrol(found: Iterator[Picture], embedder: Embedder, weigh: Weigh, folder: Path) -> Enrolment:
    """Templates of everyone in a gallery, by name.

    found: pictures(folder, …). weigh: weights of faces, each ≥ 0. Raises NoFrames where nobody is enrolled.
    """
    weights: dict[str, list[float]] = {}
    vectors: dict[str, list[F32]] = {}
    unused: list[Unused] = []
    for batch in _batches(found):
        faces = [picture.face for picture in batch if isinstance(picture.face, Crop)]
        rows = iter(zip(embedder.embed(faces), weigh(faces), strict=True))
        for picture in batch:
            weights.setdefault(picture.person, [])
            if isinstance(picture.face, Crop):
                vector, weight = next(rows)
                vectors.setdefault(picture.person, []).append(vector)
                weights[picture.person].append(weight if picture.weight is None else picture.weight)
            else:
                unused.append(Unused(picture.file, picture.face))
    weights.pop("", None)  # of files that belong to nobody
    if not vectors:
        first = f"; {unused[0].file}: {unused[0].reason}" if unused else ""
        raise NoFrames(
            f"{printable(folder)}: nobody can be enrolled: "
            f"no usable face in {len(unused)} files of {len(weights)} people{first}"
        )
    people = sorted(vectors, key=natural_order)
    templates = np.stack([template(np.stack(vectors[name]), weights[name]) for name in people])
    return Enrolment(
        Enrolled(tuple(people), templates),
        tuple(len(vectors[name]) for name in people),
        tuple(sorted(set(weights) - set(vectors), key=natural_order)),
        tuple(unused),
    )


def pictures(folder: Path, detector: Detector, least: float) -> Iterator[Picture]:
    """Every file of a gallery, in a fixed order.

    folder: a folder a person with pictures of that person alone, at any depth; or a folder with faces.csv; or
    what `facesieve run` wrote with identities.jsonl. least: weaker detections are not faces.
    Raises SourceMissing where there is no gallery.
    """
    if not folder.is_dir():
        raise SourceMissing(f"{printable(folder)}: expected a gallery, a folder of people; there is none")
    if (folder / "faces.csv").is_file():
        yield from _labelled(folder)
    elif (folder / IDENTITIES).is_file():
        yield from _identities(folder)
    elif any((folder / name).exists() for name in ("shots.jsonl", "tracks.jsonl")):
        raise SourceMissing(
            f"{printable(folder)}: this run has no {IDENTITIES}, so nobody in it has a name to be found under"
        )
    else:
        yield from _people(folder, detector, least)


def _labelled(folder: Path) -> Iterator[Picture]:
    from .fiqa.faces import read_faces

    names = read_faces(folder).identities.tolist()
    for name, (file, face) in zip(names, labelled_crops(folder), strict=True):
        yield Picture(printable(name), printable(file), face if name else "no identity")


def _identities(folder: Path) -> Iterator[Picture]:
    gallery = read_gallery(folder)
    for person in gallery.people:
        if person.identity is not None:
            for shown in shots_of(gallery, person):
                file, face = shot_face(gallery, shown)
                yield Picture(f"identity-{person.identity}", file, face, shown.shot.calibrated)


def shots_of(gallery: Gallery, person: Person) -> list[Shown]:
    """The kept shots that stand for a person, best first."""
    return gallery.chosen(person, gallery.kept(person))


def shot_face(gallery: Gallery, shown: Shown) -> tuple[str, Crop | str]:
    """Where the chip of a kept shot lies, and its face, or why it cannot be had.

    The name is made from numbers, never read from the file, and a link that leads out is not followed.
    """
    source, shot = gallery.sources[shown.source], shown.shot
    file = source.path(shown.files[1])
    chip = read_chip(source.results.folder, shown.files[1])
    if isinstance(chip, str):
        return file, chip
    landmarks = np.array(shot.landmarks, np.float32)
    return file, Crop.of_chip(chip, landmarks, index=shot.frame_index, truncated=shot.truncated)


def read_chip(root: Path, name: str) -> U8 | str:
    """(112, 112, 3) RGB of the image root/name, or why not."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        return "a link that leads out of the results"
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    small = declared_size(data) == (CHIP_PX, CHIP_PX)  # looked at before anything is decoded
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if small else None
    return f"not a chip of {CHIP_PX}×{CHIP_PX}" if image is None else np.asarray(image[..., ::-1], np.uint8)


def _people(folder: Path, detector: Detector, least: float) -> Iterator[Picture]:
    try:
        entries = sorted(folder.iterdir(), key=natural_order)
    except OSError as error:
        raise SourceUnreadable(f"{printable(folder)}: cannot be read: {error.strerror}") from error
    seen = False
    for path in entries:
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            yield Picture("", printable(path.name), "not in a person's folder")
            continue
        seen, person = True, printable(path.name)
        files = (p for p in path.rglob("*") if p.is_file() and not _is_hidden(p.relative_to(path)))
        empty = True
        for file in sorted(files, key=natural_order):
            empty = False
            yield Picture(person, printable(file.relative_to(folder)), _sole_face(file, detector, least))
        if empty:
            yield Picture(person, person, "an empty folder")
    if not seen:
        raise SourceMissing(
            f"{printable(folder)}: expected a folder for each person in it, or faces.csv, or {IDENTITIES}"
        )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _sole_face(file: Path, detector: Detector, least: float) -> Crop | str:
    """The face of a picture of one person."""
    try:
        with closing(open_source(str(file))) as source:
            frame = next(iter(source), None) if source.stills else None
            if frame is None:
                return "not an image"
            found = detector.detect(frame)
            size = np.where(found.scores >= least, prominence(frame, found), -1.0)
            if not (size >= 0).any():
                return "no face found"
            order = np.argsort(-size, kind="stable")
            rivals = int((size[order[1:]] >= RIVAL * size[order[0]]).sum())
            if rivals:
                return f"{1 + rivals} faces of like size: expected one person"
            return cut(frame, found, int(order[0]))
    except NotVideo:
        return "not an image that FFmpeg can read"
    except SourceError as error:
        return str(error).removeprefix(f"{printable(file)}: ")


def _batches(items: Iterator[Picture]) -> Iterator[list[Picture]]:
    while batch := list(itertools.islice(items, BATCH)):
        yield batch
