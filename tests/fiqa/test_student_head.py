"""The quality head fitted alone: labels by rank, merging without touching the embedding, made-up tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from facesieve.fiqa.student.dataset import Versions
from facesieve.fiqa.student.footage import plan_tracks, thin_out
from facesieve.fiqa.student.head import (
    HeadLesson,
    QualityHead,
    fit_head,
    head_labels,
    head_of,
    merge_heads,
    normal_scores,
    shares_of,
    student_of,
)
from facesieve.fiqa.student.labels import Outcome
from facesieve.fiqa.student.network import Student
from facesieve.fiqa.student.recipe import Head

WEIGHTS = Path(__file__).resolve().parents[2] / "engines" / "zoo" / "weights" / "facesieve-t.onnx"
RNG = np.random.default_rng(3)


def _versions(people: int = 12, sources: int = 4, versions: int = 2) -> Versions:
    count = people * sources * versions
    source = np.repeat(np.arange(people * sources, dtype=np.int32), versions)
    return Versions(
        np.zeros((0, 112, 112, 3), np.uint8),
        source,
        np.tile(np.arange(versions, dtype=np.int8), people * sources),
        (source // sources).astype(np.int32),
        np.full(count, 30.0, np.float32),
    )


def _fitted(seed: int, hidden: int = 5) -> QualityHead:
    torch.manual_seed(seed)
    head = QualityHead(736, hidden, 0.0).train()
    head(torch.randn(64, 736) * (1 + seed) + seed)
    return head.eval()


def test_merged_heads_are_their_weighted_sum_and_leave_the_embedding() -> None:
    torch.manual_seed(0)
    student, heads, shares = Student().eval(), [_fitted(1), _fitted(2, hidden=9)], [0.3, 0.7]
    merged = merge_heads(student, heads, shares)
    means = torch.randn(7, 736)
    expected = sum(share * head(means) for share, head in zip(shares, heads, strict=True))
    assert isinstance(expected, torch.Tensor)
    with torch.inference_mode():
        assert merged.head(means, None, None).numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)
        chips = torch.from_numpy(RNG.integers(0, 256, (2, 112, 112, 3), dtype=np.uint8))
        assert torch.equal(merged(chips)[1], student(chips)[1])


def test_shares_weigh_standardised_scores() -> None:
    heads = [_fitted(1), _fitted(2), _fitted(3)]
    features = RNG.normal(size=(200, 736)).astype(np.float32)
    shares = shares_of(heads, features, kept=0.5)
    with torch.inference_mode():
        spread = [float(head(torch.from_numpy(features)).std()) for head in heads]
    weighed = np.multiply(shares, spread)
    assert weighed / weighed.sum() == pytest.approx([0.5, 0.25, 0.25])


def test_the_shipped_student_comes_back_from_its_file() -> None:
    chips = RNG.integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(WEIGHTS), providers=["CPUExecutionProvider"])
    quality, embedding = session.run(["quality", "embedding"], {"chips": chips})
    student = student_of(WEIGHTS)
    with torch.inference_mode():
        ours, vectors = student(torch.from_numpy(chips))
        means = student.features(torch.from_numpy(chips).permute(0, 3, 1, 2).float())[1]
        assert head_of(student)(means).numpy() == pytest.approx(ours.numpy(), abs=1e-5)
    assert ours.numpy() == pytest.approx(quality, abs=1e-3)
    assert vectors.numpy() == pytest.approx(embedding, abs=1e-4)


def test_normal_scores_keep_order_and_spread_saturated_ends() -> None:
    saturated = np.array([0.0, 1e-6, 0.5, 0.999999, 1.0])
    scores = normal_scores(saturated)
    assert (np.diff(scores) > 0).all()
    assert scores == pytest.approx(-scores[::-1], abs=1e-6)
    assert np.diff(scores).min() > 0.4


def test_labels_of_people_without_mates_count_less() -> None:
    mates = RNG.uniform(0, 1, 40).astype(np.float32)
    mates[::5] = np.nan
    results = {
        name: Outcome(
            mates, RNG.uniform(0, 1, 40).astype(np.float32), RNG.uniform(0, 1, 40).astype(np.float32)
        )
        for name in ("foamliu", "dlib")
    }
    labels, weights = head_labels(results, RNG.uniform(0, 1, 40).astype(np.float32), Head())
    assert np.isfinite(labels).all()
    assert (labels.mean(), labels.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))
    assert weights.tolist() == [0.25 if row % 5 == 0 else 1.0 for row in range(40)]


def test_label_follows_lightqnets_rank_where_nothing_else_counts() -> None:
    outcomes = {"foamliu": Outcome(*(RNG.uniform(0, 1, (3, 30)).astype(np.float32)))}
    peer = RNG.uniform(0, 1, 30).astype(np.float32)
    only = Head(shares={"foamliu": 0.0}, mirror_share=0.0, lightqnet_share=1.0)
    labels, _ = head_labels(outcomes, peer, only)
    assert np.argsort(labels).tolist() == np.argsort(peer).tolist()


def test_a_head_learns_and_repeats_itself() -> None:
    generator = np.random.default_rng(5)
    versions = _versions()
    features = generator.normal(size=(len(versions.source), 8)).astype(np.float32)
    labels = features[:, 0] - features[:, 1]
    vectors = generator.normal(size=(len(labels), 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(len(labels))
    lesson = HeadLesson(versions, rows, features, labels, np.ones_like(labels), [vectors])
    settings = Head(steps=60, groups=6, hidden=16, rate=2e-2, average=0.9, dropout=0.0, pairs=0.1)
    head = fit_head(lesson, settings, 1)
    brief = Head(steps=3, groups=6, hidden=16)
    first, second = fit_head(lesson, brief, 1), fit_head(lesson, brief, 1)
    with torch.inference_mode():
        scores = head(torch.from_numpy(features)).numpy()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert np.corrcoef(scores, labels)[0, 1] > 0.7


def test_tracks_of_a_person_share_no_source_and_one_footage() -> None:
    versions = _versions(people=5, sources=7, versions=3)
    shots = plan_tracks(versions, np.ones(len(versions.source), bool), seed=4)
    assert shots == plan_tracks(versions, np.ones(len(versions.source), bool), seed=4)
    tracks: dict[int, set[int]] = {}
    for shot in shots:
        tracks.setdefault(shot.track, set()).add(shot.source)
    sources = [source for own in tracks.values() for source in own]
    assert len(sources) == len(set(sources))
    people = {track: {source // 7 for source in own} for track, own in tracks.items()}
    assert all(len(own) == 1 for own in people.values())
    for track in tracks:
        frames = [shot.how for shot in shots if shot.track == track]
        assert len(frames) >= 3
        assert len({(how.noise, how.gamma, how.upscale) for how in frames}) == 1
        assert len({how.seed for how in frames}) == len(frames)


def test_one_image_makes_no_track() -> None:
    assert plan_tracks(_versions(people=3, sources=1), np.ones(6, bool), seed=0) == []


def test_thinning_keeps_whole_tracks() -> None:
    versions = _versions(people=2, sources=12, versions=1)
    shots = plan_tracks(versions, np.ones(24, bool), seed=0)
    kept = thin_out(shots, versions.identity, most=2)
    assert {shot.track for shot in kept if shot.source < 12} == set(sorted({s.track for s in shots})[:2])
    for track in {shot.track for shot in kept}:
        assert [s for s in kept if s.track == track] == [s for s in shots if s.track == track]
