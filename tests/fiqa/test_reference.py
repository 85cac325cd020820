"""The published reference figures of the development video frames, recomputed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.fiqa.edc import Verification, discard_at, error_versus_discard, partial_auc, verification
from facesieve.fiqa.embedders import MobileFaceNetFoamliu
from facesieve.fiqa.faces import Faces, aligned_chips, read_faces
from facesieve.fiqa.lightqnet import LightQNet
from facesieve.fiqa.selection import oracle_quality, track_selection, tracks_of
from facesieve.stream.types import F32, U8

TOLERANCE = 0.003


@pytest.fixture(scope="module")
def frames(shared: Path) -> tuple[Faces, U8, F32, Verification]:
    faces = read_faces(shared / "data" / "ytf-dev")
    chips = aligned_chips(faces)
    embeddings = MobileFaceNetFoamliu(shared / "models" / "mobilefacenet_foamliu.onnx").embed(chips)
    return faces, chips, embeddings, verification(embeddings, faces.identities, faces.videos)


def _laplacian(chips: U8) -> np.ndarray:
    return np.array([cv2.Laplacian(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for c in chips])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("score", "discards", "areas", "picked"),
    [
        ("height", (0.2471, 0.2248, 0.2166), (0.903, 0.871), 0.2414),
        ("laplacian", (0.2456, 0.2245, 0.2028), (0.906, 0.866), 0.2523),
        ("lightqnet", (0.2280, 0.1943, 0.1689), (0.843, 0.784), 0.2336),
        ("oracle", (0.1959, 0.1192, 0.0697), (0.715, 0.590), 0.1308),
    ],
)
def test_reference_figures(
    shared: Path,
    frames: tuple[Faces, U8, F32, Verification],
    score: str,
    discards: tuple[float, ...],
    areas: tuple[float, float],
    picked: float,
) -> None:
    faces, chips, embeddings, pairs = frames
    tracks = tracks_of(faces.identities, faces.videos)
    assert faces.heights_px is not None
    quality = {
        "height": lambda: faces.heights_px,
        "laplacian": lambda: _laplacian(chips),
        "lightqnet": lambda: LightQNet(shared / "models" / "lightqnet-dm100.pb").score(chips),
        "oracle": lambda: oracle_quality(embeddings, tracks),
    }[score]()
    curve = error_versus_discard(pairs, quality)
    assert pairs.fnmr == pytest.approx(0.2735, abs=TOLERANCE)
    assert [discard_at(curve, r) for r in (0.1, 0.2, 0.3)] == pytest.approx(discards, abs=TOLERANCE)
    assert [partial_auc(curve, r) for r in (0.2, 0.3)] == pytest.approx(areas, abs=TOLERANCE)
    result = track_selection(embeddings, tracks, quality, pairs.threshold, resamples=10)
    assert result.fnmr.value == pytest.approx(picked, abs=TOLERANCE)
