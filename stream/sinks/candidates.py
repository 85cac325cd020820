"""All scored candidates of a run in one zip file; docs/results.md describes it.

The file grows chip by chip while the run goes on: of the candidates only the sheet being filled is in memory,
of the tracks only the places of their shots.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NamedTuple

import cv2
import numpy as np
from pydantic import Field, ValidationError

from ..candidates import ticks
from ..errors import OutputExists, SourceMissing, SourceUnreadable
from ..ports import Closing
from ..types import CHIP_PX, U8, Crop, Quality, Rejection, TrackResult
from .files import FILE_MODE, PART, naming
from .records import Record, decimals, significant

CANDIDATES = "candidates.zip"
ABOUT, LINES = "about.json", "candidates.jsonl"
COLUMNS = 8
SHEET_CHIPS = COLUMNS * COLUMNS
_ABOUT = {"schema": "facesieve.candidates/1", "chip_px": CHIP_PX, "columns": COLUMNS, "rows": COLUMNS}
_ROW = struct.Struct("<qqdddb")  # track, frame, pts_s, score, eye distance, refusal
_REASONS = tuple(Rejection)
_MOST_BYTES, _MOST_SWELL = 1 << 24, 64
"""Of a member that is read: lines of a run shrink to about a twelfth, those of a bomb to a thousandth."""
_NOT_REFUSED = -1


class CandidateRecord(Record):
    """A scored candidate. rank: of the shot it became, else 0. rejected: why it became none, else None.

    rejected is also None where the run broke off before the track's end was known.
    """

    format: Literal["facesieve.candidate/1"] = Field(alias="schema")
    track: int = Field(ge=0)
    frame_index: int
    pts_s: float
    score: float | None
    eye_distance_px: float
    rank: int = Field(ge=0)
    rejected: str | None


class _Settled(NamedTuple):
    """What became of a window of a track. last: ticks of its last detection. shots: (frame, ticks) of each,
    best first."""

    last: int
    shots: tuple[tuple[int, int], ...]
    short: bool


class CandidateArchive(Closing):
    """Writes `candidates.zip`: implements CandidateSink; finish() puts the file in its place.

    out: a folder that is there. min_gap_s: the selection's, to tell near duplicates from the outscored.
    close() without finish() removes what was begun. Equal candidates give equal bytes; the file is its
    owner's only. Raises OutputExists where a part is there, OutputUnwritable and OutputFull with the path.
    """

    def __init__(self, out: Path, *, min_gap_s: float) -> None:
        self._path, self._part = out / CANDIDATES, out / (CANDIDATES + PART)
        self._gap = ticks(min_gap_s)
        self._sheet = np.zeros((COLUMNS * CHIP_PX, COLUMNS * CHIP_PX, 3), np.uint8)
        self._count = 0
        self._settled: dict[int, list[_Settled]] = {}
        self._open = True
        with naming(self._part):
            try:
                fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            except FileExistsError:
                raise OutputExists(f"{str(self._part)!r} is there already: another run writes here") from None
            self._file: IO[bytes] = os.fdopen(fd, "w+b")
            self._rows: IO[bytes] = tempfile.TemporaryFile(dir=out)  # noqa: SIM115 - closed with the archive
            self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
            self._zip.writestr(_member(ABOUT), json.dumps(_ABOUT, separators=(",", ":")))

    def offer(self, crop: Crop, quality: Quality, refused: Rejection | None) -> None:
        """Add a scored candidate."""
        place = self._count % SHEET_CHIPS
        y, x = place // COLUMNS * CHIP_PX, place % COLUMNS * CHIP_PX
        self._sheet[y : y + CHIP_PX, x : x + CHIP_PX] = crop.chip
        reason = _NOT_REFUSED if refused is None else _REASONS.index(refused)
        row = (crop.track, crop.frame_index, crop.pts_s, quality.score, crop.eye_distance_px, reason)
        with naming(self._part):
            self._rows.write(_ROW.pack(*row))
            self._count += 1
            if place == SHEET_CHIPS - 1:
                self._write_sheet()

    def settle(self, result: TrackResult) -> None:
        """Note which candidates of a track, or of a window of it, were kept, now that it has ended."""
        summary = result.summary
        shots = tuple((s.crop.frame_index, ticks(s.crop.pts_s)) for s in result.shots)
        short = Rejection.SHORT_TRACK in summary.rejected
        windows = self._settled.setdefault(summary.track, [])
        windows.append(_Settled(ticks(summary.last_pts_s), shots, short))

    def finish(self) -> Path:
        """Write what is left and the index, and give the file its name."""
        with naming(self._part):
            if self._count % SHEET_CHIPS:
                self._write_sheet()
            index = _member(LINES)
            index.compress_type = zipfile.ZIP_DEFLATED
            with self._zip.open(index, "w", force_zip64=True) as member:
                for line in self._lines():
                    member.write(line.encode() + b"\n")
            self._zip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._part.replace(self._path)
            self._release()
        return self._path

    def close(self) -> None:
        """Let go; a file that was not finished is removed."""
        if self._open:
            self._part.unlink(missing_ok=True)
            self._release()

    def _release(self) -> None:
        self._open = False
        # A ZipFile that was not closed would write its directory when it is collected: to a full disk, maybe.
        self._zip.fp = None
        for file in (self._rows, self._file):
            with contextlib.suppress(OSError):  # a full disk again; what is finished was synced before
                file.close()

    def _write_sheet(self) -> None:
        used = (self._count - 1) % SHEET_CHIPS + 1
        rows = math.ceil(used / COLUMNS)
        done, data = cv2.imencode(".png", self._sheet[: rows * CHIP_PX, :, ::-1])
        if not done:
            raise ValueError(f"expected a sheet that encodes as PNG, got {self._sheet.shape}")
        self._zip.writestr(_member(_sheet_name((self._count - 1) // SHEET_CHIPS)), data.tobytes())
        self._sheet[:] = 0

    def _lines(self) -> Iterator[str]:
        self._rows.seek(0)
        while data := self._rows.read(_ROW.size):
            track, frame, pts_s, score, eyes, reason = _ROW.unpack(data)
            rank, rejected = self._fate(track, frame, pts_s, reason)
            fields = {
                "schema": "facesieve.candidate/1",
                "track": track,
                "frame_index": frame,
                "pts_s": decimals(pts_s, 6),
                "score": significant(score) if math.isfinite(score) else None,
                "eye_distance_px": decimals(eyes, 2),
                "rank": rank,
                "rejected": None if rejected is None else str(rejected),
            }
            yield CandidateRecord.model_validate(fields).line()

    def _fate(self, track: int, frame: int, pts_s: float, reason: int) -> tuple[int, Rejection | None]:
        """The rank of the shot that a candidate became, or 0 and why it became none."""
        if reason != _NOT_REFUSED:
            return 0, _REASONS[reason]
        at, windows = ticks(pts_s), self._settled.get(track, [])
        number = next((i for i, window in enumerate(windows) if at <= window.last), None)
        if number is None:
            return 0, None
        window = windows[number]
        if window.short:
            return 0, Rejection.SHORT_TRACK
        for rank, shot in enumerate(window.shots, 1):
            if shot == (frame, at):
                return rank, None
        near = any(abs(at - other) < self._gap for known in windows[: number + 1] for _, other in known.shots)
        return 0, Rejection.NEAR_DUPLICATE if near else Rejection.OUTSCORED


@dataclass(frozen=True, slots=True)
class KeptCandidates:
    """The candidates of a run: records in the order in which they were scored, chips on demand."""

    path: Path
    records: tuple[CandidateRecord, ...]

    def chips(self, rows: list[int]) -> U8:
        """(len(rows), 112, 112, 3) RGB of those records; each sheet is decoded once."""
        out = np.empty((len(rows), CHIP_PX, CHIP_PX, 3), np.uint8)
        by_sheet: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            by_sheet.setdefault(row // SHEET_CHIPS, []).append(place)
        with _reading(self.path) as archive:
            for number, places in sorted(by_sheet.items()):
                sheet = self._sheet(archive, number)
                for place in places:
                    cell = rows[place] % SHEET_CHIPS
                    y, x = cell // COLUMNS * CHIP_PX, cell % COLUMNS * CHIP_PX
                    out[place] = sheet[y : y + CHIP_PX, x : x + CHIP_PX]
        return out

    def _sheet(self, archive: zipfile.ZipFile, number: int) -> U8:
        """One sheet as RGB; its size is looked at before it is decoded."""
        name = _sheet_name(number)
        cells = min(SHEET_CHIPS, len(self.records) - number * SHEET_CHIPS)
        shape = (math.ceil(cells / COLUMNS) * CHIP_PX, COLUMNS * CHIP_PX, 3)
        data = _unpacked(self.path, archive, name)
        size = struct.unpack(">II", data[16:24])[::-1] if len(data) >= 24 else None
        sheet = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if size == shape[:2] else None
        if sheet is None or sheet.shape != shape:
            raise SourceUnreadable(
                f"{str(self.path)!r}: {name}: expected a PNG of {shape[1]}×{shape[0]} px, got {size}"
            )
        return np.asarray(sheet[..., ::-1], np.uint8)


def read_candidates(folder: Path) -> KeptCandidates:
    """The candidates that a run with `--keep-candidates` left in folder.

    Raises SourceMissing where there are none, SourceUnreadable naming file, member and line.
    """
    path = folder / CANDIDATES
    if not path.is_file():
        raise SourceMissing(
            f"expected {CANDIDATES} in {str(folder)!r}: `facesieve run --keep-candidates` writes it"
        )
    with _reading(path) as archive:
        try:
            about = json.loads(_unpacked(path, archive, ABOUT))
        except ValueError as error:
            raise SourceUnreadable(f"{str(path)!r}: {ABOUT}: {error}") from error
        if about != _ABOUT:
            raise SourceUnreadable(f"{str(path)!r}: expected {_ABOUT}, got {about}")
        lines = _unpacked(path, archive, LINES).splitlines()
    return KeptCandidates(path, tuple(_record(path, n, line) for n, line in enumerate(lines, 1)))


def _record(path: Path, number: int, line: bytes) -> CandidateRecord:
    try:
        return CandidateRecord.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SourceUnreadable(
            f"{str(path)!r}: {LINES} line {number}: {field or 'JSON'}: {first['msg']}"
        ) from error


def _reading(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceUnreadable(f"{str(path)!r}: {error}") from error


def _unpacked(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's content, unless it swells beyond what a run writes. Raises SourceUnreadable naming it."""
    try:
        info = archive.getinfo(name)
        most = max(_MOST_BYTES, _MOST_SWELL * info.compress_size)
        if info.file_size > most:
            raise SourceUnreadable(
                f"{str(path)!r}: {name}: expected at most {most} bytes, got {info.file_size} unpacked"
            )
        return archive.read(info)
    except (KeyError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise SourceUnreadable(f"{str(path)!r}: {name}: {error}") from error


def _sheet_name(number: int) -> str:
    return f"chips/{number:06d}.png"


def _member(name: str) -> zipfile.ZipInfo:
    """A member without a time of making, so that equal runs give equal bytes."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, FILE_MODE << 16
    return info
