"""Tracks as COCO annotations and as MOTChallenge lines, for other tools; docs/results.md describes both."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .stream.errors import SourceMissing
from .stream.sinks.boxes import BOXES, read_boxes
from .stream.sinks.files import replacing, write_whole
from .stream.sinks.gallery import Gallery
from .stream.sinks.records import decimals

POINTS = ("eye_image_left", "eye_image_right", "nose", "mouth_image_left", "mouth_image_right")
"""Said in full, because COCO's people have their own left on the image's right."""
_CATEGORY = {"id": 1, "name": "face", "supercategory": "person", "keypoints": POINTS, "skeleton": []}


@dataclass(frozen=True, slots=True)
class Sighting:
    """One face of one track in one frame. size: (width, height) of the frame, None where it is not known."""

    frame_index: int
    pts_s: float
    size: tuple[int, int] | None
    track: int
    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...]


def sightings(gallery: Gallery, source: int, *, kept_only: bool) -> Iterator[Sighting]:
    """Of every tracked detection (boxes.jsonl), or of the kept shots only; by frame, then track.

    Raises SourceMissing where boxes.jsonl is wanted and absent.
    """
    folder = gallery.sources[source].results.folder
    if kept_only:
        yield from _kept(gallery, source)
        return
    if not any((folder / (BOXES + end)).is_file() for end in ("", ".part")):
        raise SourceMissing(
            f"expected {BOXES} in {str(folder)!r}: a run stores the boxes of its tracks only with "
            "`facesieve run --boxes`; run it again so, or export the kept shots alone (--kept-only)"
        )
    for frame in read_boxes(folder):
        rows = zip(frame.tracks, frame.boxes, frame.scores, frame.landmarks, strict=True)
        for track, box, score, points in sorted(rows):
            yield Sighting(frame.frame_index, frame.pts_s, frame.size, track, box, score, points)


def _kept(gallery: Gallery, source: int) -> Iterator[Sighting]:
    results = gallery.sources[source].results
    facts = results.run.source if results.run is not None else None
    size = None
    if facts is not None and facts.width and facts.height and not facts.stills:  # stills may differ in size
        size = facts.width, facts.height
    shots = [shot for track in results.shots for shot in results.shots[track]]
    for shot in sorted(shots, key=lambda s: (s.frame_index, s.track, s.window, s.rank)):
        yield Sighting(
            shot.frame_index, shot.pts_s, size, shot.track, shot.box, shot.detection_score, shot.landmarks
        )


def identities(gallery: Gallery) -> Mapping[tuple[int, int], int]:
    """(source, track) → the person it shows, where that is known."""
    known = {
        (index, track.track): track.identity
        for index, source in enumerate(gallery.sources)
        for track in source.results.tracks
        if track.identity is not None
    }
    for person in gallery.people:  # identities.jsonl is later than the lines of a source
        if person.identity is not None:
            known |= {(seen.source, seen.track): person.identity for seen in person.tracks}
    return known


def write_coco(path: Path, faces: Iterable[Sighting], again: Iterable[Sighting], name: str,
               who: Mapping[int, int]) -> int:  # fmt: skip
    """One source's faces as a COCO keypoint file; returns how many annotations.

    faces, again: the same sightings twice (images come before annotations, and are not held in memory). name:
    of the folder that images are said to lie in. who: track → identity. Boxes are cut at the frame's edge,
    where its size is known, and left out where nothing remains.
    """
    with _text(path) as file:
        info = {"description": "faces tracked by facesieve", "version": "1.0"}
        file.write(f'{{"info":{json.dumps(info)},"licenses":[],"categories":[{json.dumps(_CATEGORY)}],\n')
        _write_list(file, "images", _images(faces, name))
        file.write(",\n")
        count = _write_list(file, "annotations", _annotations(again, who))
        file.write("}\n")
    return count


def _write_list(file: IO[str], key: str, items: Iterable[Mapping[str, object]]) -> int:
    file.write(f'"{key}":[')
    count = 0
    for count, item in enumerate(items, 1):
        file.write(("\n" if count == 1 else ",\n") + json.dumps(item, allow_nan=False, separators=(",", ":")))
    file.write("\n]")
    return count


def _images(faces: Iterable[Sighting], name: str) -> Iterator[dict[str, object]]:
    last = -1
    for face in faces:
        if face.frame_index == last:
            continue
        last = face.frame_index
        image: dict[str, object] = {"id": last, "file_name": f"{name}/{last:06d}.jpg"}
        if face.size is not None:
            image |= {"width": face.size[0], "height": face.size[1]}
        yield image | {"frame_index": last, "pts_s": face.pts_s}


def _annotations(faces: Iterable[Sighting], who: Mapping[int, int]) -> Iterator[dict[str, object]]:
    number = 0
    for face in faces:
        width, height = face.size or (math.inf, math.inf)
        low = -math.inf if face.size is None else 0.0
        x0, y0, x1, y1 = face.box
        x0, y0, x1, y1 = max(x0, low), max(y0, low), min(x1, width), min(y1, height)
        if x1 <= x0 or y1 <= y0:
            continue
        number += 1
        points: list[float] = []
        for x, y in face.landmarks:
            seen = face.size is None or (0 <= x < width and 0 <= y < height)
            points += [x, y, 2] if seen else [0, 0, 0]
        w, h = decimals(x1 - x0, 2), decimals(y1 - y0, 2)
        yield {
            "id": number,
            "image_id": face.frame_index,
            "category_id": 1,
            "bbox": [x0, y0, w, h],
            "area": decimals(w * h, 2),
            "iscrowd": 0,
            "keypoints": points,
            "num_keypoints": sum(1 for v in points[2::3] if v),
            "score": face.score,
            "track_id": face.track,
            "identity": who.get(face.track),
        }


def write_mot(path: Path, faces: Iterable[Sighting]) -> int:
    """`frame, id, left, top, width, height, confidence, −1, −1, −1` a line, as MOTChallenge's results; frames
    and pixels count from 1 there. Returns how many lines. Boxes may reach over the frame's edge."""
    count = 0
    with _text(path) as file:
        for face in faces:
            x0, y0, x1, y1 = face.box
            file.write(
                f"{face.frame_index + 1},{face.track},{x0 + 1:.2f},{y0 + 1:.2f},"
                f"{x1 - x0:.2f},{y1 - y0:.2f},{face.score:.4f},-1,-1,-1\n"
            )
            count += 1
    return count


def write_seqinfo(path: Path, gallery: Gallery, source: int, name: str) -> None:
    """MOTChallenge's seqinfo.ini, as far as the run knows the video."""
    run = gallery.sources[source].results.run
    lines = ["[Sequence]", f"name={name}", "imDir=img1", "imExt=.jpg"]
    if run is not None and run.counts.frames:
        lines.append(f"seqLength={run.counts.frames}")
        if run.source.duration_s:
            lines.append(f"frameRate={max(1, round(run.counts.frames / run.source.duration_s))}")
    if run is not None and run.source.width and run.source.height:
        lines += [f"imWidth={run.source.width}", f"imHeight={run.source.height}"]
    write_whole(path, ("\n".join(lines) + "\n").encode())


@contextmanager
def _text(path: Path) -> Iterator[IO[str]]:
    """A text file that appears whole or not at all."""
    with replacing(path) as fd, os.fdopen(os.dup(fd), "w", encoding="ascii", newline="\n") as file:
        yield file
