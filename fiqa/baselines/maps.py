"""The last feature map of a recogniser, where several quality heads begin."""

from __future__ import annotations

from torch import Tensor

from ..networks import IResNet

MAP_VALUES = 512 * 7 * 7


def symmetric(x: Tensor) -> Tensor:
    """Pixels in [0, 1] → [−1, 1]."""
    return (x - 0.5) / 0.5


def final_map(network: IResNet, x: Tensor) -> Tensor:
    """(n, 512·7·7): what the recogniser's last fully connected layer is given. x: normalised pixels."""
    x = network.prelu(network.bn1(network.conv1(x)))
    x = network.layer4(network.layer3(network.layer2(network.layer1(x))))
    flat: Tensor = network.bn2(x).flatten(1)
    return flat
