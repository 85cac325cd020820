"""Sets whose published comparisons are of groups of faces (IJB, YouTube Faces); and Adience."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...stream.errors import SourceMissing, SourceUnreadable
from ...stream.types import F32
from ..faces import inside
from .datasets import (
    IMAGES,
    Dataset,
    FaceImage,
    PairList,
    Templates,
    both_kinds,
    damaged,
    pair_list,
    read_text,
    read_whole,
)


def ijb(root: Path) -> Dataset:
    """IJB-B or -C as insightface publishes them.

    meta/ijbX_face_tid_mid.txt: `image template medium`; meta/ijbX_template_pair_label.txt: `template template
    0|1`; meta/ijbX_name_5pts_score.txt: `image` ten coordinates, detector score, in the order of the first;
    loose_crop/ the images. Templates joined by label 1 are one person.
    """
    listing = _only(root / "meta", "*_face_tid_mid.txt")
    prefix = listing.name.removesuffix("_face_tid_mid.txt")
    points = _ijb_points(listing.with_name(f"{prefix}_name_5pts_score.txt"))
    files, template_ids, media = [], [], []
    for number, line in enumerate(read_text(listing), 1):
        match line.split():
            case [file, template, medium] if template.isdigit() and medium.isdigit():
                files.append(file)
                template_ids.append(int(template))
                media.append(int(medium))
            case _:
                raise damaged(listing, number, "`image template medium`", line)
    if files != [file for file, _ in points]:
        raise SourceUnreadable(f"expected the images of {listing} in {prefix}_name_5pts_score.txt, in order")
    ids, of_face = np.unique(template_ids, return_inverse=True)
    order = np.argsort(of_face, kind="stable")
    rows = tuple(np.split(order, np.flatnonzero(np.diff(of_face[order])) + 1))
    pairs = _ijb_pairs(listing.with_name(f"{prefix}_template_pair_label.txt"), ids)
    person = _joined(len(ids), pairs)[of_face]
    videos = np.array([f"{template}/{medium}" for template, medium in zip(template_ids, media, strict=True)])
    # An image may stand in several templates: each place is a face of its own, named by file and template.
    return Dataset(
        root.name,
        "IJB templates",
        tuple(files),
        tuple(FaceImage(inside(root / "loose_crop", file), at) for file, at in points),
        person.astype(np.str_),
        videos,
        templates=Templates(rows, np.array(media, np.intp), pairs),
        by_template=True,
    )


def _ijb_points(path: Path) -> list[tuple[str, F32]]:
    points = []
    for number, line in enumerate(read_text(path), 1):
        file, *numbers = line.split()
        try:
            values = [float(n) for n in numbers]
        except ValueError:
            values = []
        if len(values) != 11:
            raise damaged(path, number, "`image x1 y1 … x5 y5 score`", line)
        points.append((file, np.array(values[:10], np.float32).reshape(5, 2)))
    return points


def _ijb_pairs(path: Path, ids: NDArray[np.intp]) -> PairList:
    """IJB-C has 15.6 million pairs: the text is read as one array, its lines only where that fails."""
    text = read_whole(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            table = np.fromstring(text, np.int64, sep=" ")
        except (DeprecationWarning, ValueError):
            table = np.empty(0, np.int64)
    if len(table) and len(table) % 3 == 0:
        one, two, label = table.reshape(-1, 3).T
        if np.isin(one, ids).all() and np.isin(two, ids).all() and np.isin(label, (0, 1)).all():
            pairs = PairList(np.searchsorted(ids, one), np.searchsorted(ids, two), label.astype(np.bool_))
            return both_kinds(pairs, path)
    known = set(ids.tolist())
    for number, line in enumerate(text.splitlines(), 1):
        match line.split():
            case []:
                continue
            case [a, b, "0" | "1"] if a.isdigit() and b.isdigit():
                if not {int(a), int(b)} <= known:
                    raise damaged(path, number, "templates that have faces", line)
            case _:
                raise damaged(path, number, "`template template 0|1`", line)
    raise SourceUnreadable(f"expected lines `template template 0|1` in {path}")


def _joined(count: int, pairs: PairList) -> NDArray[np.intp]:
    """(count,) number of the person of each template: components of the graph of matched pairs."""
    parent = np.arange(count, dtype=np.intp)

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for one, two in zip(pairs.first[pairs.same], pairs.second[pairs.same], strict=True):
        parent[root(int(one))] = root(int(two))
    return np.array([root(node) for node in range(count)], np.intp)


def youtube_faces(root: Path, frames: int = 5) -> Dataset:
    """YouTube Faces: splits.txt and frame_images_DB/ (or aligned_images_DB/), NAME/VIDEO/*.jpg.

    splits.txt: a line of headings, then `split, pair, NAME/VIDEO, NAME/VIDEO, 0|1`. Of each video `frames`
    evenly spaced ones are used. NAME.labeled_faces.txt, where it is there, says which face is meant:
    `NAME\\VIDEO\\file,·,x,y,w,h,·,·` with x, y the centre.
    """
    folder = next((root / f"{kind}_images_DB" for kind in ("frame", "aligned")
                   if (root / f"{kind}_images_DB").is_dir()), None)  # fmt: skip
    if folder is None:
        raise SourceMissing(f"expected frame_images_DB or aligned_images_DB in {root}")
    images: list[FaceImage] = []
    files: list[str] = []
    videos: list[str] = []
    for person in sorted(p for p in folder.iterdir() if p.is_dir()):
        boxes = _labelled_boxes(folder / f"{person.name}.labeled_faces.txt")
        for video in sorted(p for p in person.iterdir() if p.is_dir()):
            for path in _spaced(sorted(video.iterdir(), key=_frame_number), frames):
                files.append(path.relative_to(folder).as_posix())
                videos.append(f"{person.name}/{video.name}")
                images.append(FaceImage(path, box=boxes.get(files[-1])))
    if not files:
        raise SourceMissing(f"expected NAME/VIDEO/*.jpg in {folder}")
    names, of_face = np.unique(videos, return_inverse=True)
    rows = tuple(np.flatnonzero(of_face == at) for at in range(len(names)))
    pairs = _splits(root / "splits.txt", {str(name): at for at, name in enumerate(names)})
    return Dataset(
        root.name,
        "YouTube Faces",
        tuple(files),
        tuple(images),
        np.array([video.rpartition("/")[0] for video in videos]),
        np.array(videos),
        templates=Templates(rows, np.arange(len(files), dtype=np.intp), pairs),
    )


def _frame_number(path: Path) -> tuple[int, str]:
    """`0.1247.jpg` and `aligned_detect_0.1247.jpg` by 1247."""
    number = path.stem.rpartition(".")[2]
    return (int(number) if number.isdigit() else -1, path.name)


def _spaced(paths: list[Path], count: int) -> list[Path]:
    found = [path for path in paths if path.suffix.lower() in IMAGES]
    if len(found) <= count:
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, count).round().astype(int)]


def _labelled_boxes(path: Path) -> dict[str, tuple[float, float, float, float]]:
    if not path.is_file():
        return {}
    boxes = {}
    for number, line in enumerate(read_text(path), 1):
        parts = line.split(",")
        try:
            x, y, w, h = (float(v) for v in parts[2:6])
        except ValueError:
            raise damaged(path, number, "`file,·,x,y,w,h,·,·`", line) from None
        boxes[parts[0].replace("\\", "/")] = (x, y, w, h)
    return boxes


def _splits(path: Path, number_of: dict[str, int]) -> PairList:
    pairs = []
    for number, line in enumerate(read_text(path)[1:], 2):
        match [part.strip() for part in line.split(",")]:
            case [_, _, one, two, "0" | "1" as same]:
                if one not in number_of or two not in number_of:
                    raise damaged(path, number, "videos that have frames", line)
                pairs.append((number_of[one], number_of[two], same == "1"))
            case _:
                raise damaged(path, number, "`split, pair, NAME/VIDEO, NAME/VIDEO, 0|1`", line)
    return pair_list(pairs, path)


def adience(root: Path) -> Dataset:
    """Adience: fold_0_data.txt … (tab-separated, with headings user_id, original_image, face_id, …), images
    aligned/USER/landmark_aligned_face.FACE.IMAGE or faces/USER/coarse_tilt_aligned_face.FACE.IMAGE.

    face_id is the person. The originals in faces/ go first: the others are turned and padded.
    """
    kinds = (("faces", "coarse_tilt_aligned_face"), ("aligned", "landmark_aligned_face"))
    kind = next((k for k in kinds if (root / k[0]).is_dir()), None)
    if kind is None:
        raise SourceMissing(f"expected a folder faces or aligned in {root}")
    images: dict[str, tuple[FaceImage, str]] = {}
    for listing in sorted(root.glob("fold_[0-9]_data.txt")):
        lines = read_text(listing)
        wanted = {"user_id", "original_image", "face_id"}
        table = csv.DictReader(lines, delimiter="\t")
        if not wanted <= set(table.fieldnames or ()):
            raise damaged(listing, 1, "tab-separated headings user_id, original_image, face_id", lines[0])
        for number, entry in enumerate(table, 2):
            if any(not entry[name] for name in wanted):
                raise damaged(listing, number, "user_id, original_image, face_id", lines[number - 1])
            file = f"{entry['user_id']}/{kind[1]}.{entry['face_id']}.{entry['original_image']}"
            images[file] = (FaceImage(inside(root / kind[0], file)), entry["face_id"])
    if not images:
        raise SourceMissing(f"expected fold_0_data.txt … fold_4_data.txt in {root}")
    return Dataset(
        root.name,
        "Adience",
        tuple(images),
        tuple(image for image, _ in images.values()),
        np.array([person for _, person in images.values()]),
        np.array(list(images)),
    )


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SourceMissing(f"expected one {pattern} in {folder}, found {len(found)}")
    return found[0]
