"""Which published layout a folder or file has."""

from __future__ import annotations

from pathlib import Path

from ...stream.errors import SourceMissing, SourceUnreadable
from .datasets import Dataset, faces_csv
from .template_sets import adience, ijb, youtube_faces
from .verification_sets import cfp, cross_lfw, lfw, packed


def open_dataset(path: Path, frames: int = 5) -> Dataset:
    """Reads a data set by what is in it; frames: of each video of YouTube Faces.

    A folder with faces.csv; a `.bin`; pairs.txt (LFW, XQLFW: the file, or the folder that has it);
    pairs_CALFW.txt and pairs_CPLFW.txt; Protocol/ (CFP-FP); meta/*_face_tid_mid.txt (IJB); splits.txt with
    frame_images_DB/ (YouTube Faces); fold_0_data.txt (Adience). Raises SourceMissing or SourceUnreadable with
    the path.
    """
    if not path.exists():
        raise SourceMissing(f"expected a data set at {path}: no such file or folder")
    if path.is_file():
        return _listed(path)
    if (path / "faces.csv").exists():
        return faces_csv(path)
    if (path / "Protocol").is_dir():
        return cfp(path)
    if any((path / "meta").glob("*_face_tid_mid.txt")):
        return ijb(path)
    if (path / "splits.txt").is_file():
        return youtube_faces(path, frames)
    if any(path.glob("fold_[0-9]_data.txt")):
        return adience(path)
    listings = sorted(path.glob("*pairs*.txt"))
    if len(listings) == 1:
        return _listed(listings[0])
    raise SourceUnreadable(
        f"expected faces.csv, pairs.txt, pairs_CALFW.txt, pairs_CPLFW.txt, Protocol/, meta/, splits.txt or "
        f"fold_0_data.txt in {path}" + (f", and one list of pairs, not {len(listings)}" if listings else "")
    )


def _listed(path: Path) -> Dataset:
    if path.suffix == ".bin":
        return packed(path)
    if path.name.lower() in ("pairs_calfw.txt", "pairs_cplfw.txt"):
        return cross_lfw(path)
    if path.suffix == ".txt":
        return lfw(path)
    raise SourceUnreadable(f"expected a folder, a .bin or a list of pairs (.txt), got {path}")
