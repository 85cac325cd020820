"""The diffusion process of DifFIQA: forward noising, DDIM reconstruction and the training loss.

Steps count from 0 to T − 1; index t of a schedule is the noise after t + 1 increments (Ho et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

COSINE_OFFSET: Final = 0.008
MAX_BETA: Final = 0.999
TRAINED_STEPS: Final = 100
"""Training draws t from [0, 100): small noise is all that scoring ever asks for."""


def cosine_betas(timesteps: int) -> Tensor:
    """(timesteps,) float64: the cosine schedule (Nichol & Dhariwal, arXiv 2102.09672, eq. 17), β ≤ .999."""
    x = torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64)
    signal = torch.cos((x / timesteps + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi * 0.5) ** 2
    signal = signal / signal[0]
    return torch.clip(1 - signal[1:] / signal[:-1], 0, MAX_BETA)


def ddim_times(t: int) -> list[int]:
    """The steps visited from index t, the last one −1: reversed int(linspace(−1, t − 1, t + 2)).

    For t = 5: 4, 3, 2, 1, 0, 0, −1; the truncation visits 0 twice, as the reference does.
    """
    if t < 1:
        raise ValueError(f"expected t ≥ 1, got {t = }")
    times = torch.linspace(-1, t - 1, steps=t + 2).int().tolist()
    return [int(time) for time in reversed(times)]


class Diffusion(nn.Module):
    """A network that predicts x₀, and the schedule around it; the state dict is that of the reference.

    model: (n, c, h, w) and time (n,) → (n, c, h, w), as UNet. Images are in [-1, 1]. Keys: `model.*` and the
    schedule's buffers, computed in float64 and kept in float32.
    """

    betas: Tensor
    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    sqrt_recip_alphas_cumprod: Tensor
    sqrt_recipm1_alphas_cumprod: Tensor

    def __init__(self, model: nn.Module, timesteps: int = 1000, eta: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.timesteps, self.eta = timesteps, eta
        betas = cosine_betas(timesteps)
        alphas = 1 - betas
        signal = torch.cumprod(alphas, dim=0)
        previous = torch.cat((signal.new_ones(1), signal[:-1]))
        variance = betas * (1 - previous) / (1 - signal)
        schedule = {
            "betas": betas,
            "alphas_cumprod": signal,
            "alphas_cumprod_prev": previous,
            "sqrt_alphas_cumprod": signal.sqrt(),
            "sqrt_one_minus_alphas_cumprod": (1 - signal).sqrt(),
            "log_one_minus_alphas_cumprod": (1 - signal).log(),
            "sqrt_recip_alphas_cumprod": (1 / signal).sqrt(),
            "sqrt_recipm1_alphas_cumprod": (1 / signal - 1).sqrt(),
            "posterior_variance": variance,
            "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
            "posterior_mean_coef1": betas * previous.sqrt() / (1 - signal),
            "posterior_mean_coef2": (1 - previous) * alphas.sqrt() / (1 - signal),
            "p2_loss_weight": torch.ones_like(betas),
        }
        for name, values in schedule.items():
            self.register_buffer(name, values.to(torch.float32))

    def q_sample(self, x: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """x_t = √ᾱ_t·x + √(1 − ᾱ_t)·noise (Ho et al. 2020, eq. 4); not clipped.

        x, noise: (n, c, h, w). t: an index for all, or (n,).
        """
        if noise.shape != x.shape:
            raise ValueError(f"expected noise of the images' shape {tuple(x.shape)}, got {noise.shape = }")
        index = self._index(t, x)
        return self._at(self.sqrt_alphas_cumprod, index) * x + (
            self._at(self.sqrt_one_minus_alphas_cumprod, index) * noise
        )

    @torch.no_grad()
    def ddim(self, x_t: Tensor, t: Tensor | int, noises: Sequence[Tensor] | Tensor) -> Tensor:
        """The reconstruction x̂ in [-1, 1] of x_t (n, c, h, w), noised at index t (Song et al. 2020, eq. 12).

        noises: t tensors of x_t's shape, drawn from N(0, 1): one for each step but the last.
        The network is called at ddim_times(t) without the last; its x₀ is clipped to [-1, 1] each time.
        """
        times = ddim_times(int(torch.as_tensor(t).flatten()[0]))
        if len(noises) != len(times) - 2 or any(noise.shape != x_t.shape for noise in noises):
            shapes = [tuple(noise.shape) for noise in noises]
            raise ValueError(f"expected {len(times) - 2} noises of shape {tuple(x_t.shape)}, got {shapes}")
        x = x_t
        for step, (now, after) in enumerate(pairwise(times)):
            index = torch.full((len(x),), now, device=x.device, dtype=torch.long)
            clean: Tensor = self.model(x, index).to(x.dtype).clamp(-1, 1)
            if after < 0:
                return clean
            recip, recip_m1 = self.sqrt_recip_alphas_cumprod[now], self.sqrt_recipm1_alphas_cumprod[now]
            predicted_noise = (recip * x - clean) / recip_m1
            a_now, a_after = self.alphas_cumprod[now], self.alphas_cumprod[after]
            sigma = self.eta * ((1 - a_now / a_after) * (1 - a_after) / (1 - a_now)).sqrt()
            direction = (1 - a_after - sigma**2).sqrt()
            x = clean * a_after.sqrt() + direction * predicted_noise + sigma * noises[step]
        return x

    def loss(self, x: Tensor, x_lq: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The mean squared error of x₀ on a training pair (DifFIQA, sec. 3.2); a scalar.

        x, x_lq: (n, c, h, w) in [-1, 1], the clean image and its degraded version. t: (n,) in [0, 100).
        The input is (1 − a)·x + a·x_lq with a = sin(t/100·π/2), noised to t; the target is x.
        """
        a = torch.sin(t / TRAINED_STEPS * (math.pi / 2))[:, None, None, None].to(x.dtype)
        noisy = self.q_sample((1 - a) * x + a * x_lq, t, noise)
        return torch.nn.functional.mse_loss(self.model(noisy, t), x)

    def _index(self, t: Tensor | int, x: Tensor) -> Tensor:
        index = torch.as_tensor(t, device=x.device).long().reshape(-1)
        if len(index) not in (1, len(x)):
            raise ValueError(f"expected one step or one per image ({len(x)}), got {len(index)}")
        return index

    @staticmethod
    def _at(schedule: Tensor, index: Tensor) -> Tensor:
        return schedule[index][:, None, None, None]
