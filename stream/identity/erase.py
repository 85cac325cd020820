"""Take people out of the folders of results, not only out of the store."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SourceUnreadable
from ..sinks.boxes import BOXES
from ..sinks.candidates import CANDIDATES
from ..sinks.files import naming, write_whole
from ..sinks.report import render_report
from ..sinks.revisions import REVISIONS
from .records import IDENTITIES
from .rows import ShotRow, TrackRow
from .store import IdentityStore

SHOTS, TRACKS, REPORT = "shots.jsonl", "tracks.jsonl", "report.html"
OF_ALL = (CANDIDATES, "validation.json", "validation.html")
"""Files that hold everyone's faces and cannot be thinned out: they go whole."""
_PICTURE = re.compile(r"shots/\d+(-w\d+)?/r?\d+(\.jpg|_chip\.png)")
_STORED = re.compile(r"[A-Za-z0-9._/-]{1,200}\.(?:jpg|png)(?:\.enc)?")
Place = tuple[str, int]
"""(folder below the root of results, track)."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is to go from one root of results.

    identities: people; others: tracks that are somebody else's by now, whatever their lines say. tracks:
    with all their shots. shots: (folder, track, window, rank), single ones.
    """

    identities: frozenset[int] = frozenset()
    others: frozenset[Place] = frozenset()
    tracks: frozenset[Place] = frozenset()
    shots: frozenset[tuple[str, int, int, int]] = frozenset()

    def takes_track(self, folder: str, line: Mapping[str, Any]) -> bool:
        """Whether a line of that folder, of whatever file, is of a track that goes."""
        place = folder, line.get("track", -1)
        return place in self.tracks or (line.get("identity") in self.identities and place not in self.others)

    def takes_shot(self, folder: str, line: Mapping[str, Any]) -> bool:
        """Whether a line of shots.jsonl goes."""
        place = folder, line.get("track", -1), line.get("window", 0), line.get("rank", -1)
        return place in self.shots or self.takes_track(folder, line)


@dataclass(slots=True)
class Erased:
    """What went: tracks and shots of the store; pictures, lines, and names of files that went whole."""

    tracks: int = 0
    shots: int = 0
    pictures: int = 0
    lines: int = 0
    whole: list[str] = field(default_factory=list)


def erase_person(store: IdentityStore, identity: int) -> Erased:
    """All files of a person, in every folder of results that the store wrote, and those of live cameras; its
    rows are not touched."""
    erased = Erased()
    for track in store.tracks(identity=identity):
        erase_live(track, store.shots(track.row), erased)
    everyone = frozenset([identity, *store.merged_from(identity)])
    for out, folders in _roots(store).items():
        ours: set[Place] = set()
        others: set[Place] = set()
        for track in store.tracks():
            if track.out == str(out):
                (ours if track.identity == identity else others).add((track.folder, track.track))
        erase(out, folders, Erasure(everyone, frozenset(others), frozenset(ours)), erased)
    return erased


def erase_live(track: TrackRow, shots: Sequence[ShotRow], erased: Erased) -> None:
    """Pictures of a live camera's track, where this machine has them: their folder is of one run of the
    service, so nobody has taken it over since. Raises OutputError."""
    for name in (name for shot in shots for name in (shot.chip, shot.portrait)):
        path = stored_picture(track, name) if track.live is not None else None
        if path is not None:
            with naming(path):
                path.unlink(missing_ok=True)
            erased.pictures += 1


def stored_picture(track: TrackRow, name: str | None) -> Path | None:
    """A picture that a store names, if it is a file below the folder of the track's results."""
    if name is None or not _STORED.fullmatch(name):
        return None
    root = (Path(track.out) / track.folder).resolve()
    path = (root / name).resolve()
    inside = root.is_relative_to(Path(track.out).resolve()) and path.is_relative_to(root)
    return path if inside and path.is_file() else None


def erase(out: Path, folders: list[str], what: Erasure, erased: Erased) -> None:
    """Pictures and lines below one root of results; its reports are made again. What is missing is passed
    over; OutputError or SourceUnreadable names what cannot be read or written."""
    touched = False
    for folder in folders:
        touched |= _erase_in(out / folder, folder, what, erased)
    people = out / IDENTITIES
    if people.is_file() and not people.is_symlink():
        touched |= _rewrite(people, lambda line: _without(line, what), erased)
    if touched and (out / REPORT).is_file():
        render_report(out)


def _erase_in(root: Path, folder: str, what: Erasure, erased: Erased) -> bool:
    """One source's folder; whether anything went."""
    if not (root / SHOTS).is_file():
        return False
    lines = _Lines(root, folder, what, erased)
    changed = _rewrite(root / SHOTS, lines.shot, erased)
    changed |= _rewrite(root / TRACKS, lines.track, erased)
    for name in (REVISIONS, BOXES) if lines.gone else ():
        changed |= _rewrite(root / name, lines.of_gone, erased)
    if changed:
        for path in (root / name for name in OF_ALL):
            if path.is_file():
                with naming(path):
                    path.unlink()
                erased.whole.append(str(path))
        if (root / REPORT).is_file():
            render_report(root)
    return changed


class _Lines:
    """What becomes of each line of one source's files: itself, less, or None."""

    def __init__(self, root: Path, folder: str, what: Erasure, erased: Erased) -> None:
        self._root, self._folder, self._what, self._erased = root, folder, what, erased
        self.gone: set[int] = set()

    def shot(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """Of shots.jsonl; its pictures go with it."""
        if not self._what.takes_shot(self._folder, line):
            return line
        _remove_pictures(self._root, line, self._erased)
        return None

    def track(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """Of tracks.jsonl; tracks that went are remembered."""
        if not self._what.takes_track(self._folder, line):
            return line
        self.gone.add(int(line.get("track", -1)))
        return None

    def of_gone(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """Of revisions.jsonl or boxes.jsonl, by the tracks that went."""
        if isinstance(line.get("tracks"), list):
            return _boxes_without(line, self.gone)
        if line.get("track") not in self.gone:
            return line
        _remove_pictures(self._root, line.get("shot", {}), self._erased)
        return None


def _rewrite(path: Path, keep: Callable[[dict[str, Any]], dict[str, Any] | None], erased: Erased) -> bool:
    """Lines through keep; None drops one. The file is replaced only if something changed."""
    kept: list[str] = []
    changed = False
    if not path.is_file():
        return False
    try:
        lines = path.read_text("utf-8").splitlines()
        for text in lines:
            line = json.loads(text)
            left = keep(line)
            if left is None:
                erased.lines += 1
            else:
                kept.append(text if left is line else json.dumps(left, separators=(",", ":")))
            changed |= left is not line
    except (OSError, ValueError) as error:
        raise SourceUnreadable(f"cannot take anyone out of {str(path)!r}: {error}") from error
    if changed:
        write_whole(path, "".join(text + "\n" for text in kept).encode(), durable=True)
    return changed


def _remove_pictures(root: Path, line: Mapping[str, Any], erased: Erased) -> None:
    """The portrait and the chip that a line names, if they are where facesieve puts them."""
    for key in ("portrait", "chip"):
        name = line.get(key)
        if not isinstance(name, str) or not _PICTURE.fullmatch(name):
            continue
        path = root / name
        if path.parent.is_symlink() or not path.is_file():
            continue
        with naming(path):
            path.unlink()
            erased.pictures += 1
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


def _boxes_without(line: dict[str, Any], gone: set[int]) -> dict[str, Any] | None:
    """A frame's boxes less those of tracks that went; the lists of a line run in parallel."""
    rest = [i for i, track in enumerate(line["tracks"]) if track not in gone]
    if len(rest) == len(line["tracks"]):
        return line
    thinned = {key: [line[key][i] for i in rest] for key in ("tracks", "boxes", "scores", "landmarks")}
    return {**line, **thinned} if rest else None


def _without(line: dict[str, Any], what: Erasure) -> dict[str, Any] | None:
    """A line of identities.jsonl less what goes; None if nothing of it is left."""
    if line.get("identity") in what.identities:
        return None
    tracks = [t for t in line["tracks"] if (t["folder"], t["track"]) not in what.tracks]
    shots = [
        s
        for s in line["shots"]
        if (s["folder"], s["track"]) not in what.tracks
        and (s["folder"], s["track"], s["window"], s["rank"]) not in what.shots
    ]
    if not tracks:
        return None
    if len(tracks) == len(line["tracks"]) and len(shots) == len(line["shots"]):
        return line
    return {**line, "tracks": tracks, "shots": shots}


def _roots(store: IdentityStore) -> dict[Path, list[str]]:
    """Folders of results by their root: those that this store wrote last."""
    roots: dict[Path, list[str]] = {}
    for out, folder in store.results():
        roots.setdefault(Path(out), []).append(folder)
    return {out: folders for out, folders in roots.items() if is_of(out / IDENTITIES, store.name)}


def is_of(path: Path, name: str) -> bool:
    """Whether identities.jsonl was written from this store: another run may have taken the folder since, with
    ids that name other people."""
    try:
        with path.open(encoding="utf-8") as file:
            return bool(json.loads(file.readline() or "{}").get("store") == name)
    except (OSError, ValueError):
        return False
