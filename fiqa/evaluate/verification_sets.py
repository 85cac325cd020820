"""Published lists of image pairs: LFW and XQLFW, CALFW and CPLFW, CFP, and packed `.bin` sets."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from ...stream.errors import SourceMissing, SourceUnreadable
from ...stream.types import F32
from ..faces import inside
from .datasets import IMAGES, Dataset, FaceImage, damaged, pair_list, read_text
from .packed import read_packed


class _Rows:
    """Numbers images in the order in which pairs name them."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.images: list[FaceImage] = []
        self.people: list[str] = []

    def row(self, file: str, image: FaceImage, person: str) -> int:
        row = self.files.setdefault(file, len(self.images))
        if row == len(self.images):
            self.images.append(image)
            self.people.append(person)
        return row

    def dataset(self, name: str, layout: str, pairs: list[tuple[int, int, bool]], path: Path) -> Dataset:
        files = tuple(self.files)
        return Dataset(
            name,
            layout,
            files,
            tuple(self.images),
            np.array(self.people),
            np.array(files),
            pair_list(pairs, path),
        )


def lfw(listing: Path) -> Dataset:
    """pairs.txt of LFW or XQLFW, the images beside it or one folder down: Name/Name_0001.jpg.

    First line: folds and matched pairs a fold (or only the latter); then per fold matched lines `name n1 n2`
    and mismatched ones `name1 n1 name2 n2`.
    """
    lines = read_text(listing)
    first = 1 if all(part.isdigit() for part in lines[0].split()) else 0
    rows, pairs, root = _Rows(), [], _lfw_root(listing, lines[first:])
    for number, line in enumerate(lines[first:], first + 1):
        match line.split():
            case [name, one, two] if one.isdigit() and two.isdigit():
                ends = ((name, int(one)), (name, int(two)))
            case [name, one, other, two] if one.isdigit() and two.isdigit():
                ends = ((name, int(one)), (other, int(two)))
            case _:
                raise damaged(listing, number, "`name n1 n2` or `name1 n1 name2 n2`", line)
        a, b = (_lfw_row(rows, root, *end) for end in ends)
        pairs.append((a, b, ends[0][0] == ends[1][0]))
    _check_header(listing, lines[0] if first else "", pairs)
    return rows.dataset(listing.parent.name, "LFW pairs", pairs, listing)


def _check_header(listing: Path, header: str, pairs: list[tuple[int, int, bool]]) -> None:
    numbers = [int(part) for part in header.split()]
    expected = 2 * int(np.prod(numbers)) if numbers else len(pairs)
    if expected != len(pairs):
        raise SourceUnreadable(
            f"expected {expected} pairs after the first line {header!r}, got {len(pairs)}: {listing}"
        )


def _lfw_root(listing: Path, lines: list[str]) -> Path:
    name = lines[0].split()[0] if lines else ""
    below = sorted(p for p in listing.parent.iterdir() if p.is_dir())
    nested = sorted(q for p in below for q in p.iterdir() if q.is_dir())
    for folder in (listing.parent, *below, *nested):
        if (folder / name).is_dir() and folder.name != name:
            return folder
    raise SourceMissing(f"expected the images {name}/{name}_0001.jpg … beside {listing}, or one folder down")


def _lfw_row(rows: _Rows, root: Path, name: str, number: int) -> int:
    stem = f"{name}/{name}_{number:04d}"
    found = next((root / f"{stem}{end}" for end in IMAGES if (root / f"{stem}{end}").is_file()), None)
    path = found or root / f"{stem}.jpg"
    if "/" in name or ".." in name or not path.is_file():
        raise SourceMissing(f"expected an image at {path}")
    return rows.row(f"{name}/{path.name}", FaceImage(path), name)


def cross_lfw(listing: Path) -> Dataset:
    """pairs_CALFW.txt or pairs_CPLFW.txt: two lines a pair, `file tag`; tag 0 for different people, else the
    fold.

    The images lie in folders below; `NAME_5loc_attri.txt` (five lines `x y`) belongs to the original image,
    not to the one in `aligned images`.
    """
    root = listing.parent
    originals: dict[str, Path] = {}
    aligned: dict[str, Path] = {}
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGES):
        (aligned if "aligned" in path.parent.name else originals).setdefault(path.name, path)
    points = {p.name.removesuffix("_5loc_attri.txt"): p for p in sorted(root.rglob("*_5loc_attri.txt"))}
    lines = read_text(listing)
    rows, pairs, ends = _Rows(), [], []
    for number, line in enumerate(lines, 1):
        file, _, tag = line.strip().rpartition(" ")
        file = file.strip()
        if not file or not tag.isdigit():
            raise damaged(listing, number, "`file tag`", line)
        original, stem = originals.get(file), file.rpartition(".")[0]
        if original is not None and (stem in points or file not in aligned):
            image = FaceImage(original, _five_points(points[stem]) if stem in points else None)
        elif file in aligned:
            image = FaceImage(aligned[file])
        else:
            raise SourceMissing(f"expected an image {file} below {root}, named in line {number} of {listing}")
        ends.append((rows.row(file, image, re.sub(r"_\d+$", "", stem)), tag))
    if len(ends) % 2 or any(a[1] != b[1] for a, b in zip(ends[::2], ends[1::2], strict=True)):
        raise SourceUnreadable(f"expected two lines of one tag for each pair in {listing}")
    pairs = [(a[0], b[0], a[1] != "0") for a, b in zip(ends[::2], ends[1::2], strict=True)]
    return rows.dataset(root.name, listing.stem.removeprefix("pairs_"), pairs, listing)


def _five_points(path: Path) -> F32:
    try:
        points = np.array([[float(v) for v in line.split()] for line in read_text(path)], np.float32)
    except ValueError as damage:
        raise SourceUnreadable(f"expected five lines `x y` in {path}: {damage}") from damage
    if points.shape != (5, 2):
        raise SourceUnreadable(f"expected five lines `x y` in {path}, got {points.shape}")
    return points


def cfp(root: Path, protocol: str = "FP") -> Dataset:
    """CFP: Protocol/Pair_list_F.txt and _P.txt (`number path`), Protocol/Split/FP/01…10/{same,diff}.txt
    (`i,j`, from 1: i frontal, j profile; in FF both frontal)."""
    lists = {kind: _cfp_images(root, root / "Protocol" / f"Pair_list_{kind}.txt") for kind in "FP"}
    split = root / "Protocol" / "Split" / protocol
    folds = sorted(p for p in split.iterdir() if p.is_dir()) if split.is_dir() else []
    if not folds:
        raise SourceMissing(f"expected folds 01 … 10 in {split}")
    rows, pairs = _Rows(), []
    for listing in (fold / file for fold in folds for file in ("same.txt", "diff.txt")):
        for number, line in enumerate(read_text(listing), 1):
            numbers = [part.strip() for part in line.split(",")]
            if len(numbers) != 2 or not all(n.isdigit() for n in numbers):
                raise damaged(listing, number, "`i,j`", line)
            ends = []
            for kind, at in zip(protocol, numbers, strict=True):
                path = lists[kind].get(int(at))
                if path is None:
                    raise damaged(listing, number, f"numbers in Pair_list_{kind}.txt", line)
                person = path.parent.parent.name
                ends.append(rows.row("/".join(path.parts[-3:]), FaceImage(path), person))
            pairs.append((ends[0], ends[1], listing.name == "same.txt"))
    return rows.dataset(root.name, f"CFP-{protocol}", pairs, split)


def _cfp_images(root: Path, listing: Path) -> dict[int, Path]:
    """Paths are relative to the list's folder: ../Data/Images/001/frontal/01.jpg."""
    images = {}
    for number, line in enumerate(read_text(listing), 1):
        match line.split():
            case [at, path] if at.isdigit():
                below = os.path.normpath(Path("Protocol", path))
                images[int(at)] = inside(root, below)
            case _:
                raise damaged(listing, number, "`number path`", line)
    return images


def packed(path: Path) -> Dataset:
    """A `.bin` of insightface: pairs of encoded chips without names of people."""
    images, same = read_packed(path)
    files = tuple(f"{path.stem}/{i:06d}" for i in range(len(images)))
    people = [f"pair {i // 2}" if same[i // 2] else f"pair {i // 2}, {i % 2}" for i in range(len(images))]
    pairs = [(2 * i, 2 * i + 1, bool(flag)) for i, flag in enumerate(same)]
    return Dataset(
        path.stem,
        "packed pairs",
        files,
        tuple(FaceImage(image) for image in images),
        np.array(people),
        np.array(files),
        pair_list(pairs, path),
        unit="pairs",
    )
