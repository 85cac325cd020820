"""Learning rates, averages of weights and which tensors are trained."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

AIKD_AVERAGE_ALPHA: Final = 0.1


def warmup_factor(step: int, warmup_steps: int) -> float:
    """sin(step/warm-up · π/2) before the end of the warm-up, 1 from then on (AI-KD)."""
    return math.sin(step / warmup_steps * math.pi / 2) if step < warmup_steps else 1.0


def aikd_learning_rate(
    step: int,
    total: int,
    rate: float,
    pretrain: float,
    warmup: float,
    swa_rate: float,
    swa_updates: int,
    every: float,
) -> float:
    """The rate for the step after `step` steps: warm-up, constant to the end of pretraining, then towards
    the rate of averaging, linearly over `swa_updates` validations (one after every `every` of the run).

    pretrain: share of the run before averaging starts (.3); warmup: share of that with a rising rate (.5).
    """
    pretrain_end = int(total * pretrain)
    if step < pretrain_end:
        return rate * warmup_factor(step, int(pretrain_end * warmup))
    averaged = len(validation_steps(total, pretrain, every, until=step))
    return rate + (swa_rate - rate) * min(1.0, averaged / swa_updates)


def validation_steps(total: int, pretrain: float, every: float, until: int | None = None) -> list[int]:
    """Steps after which AI-KD averages and validates: every `every` of the run, past pretraining."""
    interval = max(1, int(every * total))
    last = total if until is None else until
    return [step for step in range(interval, last + 1, interval) if step > int(total * pretrain)]


def last_tensors(module: nn.Module, count: int) -> list[nn.Parameter]:
    """The last `count` parameter tensors that train; the rest of the module is frozen.

    Counted in order of registration, as the published schedules do, fixed scales included.
    """
    parameters = list(module.parameters())
    for parameter in parameters[: max(0, len(parameters) - count)]:
        parameter.requires_grad_(False)
    return [parameter for parameter in parameters[-count:] if parameter.requires_grad]


class AveragedWeights:
    """avg ← α·avg + (1 − α)·weights; the first update copies. Buffers follow the network.

    α = .1 on the old average in AI-KD; .995 in DifFIQA's diffusion.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.state: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        trained = {name for name, _ in network.named_parameters()}
        for name, value in network.state_dict().items():
            if name in trained and name in self.state:
                self.state[name] = self.alpha * self.state[name] + (1 - self.alpha) * value
            else:
                self.state[name] = value.detach().clone()
