"""FaceQAN: quality as an embedding's stability under adversarial noise.

Babnik, Peer, Štruc, ICPR 2022, arXiv 2212.02127. Images are RGB in [0, 1]; `embed` takes (n, 3, h, w) of them
to (n, d) embeddings and normalises its own input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Embed = Callable[[Tensor], Tensor]

EPSILON: Final = 0.001
STEPS: Final = 5
COPIES: Final = 10
EXPONENT: Final = 5.0
CLIP: Final = (0.0, 1.0)


def draw_noise(
    generator: torch.Generator, copies: int = COPIES, epsilon: float = EPSILON, size_px: int = 112
) -> Tensor:
    """(copies, 3, size_px, size_px) uniform in [−ε, ε)."""
    unit = torch.rand((copies, 3, size_px, size_px), generator=generator)
    return (unit * 2 - 1) * epsilon


def adversarial_similarities(
    embed: Embed,
    image: Tensor | NDArray[np.float32],
    noise: Tensor | NDArray[np.floating],
    epsilon: float = EPSILON,
    steps: int = STEPS,
    clip: tuple[float, float] = CLIP,
) -> Tensor:
    """S: cosines of the image's embedding with those of its attacked copies, (steps, k): (l, k) in the paper.

    image: (3, h, w) or (1, 3, h, w), RGB in [0, 1]. noise: (k, 3, h, w), uniform in [−ε, ε].
    Row i is taken before step i. A step adds ε·sign(∇(1 − cos)) and clips to `clip`, as does the start
    (eq. 2 and 3: the basic iterative method without a bound on the sum). The reference clips to (−1, 1).
    """
    image = torch.as_tensor(image)
    noise = torch.as_tensor(noise).to(image)  # numpy draws float64, which no float32 network takes
    if image.ndim == noise.ndim - 1:
        image = image[None]
    if image.ndim != 4 or len(image) != 1 or noise.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"expected one image (3, h, w) and noise (k, 3, h, w), got {image.shape = }, {noise.shape = }"
        )
    return batch_similarities(embed, image, noise[None], epsilon, steps, clip)[0]


def batch_similarities(
    embed: Embed,
    images: Tensor,
    noise: Tensor,
    epsilon: float = EPSILON,
    steps: int = STEPS,
    clip: tuple[float, float] = CLIP,
) -> Tensor:
    """As adversarial_similarities for images (b, 3, h, w) with noise (b, k, 3, h, w): (b, steps, k)."""
    b, k = noise.shape[:2]
    low, high = clip
    with torch.no_grad():
        anchor = embed(images).repeat_interleave(k, dim=0)
    attacked = (images[:, None] + noise).clamp(low, high).flatten(0, 1).detach()
    taken: list[Tensor] = []
    same = torch.ones(len(anchor), device=anchor.device)
    for step in range(steps):
        if step == steps - 1:  # nothing follows the last similarities: no gradient needed
            with torch.no_grad():
                taken.append(F.cosine_similarity(anchor, embed(attacked), dim=1))
            break
        attacked.requires_grad_(True)
        with torch.enable_grad():
            embedding = embed(attacked)
            # The reference's own loss, 1 − cos meaned over an image's copies: only the sign of the gradient
            # is used, and for a pixel that hardly matters it hangs on how this expression rounds.
            losses = F.cosine_embedding_loss(anchor, embedding, same, reduction="none")
            loss = losses.reshape(b, k).mean(1).sum()
            (gradient,) = torch.autograd.grad(loss, attacked)
        taken.append(F.cosine_similarity(anchor, embedding.detach(), dim=1))
        attacked = (attacked.detach() + epsilon * gradient.sign()).clamp(low, high)
    return torch.stack(taken).reshape(steps, b, k).transpose(0, 1)


@torch.no_grad()
def symmetry(embed: Embed, images: Tensor) -> Tensor:
    """s_f = cos(e(x), e(flip x)) of images (b, 3, h, w): (b,) (eq. 6: the share of the pose)."""
    e, e_flip = embed(torch.cat((images, images.flip(-1)))).chunk(2)
    return F.cosine_similarity(e, e_flip, dim=1)


def adversarial_quality(similarities: NDArray[np.floating] | Tensor) -> NDArray[np.float64]:
    """q_adv = (μ + 1)/2 · clip(1 − σ, 0, 1), σ of the population (eq. 5).

    similarities: (…, l, k), over whose last two axes μ and σ run; a flat (l·k,) is one image.
    """
    s = np.asarray(similarities, np.float64)
    axes = (-2, -1) if s.ndim > 1 else (-1,)
    quality = (s.mean(axis=axes) + 1) / 2 * np.clip(1 - s.std(axis=axes), 0, 1)
    return np.asarray(quality)


def score(
    similarities: NDArray[np.floating] | Tensor,
    symmetry: NDArray[np.floating] | Tensor | float,
    exponent: float = EXPONENT,
) -> NDArray[np.float64] | np.float64:
    """Q = z^p of z = q_adv·s_f; −|z|^p for a negative z (eq. 7), so that order is kept at even p too.

    similarities: (l, k) with a number s_f → a number; (n, l, k) with s_f (n,) → (n,) float64.
    Higher is better, at most 1.
    """
    quality = adversarial_quality(similarities)
    z = quality * np.asarray(symmetry, np.float64).reshape(quality.shape)
    result = np.sign(z) * np.abs(z) ** exponent
    return np.float64(result) if result.ndim == 0 else np.asarray(result, np.float64)
