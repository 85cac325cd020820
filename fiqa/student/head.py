"""The quality head alone: heads fitted on what a finished student's levels see, merged into one.

The trunk and the embedding stay bit for bit, so whatever was measured with the embedding still holds.
Several heads from different seeds, each stopped early, are averaged: side by side in one hidden layer, which
is the same network with a wider middle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from scipy.special import ndtri
from torch import Tensor, nn
from torch.nn import functional

from ...stream.errors import ModelInvalid
from ...stream.types import F32
from . import losses
from .dataset import Versions
from .labels import Outcome
from .network import Student
from .recipe import Head
from .train import Averaged, batches, similarity_scale


@dataclass(frozen=True, slots=True)
class HeadLesson:
    """What heads are fitted on, row for row. features: (n, f) means of every level. labels, weights: (n,).
    rows: those to learn from. recognisers: per recogniser (n, d) unit embeddings."""

    versions: Versions
    rows: NDArray[np.intp]
    features: F32
    labels: F32
    weights: F32
    recognisers: Sequence[F32]


class QualityHead(nn.Module):
    """(n, f) → (n,), as Student.head, with dropout while it learns."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features, affine=False)
        self.l1, self.l2 = nn.Linear(features, hidden), nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.gelu(self.l1(self.dropout(self.norm(x))))
        score: Tensor = self.l2(self.dropout(inner))
        return score[:, 0]


def normal_scores(values: NDArray[np.floating]) -> F32:
    """(n,) the normal quantile of each value's rank: order is kept, saturated ends are spread out."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(ndtri((rank + 0.5) / len(values)), np.float32)


def head_labels(outcomes: Mapping[str, Outcome], peer: F32, settings: Head) -> tuple[F32, F32]:
    """(n,) labels of mean 0 and deviation 1, and (n,) weights.

    A share for the similarity to the better half of the mates under each recogniser, one for the mirror
    similarity, one for LightQNet; the last two by rank, because LightQNet's log-odds are all but bimodal and
    what a least-squares fit of them learns is little more than which side a chip is on.
    People with a single image: the label that similarity to the undamaged source foretells, at a quarter.
    """
    total = np.zeros(len(peer), np.float32)
    known = np.ones(len(peer), bool)
    for name, share in settings.shares.items():
        each = outcomes[name]
        known = ~np.isnan(each.mates)
        terms = np.stack([each.source, each.source**2, np.ones_like(each.source)], axis=1)
        fit, *_ = np.linalg.lstsq(terms[known], each.mates[known], rcond=None)
        mates = np.where(known, each.mates, terms @ fit)
        total += share * (mates - mates.mean()) / mates.std()
        total += settings.mirror_share / len(settings.shares) * normal_scores(each.mirror)
    total += settings.lightqnet_share * normal_scores(peer)
    labels = (total - total.mean()) / total.std()
    return labels.astype(np.float32), np.where(known, 1.0, 0.25).astype(np.float32)


def fit_head(lesson: HeadLesson, settings: Head, seed: int) -> QualityHead:
    """One head with averaged weights, in evaluation mode."""
    torch.manual_seed(seed)
    head = QualityHead(lesson.features.shape[1], settings.hidden, settings.dropout)
    scale, shift = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))
    groups: list[dict[str, Any]] = [
        {"params": head.parameters()},
        {"params": [scale, shift], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.weight_decay)
    averaged = Averaged(head, settings.average)
    clean = lesson.rows[lesson.versions.version[lesson.rows] == 0]
    scales = [similarity_scale(table, clean, lesson.versions) for table in lesson.recognisers]
    drawn = batches(lesson.versions, lesson.rows, settings.groups, seed)
    for step in range(settings.steps):
        share = step / settings.steps
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share))
        rows = next(drawn)
        quality = head.train()(torch.from_numpy(lesson.features[rows]))
        loss = _loss(quality, lesson, rows, settings, scales, (scale, shift))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        averaged.update(head, step)
    head.load_state_dict(averaged.state)
    return head.eval()


def _loss(
    quality: Tensor,
    lesson: HeadLesson,
    rows: NDArray[np.intp],
    settings: Head,
    scales: Sequence[tuple[float, float]],
    line: tuple[Tensor, Tensor],
) -> Tensor:
    """Label, order within a person, and the similarity of mated pairs, as in the training of the trunk.

    scales: mean and deviation of strangers' similarities per recogniser. line: from quality to similarity.
    """
    label = torch.from_numpy(lesson.labels[rows])
    identity = torch.from_numpy(lesson.versions.identity[rows])
    source = torch.from_numpy(lesson.versions.source[rows])
    standard = torch.zeros(len(rows), len(rows))
    for table, (mean, deviation) in zip(lesson.recognisers, scales, strict=True):
        own = torch.from_numpy(table[rows].astype(np.float32))
        standard += (own @ own.T - mean) / deviation / len(scales)
    pairs = losses.pair_loss(quality, standard / 2 - 1.5, identity, source, *line)
    order = losses.ranking_loss(quality, label, identity)
    whole = losses.label_loss(quality, label, torch.from_numpy(lesson.weights[rows]))
    return whole + settings.ranking * order + settings.pairs * pairs


def merge_heads(student: Student, heads: Sequence[QualityHead], shares: Sequence[float]) -> Student:
    """A student whose quality is Σ share · head and whose trunk and embedding are the given one's."""
    merged = Student(hidden=sum(head.l1.out_features for head in heads), wide=student.wide)
    kept = {k: v for k, v in student.state_dict().items() if not k.startswith(("norm.", "l1.", "l2."))}
    means = [_fitted(head.norm.running_mean) for head in heads]
    spreads = [(_fitted(head.norm.running_var) + head.norm.eps).sqrt() for head in heads]
    mean, common = torch.stack(means).mean(0), torch.stack(spreads).mean(0)
    weights, biases = [], []
    for head, own_mean, own_spread in zip(heads, means, spreads, strict=True):
        weight = head.l1.weight.detach()
        weights.append(weight * (common / own_spread))
        biases.append(head.l1.bias.detach() + weight @ ((mean - own_mean) / own_spread))
    kept["norm.running_mean"], kept["norm.running_var"] = mean, common**2 - merged.norm.eps
    kept["norm.num_batches_tracked"] = torch.tensor(0)
    kept["l1.weight"], kept["l1.bias"] = torch.cat(weights), torch.cat(biases)
    outer = [(head.l2.weight.detach(), head.l2.bias.detach()) for head in heads]
    kept["l2.weight"] = torch.cat([share * w for share, (w, _) in zip(shares, outer, strict=True)], dim=1)
    kept["l2.bias"] = torch.stack([share * b for share, (_, b) in zip(shares, outer, strict=True)]).sum(0)
    merged.load_state_dict(kept)
    return merged.eval()


def head_of(student: Student) -> QualityHead:
    """The student's own head."""
    head = QualityHead(student.l1.in_features, student.l1.out_features, 0.0)
    names = head.state_dict().keys()
    head.load_state_dict({k: v for k, v in student.state_dict().items() if k in names})
    return head.eval()


def shares_of(heads: Sequence[QualityHead], features: F32, kept: float) -> list[float]:
    """What each head counts in the mean of standardised scores: the first one `kept`, the others alike."""
    with torch.inference_mode():
        spread = [float(head(torch.from_numpy(features)).std()) for head in heads]
    wanted = [kept] + [(1 - kept) / (len(heads) - 1)] * (len(heads) - 1)
    unit = sum(share * own for share, own in zip(wanted, spread, strict=True))
    return [share * unit / own for share, own in zip(wanted, spread, strict=True)]


def _fitted(statistic: Tensor | None) -> Tensor:
    if statistic is None:
        raise ModelInvalid("expected a head with running statistics, got none")
    return statistic


def student_of(path: Path) -> Student:
    """The student of an exported ONNX file, weights as they lie there (half precision)."""
    found = {
        tensor.name.removesuffix(".half"): torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
        for tensor in onnx.load(path).graph.initializer
        if tensor.dims and tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }
    if "l1.weight" not in found:
        raise ModelInvalid(f"expected an exported student with a weight l1.weight: {path}")
    hidden, features = found["l1.weight"].shape
    student = Student(hidden=hidden, wide=found["fc.weight"].shape[1] == features)
    state = student.state_dict()
    missing = {name for name in state if name not in found and name != "norm.num_batches_tracked"}
    if missing:
        raise ModelInvalid(f"expected a student's weights in {path}, without {', '.join(sorted(missing))}")
    student.load_state_dict({name: found.get(name, value) for name, value in state.items()})
    return student.eval()
