"""FaceQAN and DifFIQA as labellers: chips in, a row of values per chip out, noise by the face's name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..stream.types import U8
from . import faceqan
from .diffiqa import Diffusion, draw_noise, score
from .diffiqa.scoring import NOISE_INDEX, REPEATS
from .methods import Autocast
from .networks.folding import fold_batch_norms


class Teacher(Protocol):
    """components: names of the values beside the score."""

    components: tuple[str, ...]

    def settings(self) -> Mapping[str, Any]:
        """Everything that decides a score, but the recogniser and the image."""

    def label(self, chips: U8, names: Sequence[str]) -> list[tuple[float, ...]]:
        """(b, 112, 112, 3) RGB and the faces' names → (score, *components) each."""


@dataclass(frozen=True, slots=True)
class FaceQANSettings:
    """Babnik et al., ICPR 2022: ε, l steps, k copies, exponent p, clip range of the pixels.

    autocast: the recogniser's arithmetic; bfloat16 is about three times as fast on CPUs that have it, and not
    the paper's.
    """

    seed: int = 0
    epsilon: float = faceqan.EPSILON
    steps: int = faceqan.STEPS
    copies: int = faceqan.COPIES
    exponent: float = faceqan.EXPONENT
    clip: tuple[float, float] = faceqan.CLIP
    autocast: Autocast = "none"


class FaceQAN:
    """Labels with FaceQAN. recogniser: RGB in [0, 1] → embeddings, differentiable; a copy of it is used, with
    its batch norms folded into the convolutions (three fifths of the time, for the 128-d MobileFaceNet)."""

    components: tuple[str, ...] = ("q_adv", "symmetry")

    def __init__(self, recogniser: nn.Module, settings: FaceQANSettings | None = None) -> None:
        self._settings = settings or FaceQANSettings()
        self._recogniser = fold_batch_norms(recogniser)

    def settings(self) -> Mapping[str, Any]:
        return {"method": "faceqan", **asdict(self._settings)}

    def label(self, chips: U8, names: Sequence[str]) -> list[tuple[float, ...]]:
        s = self._settings
        images = _pixels(chips)
        noise = torch.stack([faceqan.draw_noise(generator(s.seed, n), s.copies, s.epsilon) for n in names])
        similarities = faceqan.batch_similarities(self._embed, images, noise, s.epsilon, s.steps, s.clip)
        symmetry = faceqan.symmetry(self._embed, images).double().numpy()
        stable = faceqan.adversarial_quality(similarities.numpy())
        scores = faceqan.score(similarities.numpy(), symmetry, s.exponent)
        rows = zip(scores.reshape(-1), stable.reshape(-1), symmetry, strict=True)
        return [(float(q), float(a), float(f)) for q, a, f in rows]

    def _embed(self, x: Tensor) -> Tensor:
        with _arithmetic(self._settings.autocast):
            embedding: Tensor = self._recogniser(x)
        return embedding.float()


@dataclass(frozen=True, slots=True)
class DifFIQASettings:
    """Babnik et al., IJCB 2023: n repeats, t the index of the noise. diffusion_sha256: of the UNet's file.

    autocast: arithmetic of the UNet and the recogniser.
    """

    seed: int = 0
    repeats: int = REPEATS
    t: int = NOISE_INDEX
    diffusion_sha256: str = ""
    autocast: Autocast = "none"


class DifFIQA:
    """Labels with DifFIQA. recogniser: RGB in [0, 1] → embeddings, folded as FaceQAN does. diffusion: its
    weights are laid out channels last, where a CPU is faster by a quarter."""

    components: tuple[str, ...] = ()

    def __init__(
        self, recogniser: nn.Module, diffusion: Diffusion, settings: DifFIQASettings | None = None
    ) -> None:
        self._recogniser = fold_batch_norms(recogniser)
        self._diffusion = diffusion.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._settings = settings or DifFIQASettings()

    def settings(self) -> Mapping[str, Any]:
        return {"method": "diffiqa", **asdict(self._settings)}

    def label(self, chips: U8, names: Sequence[str]) -> list[tuple[float, ...]]:
        s = self._settings
        drawn = [draw_noise(1, generator(s.seed, name), s.repeats, s.t) for name in names]
        # of each image: its repeats, then its flip's; wanted: all images' repeats, then all flips'
        noise = torch.cat([n[: s.repeats] for n, _ in drawn] + [n[s.repeats :] for n, _ in drawn])
        noises = torch.cat(
            [m[:, : s.repeats] for _, m in drawn] + [m[:, s.repeats :] for _, m in drawn], dim=1
        )
        x = _pixels(chips) * 2 - 1
        with _arithmetic(s.autocast):
            scores = score(self._diffusion, self._embed, x, noise, noises, s.repeats, s.t)
        return [(float(value),) for value in scores]

    def _embed(self, x: Tensor) -> Tensor:
        embedding: Tensor = self._recogniser((x + 1) / 2)
        return embedding.float()


def _arithmetic(autocast: Autocast) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=autocast == "bfloat16")


def _pixels(chips: U8) -> Tensor:
    return torch.from_numpy(chips).permute(0, 3, 1, 2).float() / 255


def generator(seed: int, name: str) -> torch.Generator:
    """Noise of a face's own: the same in whatever batch, run or order it is labelled."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def faceqan_settings(seed: int, copies: int | None, autocast: Autocast = "none") -> FaceQANSettings:
    """The paper's settings with this seed, and k where it is given."""
    return FaceQANSettings(seed, copies=faceqan.COPIES if copies is None else copies, autocast=autocast)


def diffiqa_settings(
    seed: int, repeats: int | None, diffusion: Path, autocast: Autocast = "none"
) -> DifFIQASettings:
    """The paper's settings with this seed, the hash of the UNet's file, and n where it is given."""
    digest = hashlib.sha256(diffusion.read_bytes()).hexdigest()
    return DifFIQASettings(
        seed, REPEATS if repeats is None else repeats, diffusion_sha256=digest, autocast=autocast
    )
