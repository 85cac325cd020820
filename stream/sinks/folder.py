"""Results as files in a folder; docs/results.md describes each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import OutputExists, OutputUnwritable
from ..ports import Closing
from ..types import U8, BestShot, TrackResult
from .boxes import BOXES
from .candidates import CANDIDATES
from .files import FOLDER_MODE, PART, LineFile, is_locked, make_folder, naming, write_whole
from .records import printable, records, shot_files
from .report import render_report

SHOTS, TRACKS, RUN, REPORT, IMAGES = "shots.jsonl", "tracks.jsonl", "run.json", "report.html", "shots"
VALIDATION = ("validation.json", "validation.html")
"""What `facesieve validate` adds to a run's folder."""
_NAMES = (SHOTS, TRACKS, RUN, REPORT, CANDIDATES, BOXES, *VALIDATION)
_FILES = tuple(name + end for name in _NAMES for end in ("", PART))
_TRACK_FOLDER = re.compile(r"\d+")
_IMAGE = re.compile(r"\d+(\.jpg|_chip\.png)(\.part)?")
_MARK = b"facesieve"


class FolderSink(Closing):
    """Writes each track's shots as it ends: images first, then its lines, so that a line's images exist.

    out: made if it is not there, open to its owner only (faces are personal data), as is every file in it.
    overwrite: remove an earlier run's results first; only files of facesieve's own names and making are
    removed, and links are never followed. jpeg_quality: of the portraits, 1–100; chips are lossless.
    embeddings: also write each shot's embedding. It is a biometric template, so it is left out unless asked.

    Raises OutputExists if results are there and overwrite is not set, OutputUnwritable and OutputFull with
    path and cause. A write that fails leaves nothing of its track and everything of those before.
    """

    def __init__(
        self, out: Path, *, overwrite: bool = False, jpeg_quality: int = 95, embeddings: bool = False
    ) -> None:
        if not 1 <= jpeg_quality <= 100:
            raise ValueError(f"expected 1 <= jpeg_quality <= 100, got {jpeg_quality}")
        self._out = out
        self._jpeg_quality = jpeg_quality
        self._embeddings = embeddings
        self._written: set[int] = set()
        self._shot_count = 0
        make_folder(out)
        with naming(out):
            _make_way(out, overwrite=overwrite)
            (out / IMAGES).mkdir(FOLDER_MODE, exist_ok=True)
        self._tracks = LineFile(out / TRACKS)
        try:
            self._shots = LineFile(out / SHOTS)
        except BaseException:
            self._tracks.close()
            raise

    def write(self, result: TrackResult) -> None:
        """Write a finished track. Raises ValueError if that track was written before."""
        track = result.summary.track
        if track < 0 or track in self._written:
            raise ValueError(f"expected a track ≥ 0 that was not written yet, got {track}")
        track_line, shot_lines = records(result, embedding=self._embeddings)
        before = self._shots.size, self._tracks.size
        try:
            self._write_images(track, result.shots)
            for shot in shot_lines:
                self._shots.append(shot.line())
            self._tracks.append(track_line.line())
        except BaseException:
            self._shots.truncate(before[0])
            self._tracks.truncate(before[1])
            _remove_images(self._out / IMAGES / str(track))
            raise
        self._written.add(track)
        self._shot_count += len(result.shots)

    def finish(self, run: Mapping[str, Any]) -> Path:
        """Close, write run.json and report.html, and return the report's path.

        run: JSON values only. `counts` gets the tracks and shots written; docs/results.md lists what the
        report reads. Call it however the run ended; without it the tracks stay readable, with no report.
        """
        self.close()
        counts = {**run.get("counts", {}), "tracks": len(self._written), "shots": self._shot_count}
        whole = {"schema": "facesieve.run/1", **run, "counts": counts}
        text = printable(json.dumps(whole, indent=2, allow_nan=False, ensure_ascii=False)) + "\n"
        write_whole(self._out / RUN, text.encode(), durable=True)
        return render_report(self._out)

    def close(self) -> None:
        """Give the line files their final names."""
        try:
            self._shots.close()
        finally:
            self._tracks.close()

    def _write_images(self, track: int, shots: tuple[BestShot, ...]) -> None:
        if not shots:
            return
        folder = self._out / IMAGES / str(track)
        with naming(folder):
            folder.mkdir(FOLDER_MODE, exist_ok=True)
        if folder.is_symlink():
            raise OutputUnwritable(f"{str(folder)!r} is a link: facesieve does not write through it")
        for shot in shots:
            portrait, chip = shot_files(track, shot.rank)
            if shot.crop.portrait is not None:
                write_whole(self._out / portrait, self._jpeg(shot.crop.portrait))
            write_whole(self._out / chip, _encoded(".png", shot.crop.chip, []))

    def _jpeg(self, image: U8) -> bytes:
        # 4:4:4, because the face was cut at an odd place: halving its colour again would smear it
        options = [cv2.IMWRITE_JPEG_QUALITY, self._jpeg_quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        return _encoded(".jpg", image, options)


def _encoded(kind: str, image: U8, options: list[int]) -> bytes:
    done, data = cv2.imencode(kind, np.ascontiguousarray(image[..., ::-1]), options)
    if not done:
        raise ValueError(f"expected an image that encodes as {kind}, got {image.shape} {image.dtype}")
    return bytes(data)


def _make_way(out: Path, *, overwrite: bool) -> None:
    """See that out holds no results; with overwrite, remove those that facesieve wrote."""
    present = [path for name in _FILES if _exists(path := out / name)]
    images = out / IMAGES
    if _exists(images):
        present.append(images)
    if not present:
        return
    if not overwrite:
        raise OutputExists(
            f"{str(out)!r} holds results already ({present[0].name}): choose another folder or overwrite"
        )
    for path in present:  # all are looked at before the first goes
        _check_ours(path)
    for path in present:
        if path == images:
            for track in _track_folders(images):
                _remove_images(track)
        else:
            path.unlink()


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _check_ours(path: Path) -> None:
    """Raise unless path is a folder of images or a file that begins as those of facesieve do."""
    if path.is_symlink():
        raise OutputUnwritable(f"{str(path)!r} is a link: facesieve writes none and overwrites none")
    if path.name == IMAGES and path.is_dir():
        return
    if not path.is_file():
        raise OutputUnwritable(f"expected a file of facesieve to overwrite, {str(path)!r} is none")
    with path.open("rb") as file:
        start = file.read(256)
    if start and _MARK not in start:
        raise OutputUnwritable(f"{str(path)!r} was not written by facesieve: it is not overwritten")
    if path.suffix == PART and is_locked(path):
        raise OutputExists(f"{str(path)!r} is being written by another run")


def _track_folders(images: Path) -> list[Path]:
    return [p for p in images.iterdir() if _TRACK_FOLDER.fullmatch(p.name) and _is_own_folder(p)]


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove_images(folder: Path) -> None:
    """Remove a track's images, and its folder if nothing else is in it."""
    if not _is_own_folder(folder):
        return
    for path in folder.iterdir():
        if _IMAGE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
