"""Losses and labels of the student on cases done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from facesieve.fiqa.student import losses
from facesieve.fiqa.student.dataset import Versions
from facesieve.fiqa.student.labels import held_out, outcome, quality_labels


def test_label_loss_is_smooth_l1_weighted() -> None:
    loss = losses.label_loss(torch.tensor([0.0, 0.0]), torch.tensor([0.25, 2.0]), torch.tensor([1.0, 3.0]))
    quadratic, linear = 0.5 * 0.25**2 / 0.5, 2.0 - 0.25
    assert float(loss) == pytest.approx((quadratic + 3 * linear) / 4)


def test_ranking_only_within_a_person() -> None:
    quality, label = torch.tensor([1.0, -1.0, 50.0]), torch.tensor([1.0, -1.0, -9.0])
    loss = losses.ranking_loss(quality, label, torch.tensor([7, 7, 8]), sharpness=1.0)
    target = 1 / (1 + math.exp(-2.0))
    entropy = -target * math.log(target) - (1 - target) * math.log(1 - target)
    assert float(loss) == pytest.approx(entropy, rel=1e-5)


def test_pairs_of_one_source_are_left_out() -> None:
    quality = torch.tensor([0.5, 2.0, 3.0])
    similarity = torch.zeros(3, 3)
    loss = losses.pair_loss(
        quality,
        similarity,
        torch.tensor([1, 1, 1]),
        torch.tensor([4, 4, 5]),
        torch.tensor(1.0),
        torch.tensor(0.0),
    )
    # pairs (0, 2) and (1, 2): minima .5 and 2 against similarity 0, smooth L1 with β = .5
    assert float(loss) == pytest.approx(((0.5 - 0.25) + (2.0 - 0.25)) / 2)


def test_relation_looks_at_other_sources_only() -> None:
    embedding = torch.eye(2)[[0, 0, 1]]
    loss = losses.relation_loss(embedding, torch.zeros(3, 3), torch.tensor([0, 0, 1]))
    assert float(loss) == 0.0


def _versions() -> Versions:
    # person 0: sources 0, 1, 2; person 1: source 3; two versions each
    source = np.repeat(np.arange(4, dtype=np.int32), 2)
    identity = np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int32)
    version = np.tile(np.array([0, 1], np.int8), 4)
    return Versions(
        np.zeros((8, 112, 112, 3), np.uint8), source, version, identity, np.full(8, 30, np.float32)
    )


def test_mates_are_the_better_half_of_other_clean_sources() -> None:
    angles = np.array([0.0, 0.1, 0.4, 0.5, 1.0, 1.2, 2.0, 2.5])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    result = outcome(embeddings, embeddings, _versions())
    # chip 1 (.1) of source 0 has mates .4 and 1.0: the better half of two is the nearer one
    assert result.mates[1] == pytest.approx(math.cos(0.3), abs=1e-6)
    assert result.source[1] == pytest.approx(math.cos(0.1), abs=1e-6)
    assert np.isnan(result.mates[6:]).all()
    assert result.mirror == pytest.approx(np.ones(8))


def test_labels_are_standardised_and_complete() -> None:
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(8, 3)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    mirrored = np.roll(embeddings, 1, axis=0)
    labels, weights = quality_labels([outcome(embeddings, mirrored, _versions())], 0.2)
    assert labels.mean() == pytest.approx(0, abs=1e-5)
    assert labels.std() == pytest.approx(1, abs=1e-5)
    assert weights.tolist() == [1.0] * 6 + [0.25] * 2


def test_people_without_mates_are_never_held_out() -> None:
    assert held_out(_versions(), every=1).tolist() == [True] * 6 + [False] * 2
