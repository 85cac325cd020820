"""Tables of scores beside the faces of a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facesieve.fiqa.evaluate.datasets import Dataset, FaceImage
from facesieve.fiqa.evaluate.scores import read_scores
from facesieve.stream.errors import SourceMissing, SourceUnreadable

FILES = ("Al_Gore/Al_Gore_0001.jpg", "Al_Gore/Al_Gore_0002.jpg", "Bo/Bo_0001.jpg")
FACES = Dataset("set", "LFW pairs", FILES, (FaceImage(b""),) * 3, np.array(["a", "a", "b"]), np.array(FILES))


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "names",
    [
        FILES,
        tuple(f"/data/lfw/{file}" for file in FILES),
        tuple(f"C:\\lfw\\{file}".replace("/", "\\") for file in FILES),
        tuple(file.replace(".jpg", ".png") for file in FILES),  # a copy in another format
    ],
)
def test_names_and_paths(tmp_path: Path, names: tuple[str, ...]) -> None:
    lines = [f"{name},{i}.5,model@1" for i, name in enumerate(names)]
    path = table(tmp_path / "s.csv", "file,score,model", *reversed(lines), "elsewhere/x.jpg,9,model@1")
    assert read_scores(path, FACES).tolist() == [0.5, 1.5, 2.5]


def test_faces_without_a_score_are_the_worst(tmp_path: Path) -> None:
    path = table(tmp_path / "s.csv", "file,score,reason", f"{FILES[2]},1,", f"{FILES[0]},,no face found")
    assert read_scores(path, FACES).tolist() == [-np.inf, -np.inf, 1.0]


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (("file,quality", "a,1"), "columns file and score"),
        (("file,score", f"{FILES[0]},good"), "numbers as scores"),
        (("file,score", f"{FILES[0]},nan"), "a finite score"),
        (("file,score", f"{FILES[0]},1", f"x/{FILES[0]},2"), "got two"),
        (("file,score", "x.jpg,1"), "no row fits"),
        ((""), "columns file and score"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, lines: tuple[str, ...], what: str) -> None:
    path = table(tmp_path / "s.csv", *lines)
    with pytest.raises(SourceUnreadable, match=what) as refused:
        read_scores(path, FACES)
    assert str(path) in str(refused.value)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"none\.csv"):
        read_scores(tmp_path / "none.csv", FACES)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceUnreadable, match=r"b\.csv"):
        read_scores(tmp_path / "b.csv", FACES)
