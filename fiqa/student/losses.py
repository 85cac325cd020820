"""What the student learns: labels, order within a person, pair outcomes, and to stay a recogniser."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def label_loss(quality: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Smooth L1 (β = .5) to the labels; all (n,)."""
    return (
        functional.smooth_l1_loss(quality, label, reduction="none", beta=0.5) * weight
    ).sum() / weight.sum()


def ranking_loss(quality: Tensor, label: Tensor, identity: Tensor, sharpness: float = 2.0) -> Tensor:
    """Cross-entropy of "i is better than j" over pairs of one person, with soft targets from the labels
    (RankNet, Burges et al. 2005)."""
    first, second = torch.triu_indices(len(quality), len(quality), 1)
    same = identity[first] == identity[second]
    first, second = first[same], second[same]
    target = torch.sigmoid(sharpness * (label[first] - label[second]))
    return functional.binary_cross_entropy_with_logits(sharpness * (quality[first] - quality[second]), target)


def pair_loss(
    quality: Tensor, similarity: Tensor, identity: Tensor, source: Tensor, scale: Tensor, shift: Tensor
) -> Tensor:
    """The lower quality of a mated pair foretells its similarity (PCNet, Xie et al. 2020).

    similarity: (n, n) standardised. scale, shift: learnt scalars between the two scales. Pairs of one source
    are left out.
    """
    first, second = torch.triu_indices(len(quality), len(quality), 1)
    mated = (identity[first] == identity[second]) & (source[first] != source[second])
    first, second = first[mated], second[mated]
    if not len(first):
        return quality.sum() * 0.0
    lower = torch.minimum(quality[first], quality[second])
    return functional.smooth_l1_loss(lower * scale + shift, similarity[first, second], beta=0.5)


def teacher_loss(embedding: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 − cosine; rows of unit length."""
    return 1.0 - (embedding * teacher).sum(dim=1).mean()


def relation_loss(embedding: Tensor, similarity: Tensor, source: Tensor) -> Tensor:
    """Squared error of the student's similarities against the teachers' mean, over pairs of different
    sources.
    """
    other = source[:, None] != source[None, :]
    return ((embedding @ embedding.T - similarity) ** 2)[other].mean()
