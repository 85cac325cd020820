"""Training chips as a folder that the students' commands read."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facesieve.fiqa.distill.data import read_training_faces
from facesieve.fiqa.distill.versions import choose, write_faces
from facesieve.fiqa.student.dataset import Versions


@pytest.fixture
def versions():
    """Two versions of 20 sources of 3 people: 16 sources of the first, two of each other."""
    identity = np.repeat(np.array([0] * 16 + [1] * 2 + [2] * 2, np.int32), 2)
    chips = np.random.default_rng(0).integers(0, 256, (40, 112, 112, 3)).astype(np.uint8)
    source = np.repeat(np.arange(20, dtype=np.int32), 2)
    return Versions(
        chips, source, np.tile(np.arange(2, dtype=np.int8), 20), identity, np.full(40, 30, np.float32)
    )


def test_nobody_held_out_and_nobody_guessed(versions):
    held, weight = versions.identity == 1, np.where(versions.identity == 2, 0.25, 1.0)
    rows = choose(versions, weight, ~held, 100, seed=0)
    assert rows.tolist() == np.flatnonzero(versions.identity == 0).tolist()


def test_people_count_by_the_root_of_their_chips(versions):
    """32 chips against 4: drawn one at a time, the first is of the small person once in 1 + √8 times."""
    keep = versions.identity != 2
    drawn = [int(choose(versions, np.where(keep, 1.0, 0.0), keep, 1, seed)[0]) for seed in range(600)]
    share = np.mean(versions.identity[drawn] == 1)
    assert share == pytest.approx(1 / (1 + np.sqrt(8)), abs=0.06)


def test_what_is_written_is_read_back(tmp_path, versions):
    label, rows = np.linspace(-2, 2, 40), np.array([3, 8, 39])
    write_faces(versions, label, rows, tmp_path)
    faces = read_training_faces([tmp_path], [tmp_path / "labels.csv"])
    assert faces.identities.tolist() == ["person0", "person0", "person2"]
    np.testing.assert_allclose(faces.labels, label[rows], atol=1e-5)
    np.testing.assert_array_equal(faces.chips(range(3)), versions.chips[rows])
    assert cv2.imread(str(tmp_path / "images" / "000" / "000008.png")) is not None
