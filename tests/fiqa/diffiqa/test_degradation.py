"""The degradation chain: seeded, of the right size, and a degradation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facesieve.fiqa.diffiqa import degradation


@pytest.fixture
def picture():
    """A chip with edges and texture."""
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (14, 14, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 1.0)


def test_a_pass_is_seeded_and_shrinks_by_four(picture):
    first, again = (degradation.degrade(picture, np.random.default_rng(5)) for _ in range(2))
    other = degradation.degrade(picture, np.random.default_rng(6))
    assert first.shape == (128, 128, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 1


def test_pairs_are_chips_and_mirrored_alike(picture):
    mirrored = 0
    for seed in range(12):
        clean, poor = degradation.training_pair(picture, np.random.default_rng(seed))
        assert clean.shape == poor.shape == (112, 112, 3)
        flipped = np.array_equal(clean, picture[:, ::-1])
        assert flipped or np.array_equal(clean, picture)
        mirrored += flipped
        apart, crossed = (np.abs(poor.astype(float) - side).mean() for side in (clean, clean[:, ::-1]))
        assert 1 < apart < crossed
    assert 2 <= mirrored <= 10


def test_size_settles_whatever_the_order():
    orders = [degradation._order(np.random.default_rng(seed)) for seed in range(50)]
    assert all(order.index("shrink") < order.index("settle") for order in orders)
    assert all(sorted(order) == sorted(degradation.STEPS) for order in orders)
    assert len({tuple(order) for order in orders}) > 30


def test_kernels_have_unit_sum_and_their_variance():
    kernel = degradation.gaussian_kernel(25, np.array([4.0, 1.0]), 0.0)
    span = np.arange(25) - 12
    assert kernel.sum() == pytest.approx(1)
    assert (kernel.sum(0) * span**2).sum() == pytest.approx(4, rel=0.01)
    assert (kernel.sum(1) * span**2).sum() == pytest.approx(1, rel=0.01)
    moved = degradation.gaussian_kernel(25, np.array([4.0, 4.0]), 0.3, shift_px=-1.5)
    assert (moved.sum(0) * span).sum() == pytest.approx(-1.5, abs=0.01)
    for seed in range(20):
        drawn = degradation.blur_kernel(4, np.random.default_rng(seed))
        assert drawn.sum() == pytest.approx(1, rel=1e-5)
        assert len(drawn) % 2 == 1
        assert 7 <= len(drawn) <= 25


def test_noise_has_the_drawn_deviation():
    grey = np.full((200, 200, 3), 0.5, np.float32)
    deviations = [degradation.add_noise(grey, np.random.default_rng(seed)).std() * 255 for seed in range(30)]
    assert 1.9 < min(deviations) < 8
    assert 15 < max(deviations) < 40
