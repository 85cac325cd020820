"""Folded batch norms change neither embeddings nor the gradients that FaceQAN's attack follows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facesieve.fiqa.networks import FoamliuMobileFaceNet, IResNet
from facesieve.fiqa.networks.folding import fold_batch_norms


def used(network: nn.Module) -> nn.Module:
    """In float64, with statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.double().eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(("make", "left"), [(FoamliuMobileFaceNet, 4), (lambda: IResNet(18), None)])
def test_same_embeddings_and_gradients(make: type[nn.Module], left: int | None) -> None:
    network = used(make())
    before = norms(network)
    folded = fold_batch_norms(network)
    assert norms(network) == before  # the caller's network stays as it was
    assert norms(folded) < before
    assert left is None or norms(folded) == left
    x = torch.rand((2, 3, 112, 112), dtype=torch.float64, requires_grad=True)
    expected, got = network(x), folded(x)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((e * weights).sum(), x)[0] for e in (expected, got)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-7, atol=1e-9)


def test_a_norm_without_statistics_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert norms(fold_batch_norms(network)) == 1
