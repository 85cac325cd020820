"""The library against the same methods written a second time, on random weights and on real faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import plain_methods as plain
import pytest
import torch
from torch import Tensor, nn

from facesieve.fiqa import diffiqa, faceqan
from facesieve.fiqa.edc import error_versus_discard, partial_auc, verification
from facesieve.fiqa.evaluate.comparisons import compare
from facesieve.fiqa.evaluate.datasets import Dataset, FaceImage
from facesieve.fiqa.faces import aligned_chips, read_faces
from facesieve.fiqa.networks import AIKD, DifFIQAR, EDifFIQA, IResNet, MobileFaceNet, Student
from facesieve.fiqa.recognisers import load_recogniser


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def shaken(network: nn.Module) -> nn.Module:
    """In float64, with scales, shifts and statistics that are not those of a fresh network."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        for value in (p for p in network.parameters() if p.ndim == 1):
            value.uniform_(0.2, 1.0)
        for name, value in network.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return network.double().eval()


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize(
    ("make", "prefix", "head"),
    [
        (lambda: EDifFIQA(MobileFaceNet()), "base_model.", "mlp"),
        (lambda: EDifFIQA(IResNet(18)), "base_model.", "mlp"),
        (lambda: AIKD(IResNet(18)), "feature_extractor.", "quality_head"),
        (lambda: DifFIQAR(IResNet(34)), "base.", "linear"),
    ],
    ids=["ediffiqa-t", "ediffiqa-s", "aikd", "diffiqa-r"],
)
def test_students(make: Callable[[], Student], prefix: str, head: str) -> None:
    student = make()
    network = shaken(student)
    state, x = network.state_dict(), torch.rand((2, 3, 112, 112), dtype=torch.float64) * 2 - 1
    if isinstance(student.backbone, MobileFaceNet):
        embedding = plain.mobilefacenet(state, prefix, x)
    else:
        blocks = (3, 4, 6, 3) if isinstance(student, DifFIQAR) else (2, 2, 2, 2)
        embedding = plain.iresnet(state, prefix, x, blocks)
    quality = (
        plain.linear(state, head, embedding)[:, 0] if head == "linear" else plain.mlp(state, head, embedding)
    )
    with torch.no_grad():
        got = network(x)
    assert apart(got[0], embedding) < 1e-12
    assert apart(got[1], quality) < 1e-12


@pytest.mark.parametrize(("dim", "multipliers"), [(8, (1, 2)), (16, (1, 2, 4, 8)), (24, (1, 3, 2))])
def test_unet(dim: int, multipliers: tuple[int, ...]) -> None:
    network = shaken(diffiqa.UNet(dim, multipliers))
    x, time = torch.randn((2, 3, 32, 32), dtype=torch.float64), torch.tensor([0, 77])
    with torch.no_grad():
        got = network(x, time)
    assert apart(got, plain.unet(network.state_dict(), x, time, dim, len(multipliers))) < 1e-6


def test_gradients_of_the_unet() -> None:
    network = shaken(diffiqa.UNet(16, (1, 2)))
    x, time = torch.randn((2, 3, 16, 16), dtype=torch.float64), torch.tensor([0, 77])
    weights = dict(network.named_parameters())
    got = torch.autograd.grad((network(x, time) ** 2).mean(), list(weights.values()))
    expected = torch.autograd.grad((plain.unet(weights, x, time, 16, 2) ** 2).mean(), list(weights.values()))
    for name, ours, theirs in zip(weights, got, expected, strict=True):
        assert (ours - theirs).norm() < 1e-6 * (1e-6 + theirs.norm()), name


@pytest.mark.parametrize("training", [True, False], ids=["with gradients", "without"])
def test_unet_in_bfloat16(training: bool) -> None:
    network = shaken(diffiqa.UNet(16, (1, 2))).float()
    x, time = torch.randn((2, 3, 32, 32)), torch.tensor([0, 77])
    with torch.no_grad():
        exact = network(x, time)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.set_grad_enabled(training), torch.autocast("cpu", torch.bfloat16):
        rough = network.to(memory_format=torch.channels_last)(x, time)
    assert (rough.detach().float() - exact).norm() < 0.05 * exact.norm()


def test_diffusion_and_its_score() -> None:
    network = diffiqa.UNet(8, (1, 2)).eval()
    diffusion = diffiqa.Diffusion(network).eval()
    images, repeats = torch.rand(2, 3, 32, 32) * 2 - 1, 2
    start = torch.stack(
        [image for part in (images, images.flip(-1)) for image in part for _ in range(repeats)]
    )
    noise, noises = torch.randn(start.shape), torch.randn(5, *start.shape)

    def predict(x: Tensor, step: int) -> Tensor:
        return plain.unet(network.state_dict(), x, torch.full((len(x),), step), 8, 2)

    with torch.no_grad():
        noisy = plain.noised(start, noise, 5)
        restored = plain.reconstruct(predict, noisy, noises)
        assert apart(diffusion.q_sample(start, 5, noise), noisy) < 1e-6
        assert apart(diffusion.ddim(noisy, 5, noises), restored) < 1e-4
    weights = torch.randn(3 * 32 * 32, 16)
    views = [
        (part.flatten(1) @ weights).numpy().reshape(2, 2, repeats, 16) for part in (start, noisy, restored)
    ]
    sharp, noised, again = views  # each: image or flip, image, repeat
    pairs = (noised[0], again[0], noised[1], again[1], sharp[1])
    expected = np.mean([plain.cosine(sharp[0], other) for other in pairs], axis=(0, 2))
    got = diffiqa.score(diffusion, lambda x: x.flatten(1) @ weights, images, noise, noises, repeats)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_faceqan_on_real_faces(shared: Path) -> None:
    faces = read_faces(shared / "data" / "ytf-dev").take([0, 1500])
    recogniser = load_recogniser(shared / "models" / "mobilefacenet_foamliu.pt").double()
    images = torch.from_numpy(aligned_chips(faces)).permute(0, 3, 1, 2).double() / 255
    for image in images:
        noise = (torch.rand((2, 3, 112, 112), dtype=torch.float64) * 2 - 1) * 1e-3
        expected = plain.attacked_similarities(recogniser, image, noise, 1e-3, 3)
        got = faceqan.adversarial_similarities(recogniser, image, noise, 1e-3, 3)
        np.testing.assert_allclose(got, expected, atol=1e-9)


@pytest.mark.parametrize("fmr", [1e-3, 1e-2, 0.1])
def test_error_versus_discard_by_counting(fmr: float) -> None:
    """Qualities with many ties, videos of several faces, float32 embeddings of any length."""
    rng = np.random.default_rng(0)
    who = rng.integers(0, 8, 90)
    people = np.array([f"p{i}" for i in who])
    videos = np.array([f"p{i}/{v}" for i, v in zip(who, rng.integers(0, 4, 90), strict=True)])
    vectors = (rng.normal(size=(8, 6))[who] + rng.normal(0, 0.8, (90, 6))).astype(np.float32)
    quality = rng.integers(0, 5, 90).astype(np.float64)
    threshold, curve = plain.discard_curve(vectors.astype(np.float64), people, videos, quality, fmr)
    one_set = Dataset("x", "faces.csv", tuple(map(str, range(90))), (FaceImage(b""),) * 90, people, videos)
    for pairs in (verification(vectors, people, videos, fmr), compare(vectors, one_set, fmr)):
        assert pairs.threshold == pytest.approx(threshold, abs=1e-12)
        np.testing.assert_allclose(error_versus_discard(pairs, quality), curve, atol=1e-12)
        for limit in (0.2, 0.3, 1.0):
            kept = [value for k, value in enumerate(curve) if k / len(curve) <= limit]
            assert partial_auc(np.array(curve), limit) == pytest.approx(np.mean(kept) / curve[0])
