"""Results as files in a folder; docs/results.md describes each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import OutputExists, OutputUnwritable
from ..ports import Closing
from ..types import Crop, ShotRevision, TrackEnd, TrackResult
from .boxes import BOXES
from .candidates import CANDIDATES
from .encode import jpeg, png
from .files import FOLDER_MODE, PART, LineFile, check_ours, is_locked, make_folder, naming, write_whole
from .records import printable, records, shot_files
from .report import render_report
from .revisions import REVISIONS, revision_files, revision_record

SHOTS, TRACKS, RUN, REPORT, IMAGES = "shots.jsonl", "tracks.jsonl", "run.json", "report.html", "shots"
VALIDATION = ("validation.json", "validation.html")
"""What `facesieve validate` adds to a run's folder."""
_NAMES = (SHOTS, TRACKS, RUN, REPORT, REVISIONS, CANDIDATES, BOXES, *VALIDATION)
_FILES = tuple(name + end for name in _NAMES for end in ("", PART))
_TRACK_FOLDER = re.compile(r"\d+(-w\d+)?")
_IMAGE = re.compile(r"r?\d+(\.jpg|_chip\.png)(\.part)?")


class FolderSink(Closing):
    """Writes each track's shots as it ends: images first, then its lines, so that a line's images exist.

    out: made if it is not there, open to its owner only (faces are personal data), as is every file in it.
    overwrite: remove an earlier run's results first; only files of facesieve's own names and making are
    removed, and links are never followed. jpeg_quality: of the portraits, 1–100; chips are lossless.
    embeddings: also write each shot's embedding. It is a biometric template, so it is left out unless asked.
    revisions: also write revisions.jsonl, for what revise() is given.

    Raises OutputExists if results are there and overwrite is not set, OutputUnwritable and OutputFull with
    path and cause. A write that fails leaves nothing of its track and everything of those before.
    """

    def __init__(
        self,
        out: Path,
        *,
        overwrite: bool = False,
        jpeg_quality: int = 95,
        embeddings: bool = False,
        revisions: bool = False,
    ) -> None:
        if not 1 <= jpeg_quality <= 100:
            raise ValueError(f"expected 1 <= jpeg_quality <= 100, got {jpeg_quality}")
        self._out = out
        self._jpeg_quality = jpeg_quality
        self._embeddings = embeddings
        self._written: set[tuple[int, int]] = set()
        self._track_count = self._shot_count = 0
        make_folder(out)
        with naming(out):
            _make_way(out, overwrite=overwrite)
            (out / IMAGES).mkdir(FOLDER_MODE, exist_ok=True)
        names = [TRACKS, SHOTS, *([REVISIONS] if revisions else [])]
        with ExitStack() as opened:
            lines = [opened.enter_context(LineFile(out / name)) for name in names]
            self._files = opened.pop_all()
        self._tracks, self._shots = lines[:2]
        self._revisions = lines[2] if revisions else None

    def write(self, result: TrackResult) -> None:
        """Write a finished track or window. Raises ValueError if it was written before."""
        track, window = result.summary.track, result.summary.window
        if track < 0 or (track, window) in self._written:
            raise ValueError(f"expected a track ≥ 0 that was not written yet, got {track}, window {window}")
        track_line, shot_lines = records(result, embedding=self._embeddings)
        before = self._shots.size, self._tracks.size
        try:
            for shot in result.shots:
                self._write_images(shot_files(track, shot.rank, window), shot.crop)
            for line in shot_lines:
                self._shots.append(line.line())
            self._tracks.append(track_line.line())
        except BaseException:
            self._shots.truncate(before[0])
            self._tracks.truncate(before[1])
            for shot in result.shots:
                self._remove_images(shot_files(track, shot.rank, window))
            raise
        self._written.add((track, window))
        self._track_count += result.summary.end is not TrackEnd.WINDOW
        self._shot_count += len(result.shots)

    def revise(self, revision: ShotRevision) -> None:
        """Write a shot that is told early, images first. Raises ValueError without `revisions`."""
        if self._revisions is None:
            raise ValueError("expected a FolderSink(…, revisions=True) for shots that are told early")
        files = revision_files(revision.track, revision.revision, revision.window)
        try:
            self._write_images(files, revision.shot.crop)
            self._revisions.append(revision_record(revision, embedding=self._embeddings).line())
        except BaseException:
            self._remove_images(files)
            raise

    def finish(self, run: Mapping[str, Any]) -> Path:
        """Close, write run.json and report.html, and return the report's path.

        run: JSON values only. `counts` gets the tracks and shots written; docs/results.md lists what the
        report reads. Call it however the run ended; without it the tracks stay readable, with no report.
        """
        self.close()
        counts = {**run.get("counts", {}), "tracks": self._track_count, "shots": self._shot_count}
        whole = {"schema": "facesieve.run/1", **run, "counts": counts}
        text = printable(json.dumps(whole, indent=2, allow_nan=False, ensure_ascii=False)) + "\n"
        write_whole(self._out / RUN, text.encode(), durable=True)
        return render_report(self._out)

    def close(self) -> None:
        """Give the line files their final names."""
        self._files.close()

    def _write_images(self, files: tuple[str, str], crop: Crop) -> None:
        portrait, chip = (self._out / name for name in files)
        with naming(chip.parent):
            chip.parent.mkdir(FOLDER_MODE, exist_ok=True)
        if chip.parent.is_symlink():
            raise OutputUnwritable(f"{str(chip.parent)!r} is a link: facesieve does not write through it")
        if crop.portrait is not None:
            write_whole(portrait, jpeg(crop.portrait, self._jpeg_quality))
        write_whole(chip, png(crop.chip))

    def _remove_images(self, files: tuple[str, str]) -> None:
        """Take back what was written of one shot, and the folder if nothing else is in it."""
        folder = (self._out / files[0]).parent
        if not _is_own_folder(folder):
            return
        for name in files:
            (self._out / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


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
            f"{str(out)!r} holds results already ({present[0].name}): choose another folder, or --overwrite"
        )
    for path in present:  # all are looked at before the first goes
        _check_ours(path)
    for path in present:
        if path == images:
            for track in _track_folders(images):
                _remove_images(track)
        else:
            path.unlink(missing_ok=True)  # gone: another run makes way too; whose lines come first goes on


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _check_ours(path: Path) -> None:
    """Raise unless path is a folder of images, or a file of ours that no other run is writing."""
    if path.name == IMAGES and _is_own_folder(path):
        return
    check_ours(path)
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
