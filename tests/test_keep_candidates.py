"""`output.keep_candidates` on real video: all that was scored is there, and nothing else changes."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.config import Config, parse_config
from facesieve.job import run_sources
from facesieve.stream.errors import OutputFull
from facesieve.stream.sinks import CandidateArchive, read_candidates
from facesieve.stream.types import Crop, Quality, Rejection


def config(shared: Path, *, keep: bool) -> Config:
    table = {
        "detector": {
            "kind": "yunet",
            "weights": str(shared / "models" / "yunet_n_dynamic.onnx"),
            "long_side_px": 320,
        },
        "scorer": {"kind": "analytical"},
        "selection": {"min_face_px": 20, "min_score": 0.3},
        "output": {"keep_candidates": keep},
    }
    return parse_config(table, "test")


def run(spec: Path, out: Path, settings: Config) -> int:
    outcomes = run_sources(
        [str(spec)],
        out,
        settings,
        overwrite=True,
        stop=threading.Event(),
        watch=lambda *_: None,
        on_result=lambda *_: None,
    )
    (outcome,) = list(outcomes)
    return outcome.exit_code


@pytest.fixture(scope="module")
def clip(shared: Path) -> Path:
    return shared / "videos" / "short_hamilton_clip.mp4"


@pytest.fixture(scope="module")
def kept(shared: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kept")
    assert run(clip, out, config(shared, keep=True)) == 0
    return out


def test_all_scored_faces_are_there_with_the_tracks_own_account(kept: Path) -> None:
    candidates = read_candidates(kept)
    facts = json.loads((kept / "run.json").read_text())
    assert len(candidates.records) == facts["counts"]["faces_scored"] > 50
    tracks = [json.loads(line) for line in (kept / "tracks.jsonl").read_text().splitlines()]
    for track in tracks:
        mine = [c for c in candidates.records if c.track == track["track"]]
        assert len(mine) == track["frames_scored"]
        assert sum(c.rank > 0 for c in mine) == track["kept"]
        counts = Counter(c.rejected for c in mine if not c.rank)
        assert all(n <= track["rejected"].get(reason, 0) for reason, n in counts.items())


def test_chips_of_shots_are_those_beside_them(kept: Path) -> None:
    candidates = read_candidates(kept)
    rows = [i for i, c in enumerate(candidates.records) if c.rank]
    for row, chip in zip(rows, candidates.chips(rows), strict=True):
        record = candidates.records[row]
        beside = cv2.imread(str(kept / "shots" / str(record.track) / f"{record.rank}_chip.png"))
        np.testing.assert_array_equal(chip, beside[..., ::-1])


def test_nothing_else_changes_and_an_overwrite_leaves_none(
    kept: Path, clip: Path, shared: Path, tmp_path: Path
) -> None:
    assert run(clip, tmp_path, config(shared, keep=True)) == 0
    assert (tmp_path / "candidates.zip").read_bytes() == (kept / "candidates.zip").read_bytes()
    assert run(clip, tmp_path, config(shared, keep=False)) == 0
    for name in ("shots.jsonl", "tracks.jsonl"):
        assert (tmp_path / name).read_bytes() == (kept / name).read_bytes()
    assert not (tmp_path / "candidates.zip").exists()


def test_a_full_disk_ends_the_run_with_its_exit_code(
    clip: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: CandidateArchive, crop: Crop, quality: Quality, refused: Rejection | None) -> None:
        raise OutputFull("cannot write 'candidates.zip.part': No space left on device")

    monkeypatch.setattr(CandidateArchive, "offer", full)
    assert run(clip, tmp_path, config(shared, keep=True)) == OutputFull.exit_code
    assert not list(tmp_path.glob("candidates*"))
    assert (tmp_path / "tracks.jsonl").is_file()


def test_pictures_have_candidates_too(shared: Path, tmp_path: Path) -> None:
    pictures = sorted((shared / "data" / "lfw-train" / "images").rglob("*.jpg"))[:4]
    folder = tmp_path / "in"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        (folder / f"{number}.jpg").symlink_to(picture)
    assert run(folder, tmp_path / "out", config(shared, keep=True)) == 0
    records = read_candidates(tmp_path / "out").records
    assert records
    assert len({c.frame_index for c in records}) > 1
