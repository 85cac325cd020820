"""FaceQAN from its equations, and on real faces that get worse."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from facesieve.fiqa import faceqan
from facesieve.fiqa.faces import aligned_chips, read_faces
from facesieve.fiqa.recognisers import load_recogniser


def turning(x: torch.Tensor) -> torch.Tensor:
    """An embedding at the angle of the summed pixels: cosines are those of the gaps between sums."""
    angle = x.flatten(1).sum(1)
    return torch.stack((angle.cos(), angle.sin()), 1) * 3


def test_similarities_by_hand():
    """cos falls with the gap of the sums, so every step moves each pixel ε further from the image."""
    image = torch.full((3, 2, 2), 0.5, dtype=torch.float64)
    noise = torch.stack([torch.full_like(image, 0.01), torch.full_like(image, -0.02)])
    got = faceqan.adversarial_similarities(turning, image, noise, epsilon=0.01, steps=3, clip=(0.0, 1.0))
    gaps = 12 * np.array([[0.01, -0.02], [0.02, -0.03], [0.03, -0.04]])
    np.testing.assert_allclose(got, np.cos(gaps), atol=1e-6)


def test_pixels_stay_in_the_clip_range():
    seen = []

    def embed(x):
        seen.append((x.min().item(), x.max().item()))
        return turning(x)

    image = torch.tensor([0.0, 1.0, 0.5]).reshape(3, 1, 1)
    noise = torch.stack([torch.full_like(image, 0.3), torch.full_like(image, -0.3)])
    faceqan.adversarial_similarities(embed, image, noise, epsilon=0.3, steps=4)
    assert all(low >= 0 and high <= 1 for low, high in seen)
    seen.clear()
    faceqan.adversarial_similarities(embed, image, noise, epsilon=0.3, steps=4, clip=(-1.0, 1.0))
    assert min(low for low, _ in seen) < 0


def test_image_with_and_without_batch_axis_and_order_of_copies():
    generator = torch.Generator().manual_seed(0)
    image, noise = torch.rand(3, 4, 4, generator=generator), faceqan.draw_noise(generator, 5, size_px=4)
    assert noise.abs().max() <= faceqan.EPSILON
    got = faceqan.adversarial_similarities(turning, image, noise)
    assert got.shape == (5, 5)
    assert torch.equal(faceqan.adversarial_similarities(turning, image[None], noise), got)
    torch.testing.assert_close(faceqan.adversarial_similarities(turning, image, noise.flip(0)), got.flip(1))


def test_noise_as_numpy_draws_it() -> None:
    """float64 noise for a float32 image and network."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.Tanh(), torch.nn.Flatten())
    image, noise = torch.rand(3, 8, 8), np.random.default_rng(0).uniform(-1e-3, 1e-3, (4, 3, 8, 8))
    got = faceqan.adversarial_similarities(network, image.numpy(), noise, 1e-3, 3, (0, 1))
    assert torch.equal(
        got, faceqan.adversarial_similarities(network, image, torch.tensor(noise).float(), 1e-3, 3)
    )


def test_batch_is_image_by_image():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 3, 4, 4, generator=generator)
    noise = torch.stack([faceqan.draw_noise(generator, 4, size_px=4) for _ in range(3)])
    got = faceqan.batch_similarities(turning, images, noise)
    each = [faceqan.adversarial_similarities(turning, x, n) for x, n in zip(images, noise, strict=True)]
    torch.testing.assert_close(got, torch.stack(each))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"image.shape"):
        faceqan.adversarial_similarities(turning, torch.zeros(3, 4, 4), torch.zeros(2, 3, 5, 5))


def test_score_by_hand():
    s = np.array([[1.0, 0.8], [0.6, 0.4]])
    mean, deviation = 0.7, np.sqrt(0.05)  # of the population: ((.3² + .1²)·2)/4
    z = (mean + 1) / 2 * (1 - deviation) * 0.9
    assert faceqan.score(s, 0.9, 5) == pytest.approx(z**5)
    assert faceqan.score(s, -0.9, 5) == pytest.approx(-(z**5))
    assert faceqan.score(s, -0.9, 2) == pytest.approx(-(z**2))
    assert faceqan.score(torch.from_numpy(s), torch.tensor(0.9), 5.0) == pytest.approx(z**5)
    assert faceqan.score(np.ones((5, 10)), 1.0) == 1.0
    assert faceqan.score([row.astype(np.float32) for row in s], 0.9) == pytest.approx(z**5, rel=1e-6)


def test_scores_of_many_images():
    s = np.random.default_rng(0).uniform(-1, 1, (4, 5, 10))
    symmetry = np.array([0.9, 0.1, -0.5, 1.0])
    expected = [faceqan.score(a, b) for a, b in zip(s, symmetry, strict=True)]
    np.testing.assert_allclose(faceqan.score(s, symmetry), expected)


def test_deviation_beyond_one_is_worth_nothing():
    assert faceqan.adversarial_quality(np.array([[4.0, -4.0]])) == 0.0


def test_symmetry_of_a_mirror_image_and_of_both_flips():
    image = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    weights = torch.linspace(-1, 1, 48).reshape(48, 1) * torch.tensor([1.0, 2.0, -1.0])

    def embed(x):
        return (x.flatten(1) @ weights).tanh() + x.flatten(1)[:, :3]

    mirrored = torch.cat((image[..., :2], image[..., :2].flip(-1)), -1)
    torch.testing.assert_close(faceqan.symmetry(embed, mirrored), torch.ones(2))
    torch.testing.assert_close(faceqan.symmetry(embed, image), faceqan.symmetry(embed, image.flip(-1)))


def blurred(chip, sigma_px):
    return cv2.GaussianBlur(chip, (0, 0), sigma_px) if sigma_px else chip


def shrunk(chip, side_px):
    small = cv2.resize(chip, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (112, 112), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(("worsen", "levels"), [(blurred, (0, 3, 6)), (shrunk, (112, 24, 12))])
def test_falls_as_real_faces_get_worse(shared, worsen, levels):
    faces = read_faces(shared / "data" / "lfw-train").take([0, 2])
    embed = load_recogniser(shared / "models" / "mobilefacenet_foamliu.pt")
    noise = torch.stack([faceqan.draw_noise(torch.Generator().manual_seed(7), 3) for _ in faces.files])
    means = []
    for level in levels:
        chips = np.stack([worsen(chip, level) for chip in aligned_chips(faces)])
        images = torch.from_numpy(chips).permute(0, 3, 1, 2) / 255
        s = faceqan.batch_similarities(embed, images, noise)
        means.append(faceqan.score(s, faceqan.symmetry(embed, images)).mean())
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1] + 0.1
