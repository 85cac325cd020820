"""Labels and losses of the students: eDifFIQA's C3 target and both published objectives."""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON: Final = 0.5
THETA: Final = 0.5
SMOOTH_L1_BETA: Final = 0.5


def c3_target(q: Any, embedding: Any, centre: Any, epsilon: float = EPSILON) -> Tensor:
    """q° = clip(q − ε·d, 0, 1), d = 1 − cos(embedding, centre): the label, less what is off-centre.

    eDifFIQA (TBIOM 2024), component C3; the paper writes the similarity, the reference subtracts this
    distance. q: a number or (n,), normalised to [0, 1]. embedding: (d,) or (n, d), the student's own;
    centre: (d,) or (n, d). Tensors, arrays or numbers. Returns a tensor of q's shape, without gradient.
    """
    q, embedding, centre = (torch.as_tensor(value).detach() for value in (q, embedding, centre))
    if not q.is_floating_point():
        q = q.float()
    if q.ndim == 2 and embedding.ndim == 2 and q.shape == (len(embedding), 1):
        q = q.squeeze(1)
    distance = 1 - F.cosine_similarity(embedding, centre.to(embedding), dim=-1)
    if q.ndim and distance.ndim and q.shape != distance.shape:
        raise ValueError(f"expected one label per embedding, got {q.shape = } and {embedding.shape = }")
    return torch.clamp(q - epsilon * distance.to(q.dtype), 0, 1)


def ediffiqa_loss(
    quality: Tensor,
    target: Tensor,
    embedding: Tensor,
    teacher_embedding: Tensor,
    theta: float = THETA,
) -> Tensor:
    """θ·mean(1 − cos(ê, e)) + (1 − θ)·mean|q̂ − q°|: a scalar (eDifFIQA, TBIOM 2024).

    quality q̂, target q°: (n,) or (n, 1); q° comes from c3_target when training, and is the plain label when
    validating. embedding ê of the student, teacher_embedding e: (n, d), of any length.
    """
    consistency = _distance(embedding, teacher_embedding)
    return theta * consistency + (1 - theta) * F.l1_loss(*_flat(quality, target))


def aikd_loss(
    quality: Tensor,
    target: Tensor,
    embedding: Tensor,
    teacher_embedding: Tensor,
    beta: float = SMOOTH_L1_BETA,
) -> Tensor:
    """SmoothL1(β)(q̂, q) + mean(1 − cos(ê, e)): a scalar (AI-KD, IWBF 2024, arXiv 2404.09555).

    quality q̂ and embedding ê of the student on the misaligned crop, target q the label as it is,
    teacher_embedding e of the aligned crop. Shapes as in ediffiqa_loss.
    """
    return F.smooth_l1_loss(*_flat(quality, target), beta=beta) + _distance(embedding, teacher_embedding)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    a = torch.as_tensor(a)
    return (1 - F.cosine_similarity(a, torch.as_tensor(b).to(a), dim=-1)).mean()


def _flat(quality: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 1) and (n,) alike as (n,): as they are they would broadcast to (n, n)."""
    quality = torch.as_tensor(quality).reshape(-1)
    target = torch.as_tensor(target).to(quality).reshape(-1)
    if quality.shape != target.shape:
        raise ValueError(f"expected one label per quality, got {len(target)} for {len(quality)}")
    return quality, target
