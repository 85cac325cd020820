"""The Python interface: its names, and best_shots on real film."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import facesieve
from facesieve.config import parse_config
from facesieve.stream.errors import SourceMissing

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def config(shared: Path) -> facesieve.Config:
    weights = str(shared / "models/yunet_n_dynamic.onnx")
    return parse_config({"detector": {"kind": "yunet", "weights": weights}}, "test")


def test_the_public_names_are_these() -> None:
    assert sorted(facesieve.__all__) == [
        "BestShot",
        "Config",
        "Crop",
        "Detections",
        "FacesieveError",
        "Frame",
        "Pipeline",
        "Progress",
        "Quality",
        "Rejection",
        "SelectionPolicy",
        "ShotRevision",
        "TrackEnd",
        "TrackResult",
        "TrackSummary",
        "Tracking",
        "__version__",
        "best_shots",
        "read_config",
    ]
    for name in facesieve.__all__:
        assert hasattr(facesieve, name)


def test_best_shots_of_one_person(shared: Path, config: facesieve.Config) -> None:
    shots = list(facesieve.best_shots(shared / "videos/asl/eat.mkv", top_k=2, config=config))
    assert [shot.rank for shot in shots] == [1, 2]
    assert shots[0].quality.score >= shots[1].quality.score
    for shot in shots:
        assert shot.crop.chip.shape == (112, 112, 3)
        assert shot.crop.portrait is not None
        assert shot.quality.model.startswith("facesieve-t@")
        assert shot.quality.embedding is not None
        assert np.linalg.norm(shot.quality.embedding) == pytest.approx(1, abs=1e-3)
        assert shot.quality.calibrated is not None
        assert 0 <= shot.quality.calibrated <= 1
    times = sorted(shot.crop.pts_s for shot in shots)
    assert all(b - a >= 0.5 for a, b in pairwise(times))


def test_shots_come_as_their_tracks_end(shared: Path, config: facesieve.Config) -> None:
    """A film of two scenes gives the first scene's shots before the second is decoded to its end."""
    shots = facesieve.best_shots(shared / "videos/short_hamilton_clip.mp4", top_k=1, config=config)
    first = next(iter(shots))
    assert first.crop.pts_s < 3
    shots.close()  # type: ignore[attr-defined]  # a generator: leaving it early releases everything


def test_errors_are_of_the_tree(config: facesieve.Config) -> None:
    with pytest.raises(SourceMissing):
        list(facesieve.best_shots("nowhere.mp4", config=config))
    assert issubclass(SourceMissing, facesieve.FacesieveError)


@pytest.mark.slow
def test_every_module_imports_where_only_the_core_is_installed() -> None:
    """Optional packages are imported where they are used: here none of them can be."""
    code = """
import importlib, pkgutil, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "onnxruntime", "onnxscript", "scipy", "matplotlib",
                                  "mediapipe", "tensorrt", "cuda", "nncf"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import facesieve
for package in ("stream", "engines", "trackers"):
    root = importlib.import_module(f"facesieve.{package}")
    for module in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
        importlib.import_module(module.name)
import facesieve.cli, facesieve.console, facesieve.score
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
