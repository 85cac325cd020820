"""C3, both losses, the alignment perturbation, class centres and schedules, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from facesieve.fiqa import distill
from facesieve.fiqa.distill.schedule import (
    AveragedWeights,
    aikd_learning_rate,
    last_tensors,
    validation_steps,
    warmup_factor,
)

RIGHT, UP, LEFT = [2.0, 0.0], [0.0, 0.5], [-3.0, 0.0]


@pytest.mark.parametrize(
    ("q", "embedding", "epsilon", "expected"),
    [
        (0.8, RIGHT, 0.5, 0.8),  # at the centre's direction nothing is taken off
        (0.8, UP, 0.5, 0.3),  # a right angle: distance 1
        (0.8, LEFT, 0.5, 0.0),  # distance 2, clipped
        (0.8, UP, 0.1, 0.7),
    ],
)
def test_c3_target_by_hand(q, embedding, epsilon, expected):
    centre = [5.0, 0.0]
    for kind in (torch.tensor, np.array):
        assert float(distill.c3_target(q, kind(embedding), kind(centre), epsilon)) == pytest.approx(expected)
    batch = distill.c3_target(
        np.array([q, q]), torch.tensor([embedding, RIGHT]), np.array([centre, centre]), epsilon
    )
    assert batch.tolist() == pytest.approx([expected, q])


def test_c3_target_carries_no_gradient():
    embedding = torch.tensor([UP], requires_grad=True)
    assert not distill.c3_target(torch.tensor([0.5]), embedding, torch.tensor([RIGHT])).requires_grad


def test_c3_target_wants_a_label_each():
    with pytest.raises(ValueError, match="one label per embedding"):
        distill.c3_target(torch.zeros(3), torch.ones(2, 4), torch.ones(2, 4))


def test_ediffiqa_loss_by_hand():
    quality, target = torch.tensor([0.5, 0.9]), torch.tensor([0.7, 0.5])
    student, teacher = torch.tensor([RIGHT, RIGHT]), torch.tensor([RIGHT, UP])
    consistency, error = 0.5, 0.3
    for theta in (0.5, 0.2):
        expected = theta * consistency + (1 - theta) * error
        assert distill.ediffiqa_loss(quality, target, student, teacher, theta).item() == pytest.approx(
            expected
        )
    column = distill.ediffiqa_loss(quality[:, None], target, student, teacher, 0.5)
    assert column.item() == pytest.approx(0.4)


def test_aikd_loss_by_hand():
    quality, target = torch.tensor([0.5, 2.0]), torch.tensor([0.7, 0.5])
    smooth = (0.5 * 0.2**2 / 0.5 + (1.5 - 0.25)) / 2  # below β quadratic, above it linear
    same, across = torch.tensor([RIGHT, RIGHT]), torch.tensor([UP, LEFT])
    assert distill.aikd_loss(quality, target, same, same).item() == pytest.approx(smooth, rel=1e-6)
    assert distill.aikd_loss(quality, target, same, across).item() == pytest.approx(smooth + 1.5)


def test_losses_do_not_see_batch_order():
    generator = torch.Generator().manual_seed(0)
    q, t = torch.rand(6, generator=generator), torch.rand(6, generator=generator)
    a, b = torch.randn(6, 4, generator=generator), torch.randn(6, 4, generator=generator)
    for loss in (distill.ediffiqa_loss, distill.aikd_loss):
        torch.testing.assert_close(loss(q, t, a, b), loss(q.flip(0), t.flip(0), a.flip(0), b.flip(0)))
        with pytest.raises(ValueError, match="one label per quality"):
            loss(q, t[:5], a, b)


def test_jitter_adds_px_and_leaves_its_input():
    landmarks = np.arange(10, dtype=np.float32).reshape(5, 2)
    noise = np.linspace(-3, 3, 10).reshape(5, 2)
    moved = distill.jitter_landmarks(landmarks, noise)
    np.testing.assert_allclose(moved, landmarks + noise)
    assert landmarks[0, 0] == 0
    batch = distill.jitter_landmarks(np.stack([landmarks] * 2), torch.zeros(2, 5, 2))
    np.testing.assert_array_equal(batch[1], landmarks)
    with pytest.raises(ValueError, match=r"\(…, 5, 2\)"):
        distill.jitter_landmarks(landmarks.T, noise.T)


def test_drawn_jitter_fills_its_range():
    drawn = np.stack([distill.draw_jitter(np.random.default_rng(seed)) for seed in range(200)])
    assert drawn.shape == (200, 5, 2)
    assert -3 <= drawn.min() < -2.9
    assert 2.9 < drawn.max() < 3
    np.testing.assert_array_equal(distill.draw_jitter(np.random.default_rng(3)), drawn[3])


def test_class_centres_by_hand():
    """10 images; the rank int(.4·10) = 4 has label .6, so five images are good: a, a, a, b, b."""
    labels = np.array([0.9, 0.8, 0.6, 0.1, 0.95, 0.7, 0.2, 0.3, 0.0, 0.5])
    names = np.array(["a", "a", "a", "a", "b", "b", "b", "c", "c", "c"])
    embeddings = np.arange(20.0).reshape(10, 2)
    got = distill.class_centres(labels, embeddings, names, share=0.4, fewest=3)
    assert got.names == ("a",)
    np.testing.assert_allclose(got.centres, [embeddings[:3].mean(0)])
    assert got.rows.tolist() == [0, 0, 0, 0, -1, -1, -1, -1, -1, -1]
    assert distill.class_centres(labels, embeddings, names, share=0.4, fewest=2).names == ("a", "b")
    assert len(distill.class_centres(labels, embeddings, names).names) == 0


def test_normalised_labels_and_held_out_rows():
    labels = np.array([3.0, 1.0, 2.0, 5.0])
    assert distill.normalise_labels(labels).tolist() == [0.5, 0.0, 0.25, 1.0]
    assert distill.validation_rows(labels, 0.5).tolist() == [1, 0]
    assert len(distill.validation_rows(np.arange(1000.0), 0.1)) == 100
    with pytest.raises(ValueError, match="differ"):
        distill.normalise_labels(np.ones(3))


def test_aikd_schedule():
    """1000 steps: the rate rises over the first 150 of 300, then stays; averages from 400 on."""
    rate = [aikd_learning_rate(step, 1000, 0.05, 0.3, 0.5, 0.05, 10, 0.1) for step in range(1000)]
    assert rate[0] == 0
    assert rate[75] == pytest.approx(0.05 * math.sin(math.pi / 4))
    assert rate[149] < 0.05
    assert set(rate[150:]) == {0.05}
    assert validation_steps(1000, 0.3, 0.1) == [400, 500, 600, 700, 800, 900, 1000]
    falling = [aikd_learning_rate(step, 1000, 0.05, 0.3, 0.5, 0.01, 2, 0.1) for step in (399, 400, 500, 900)]
    assert falling == pytest.approx([0.05, 0.03, 0.01, 0.01])
    assert warmup_factor(0, 0) == 1.0


def test_average_leans_on_the_new_weights():
    network, average = nn.Linear(1, 1), AveragedWeights(0.1)
    for weight in (1.0, 2.0, 4.0):
        with torch.no_grad():
            network.weight.fill_(weight)
        average.update(network)
    assert average.state["weight"].item() == pytest.approx(0.1 * (0.1 * 1 + 0.9 * 2) + 0.9 * 4)


def test_last_tensors_freezes_the_rest():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    network[2].weight.requires_grad_(False)
    trained = last_tensors(network, 3)
    assert [p.requires_grad for p in network.parameters()] == [False, False, False, True, False, True]
    assert trained[0] is network[1].bias
    assert len(last_tensors(nn.Linear(1, 1), 100)) == 2
