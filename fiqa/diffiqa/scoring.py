"""DifFIQA's score: how little an embedding moves under noise, reconstruction and flip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from .diffusion import Diffusion

Embed = Callable[[Tensor], Tensor]

REPEATS: Final = 10
NOISE_INDEX: Final = 5


def repeat_with_flips(x: Tensor, repeats: int = REPEATS) -> Tensor:
    """(b, c, h, w) → (2·b·repeats, c, h, w): each image `repeats` times in a row; then all flips so."""
    return torch.cat((x, x.flip(-1))).repeat_interleave(repeats, dim=0)


def draw_noise(
    images: int, generator: torch.Generator, repeats: int = REPEATS, t: int = NOISE_INDEX, size_px: int = 112
) -> tuple[Tensor, Tensor]:
    """Noise for `score`: (2·images·repeats, 3, s, s) for q_sample, t of those for DDIM."""
    shape = (2 * images * repeats, 3, size_px, size_px)
    return torch.randn(shape, generator=generator), torch.randn((t, *shape), generator=generator)


@torch.no_grad()
def score(
    diffusion: Diffusion,
    embed: Embed,
    x: Tensor,
    noise: Tensor,
    noises: Sequence[Tensor] | Tensor,
    repeats: int = REPEATS,
    t: int = NOISE_INDEX,
) -> Tensor:
    """DifFIQA's quality of each image (Babnik et al., IJCB 2023, eq. 5): (b,), in [-1, 1], higher is better.

    x: (b, 3, 112, 112) RGB in [-1, 1]. embed: takes such images to embeddings (·, d).
    noise: (2·b·repeats, 3, 112, 112), noises: t of that shape; in the order of repeat_with_flips.
    x_t goes to the recogniser unclipped.
    """
    start = repeat_with_flips(x, repeats)
    if noise.shape != start.shape:
        raise ValueError(f"expected noise {tuple(start.shape)} (images, then flips), got {noise.shape = }")
    noisy = diffusion.q_sample(start, t, noise)
    restored = diffusion.ddim(noisy, t, noises)
    once = embed(torch.cat((x, x.flip(-1))))
    e, e_flip = once.repeat_interleave(repeats, dim=0).chunk(2)
    e_noisy, e_noisy_flip = embed(noisy).chunk(2)
    e_restored, e_restored_flip = embed(restored).chunk(2)
    each = score_embeddings(e, e_noisy, e_restored, e_noisy_flip, e_restored_flip, e_flip)
    return each.reshape(len(x), repeats).mean(dim=1)


def score_embeddings(
    e: Tensor,
    e_noisy: Tensor,
    e_restored: Tensor,
    e_noisy_flip: Tensor,
    e_restored_flip: Tensor,
    e_flip: Tensor,
) -> Tensor:
    """1/5 of the sum of the five cosines of e with the others: all (n, d) → (n,)."""
    others = (e_noisy, e_restored, e_noisy_flip, e_restored_flip, e_flip)
    return torch.stack([F.cosine_similarity(e, other, dim=-1) for other in others]).mean(dim=0)
