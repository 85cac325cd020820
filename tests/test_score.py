"""`facesieve score` on folders: nested ones, links, and what cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.config import parse_config
from facesieve.score import image_files, score_paths
from facesieve.stream.errors import SourceUnreadable
from facesieve.stream.types import Crop


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((64, 64, 3), 90, np.uint8))
    return path


def test_folders_in_folders_are_read_in_order(tmp_path: Path) -> None:
    made = [picture(tmp_path / name) for name in ("b/2.png", "a.png", "b/c/1.png", "c.png")]
    assert image_files(tmp_path) == sorted(made)


def test_links_are_followed_nowhere_but_inside(tmp_path: Path) -> None:
    inside, outside = picture(tmp_path / "in/a.png"), picture(tmp_path / "out/secret.png")
    (tmp_path / "in/same.png").symlink_to(inside)
    (tmp_path / "in/stolen.png").symlink_to(outside)
    (tmp_path / "in/folder").symlink_to(tmp_path / "out")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    os.mkfifo(tmp_path / "in/pipe")
    assert [path.name for path in image_files(tmp_path / "in")] == ["a.png", "same.png"]


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "closed"))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceUnreadable, match=r"closed: cannot be read: Permission denied"):
        image_files(tmp_path)


def test_what_is_scored_is_named_by_its_path_from_where_one_stands(tmp_path: Path, shared: Path) -> None:
    picture(tmp_path / "blank/deep/none.png")
    (tmp_path / "blank/notes.txt").write_text("not an image")
    weights = shared / "models/yunet_n_dynamic.onnx"
    config = parse_config(
        {"detector": {"kind": "yunet", "weights": weights}, "scorer": {"kind": "analytical"}}, "test"
    )
    reasons = {
        os.path.relpath(row.file, tmp_path): row.reason for row in score_paths([tmp_path / "blank"], config)
    }
    assert reasons["blank/deep/none.png"] == "no face found"
    assert "notes.txt" in reasons["blank/notes.txt"]


def test_a_bare_chip_is_a_crop() -> None:
    points = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)
    crop = Crop.of_chip(np.zeros((112, 112, 3), np.uint8), points, index=7, truncated=0.25)
    assert (crop.track, crop.frame_index, crop.eye_distance_px, crop.truncated) == (0, 7, 40.0, 0.25)
    np.testing.assert_array_equal(crop.box, [30, 40, 70, 80])
    assert Crop.of_chip(crop.chip, points, eye_distance_px=12.5).eye_distance_px == 12.5
