"""facesieve-t: dlib's trunk behind a fixed resampling, an embedding and a quality from all its levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .dlib_resnet import LEVELS, MEAN_RGB, DlibResNet, Trunk
from .resample import DlibChip

EMBEDDING = 128


class Student(nn.Module):
    """Chips → quality and embedding in one pass.

    levels: (width, blocks) a level. size: px of dlib's chip at the trunk's input (150 is dlib's own). mirror:
    run the mirror image as well; the embedding is the mean of both and the quality sees how far apart they
    are, which is FaceQAN's symmetry term. eyes: the quality also sees the eye distance. wide: the
    embedding is read out of all levels (student.readout), not of the last one alone.
    """

    mean: Tensor

    def __init__(
        self,
        levels: tuple[tuple[int, int], ...] = LEVELS,
        size: int = 150,
        mirror: bool = False,
        eyes: bool = False,
        hidden: int = 128,
        wide: bool = False,
    ) -> None:
        super().__init__()
        self.chip = DlibChip(size)
        self.trunk = Trunk(levels)
        self.mirror, self.eyes, self.wide = mirror, eyes, wide
        counts = [count for _, count in levels]
        self.ends = [sum(counts[: i + 1]) - 1 for i in range(len(counts))]
        features = sum(width for width, _ in levels)
        self.fc = nn.Linear(features if wide else self.trunk.width, EMBEDDING)
        self.norm = nn.BatchNorm1d(features, affine=False)
        self.l1 = nn.Linear(features + int(mirror) + int(eyes), hidden)
        self.l2 = nn.Linear(hidden, 1)
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1), persistent=False)

    def start_from(self, dlib: DlibResNet, centre: Tensor) -> None:
        """Takes dlib's weights; levels or blocks that were left out are skipped.

        centre: (128,) dlib's mean embedding, taken off so that strangers' cosines lie around zero.
        """
        kept, at = [], 0
        full = [count for _, count in LEVELS]
        counts = [self.ends[0] + 1] + [b - a for a, b in zip(self.ends, self.ends[1:], strict=False)]
        for level, count in enumerate(counts):
            kept += list(range(at, at + count))
            at += full[level]
        self.trunk.stem.load_state_dict(dlib.trunk.stem.state_dict())
        for block, source in zip(self.trunk.blocks, kept, strict=True):
            block.load_state_dict(dlib.trunk.blocks[source].state_dict())
        with torch.no_grad():
            self.fc.bias.copy_(-centre)
            if self.trunk.width == dlib.trunk.width and len(kept) > at - LEVELS[-1][1]:
                self.fc.weight[:, : -self.trunk.width] = 0.0
                self.fc.weight[:, -self.trunk.width :] = dlib.fc.weight

    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, 112, 112) 0..255 → (n, 128) embedding before scaling, (n, f) means of every level."""
        return self.tail(*self.body(pixels, 0), 0)

    def body(self, pixels: Tensor, blocks: int) -> tuple[Tensor, list[Tensor]]:
        """The stem and the first so many blocks: their map and the means of the levels that end in them."""
        x = self.chip((pixels - self.mean) / 256.0)
        x = functional.max_pool2d(functional.relu(self.trunk.stem(x)), 3, 2)
        return self._blocks(x, 0, blocks)

    def tail(self, x: Tensor, means: list[Tensor], blocks: int) -> tuple[Tensor, Tensor]:
        """What `body` left to do: embedding before scaling, means of every level."""
        x, more = self._blocks(x, blocks, len(self.trunk.blocks))
        levels = [*means, *more]
        every = torch.cat(levels, dim=1)
        return self.fc(every if self.wide else levels[-1]), every

    def _blocks(self, x: Tensor, first: int, last: int) -> tuple[Tensor, list[Tensor]]:
        means = []
        for index in range(first, last):
            x = self.trunk.blocks[index](x)
            if index in self.ends:
                means.append(x.mean(dim=(2, 3)))
        return x, means

    def head(self, means: Tensor, symmetry: Tensor | None, eyes_px: Tensor | None) -> Tensor:
        """(n,) quality."""
        parts = [self.norm(means)]
        if symmetry is not None:
            parts.append(4.0 * symmetry[:, None] - 2.0)
        if eyes_px is not None:
            parts.append(torch.log2(eyes_px.clamp(4.0, 48.0) / 24.0)[:, None])
        inner = functional.gelu(self.l1(torch.cat(parts, dim=1)))
        # l2 written out: CPUs run matrix products in bfloat16, whose steps would tie scores that differ
        score: Tensor = (inner * self.l2.weight).sum(1, keepdim=True) + self.l2.bias
        return score[:, 0]

    def join(self, views: Sequence[tuple[Tensor, Tensor]], eyes_px: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features of the chip, and of its mirror image where `mirror`, → quality and embedding, in
        float32.
        """
        raw, means = views[0][0].float(), views[0][1].float()
        symmetry = None
        if self.mirror:
            first, second = (functional.normalize(view[0].float(), dim=1) for view in views)
            symmetry = (first * second).sum(dim=1)
            raw, means = first + second, (means + views[1][1].float()) / 2
        return self.head(means, symmetry, eyes_px if self.eyes else None), functional.normalize(raw, dim=1)

    def forward(self, chips: Tensor, eyes_px: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, 112, 112, 3) uint8 RGB (and (n,) eye distances in px) → (n,) quality, (n, 128) unit
        embedding.
        """
        pixels = chips.float().permute(0, 3, 1, 2)
        views = [self.features(pixels)]
        if self.mirror:
            views.append(self.features(pixels.flip(3)))
        return self.join(views, eyes_px)
