"""Fits the small network that foretells a student's scores, and ships it beside the student.

python -m facesieve.fiqa.bound [--scorer X.onnx] [--chips FOLDER] [--out FOLDER]

It writes X-bound.onnx and X-bound.json beside X.onnx. Chips are those of the student's `prepare` stage (LFW
and Glint people, degraded), once as they are and once moved and recoded as a tracker's next looks are: the
student says what they are worth, the small network learns to say the same from a quarter of the pixels. Every
twentieth source image is held out, and the margin is a quantile of what is left over there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..engines.openvino import OpenVinoEngine
from ..engines.zoo.fetch import digest
from ..stream.errors import FacesieveError
from ..stream.types import CHIP_PX, U8
from .export import drop_notes
from .student.dataset import read_versions
from .student.export import OPSET

SIDE_PX = CHIP_PX // 2
QUANTILE = 0.66
"""Of score − estimate on held-out images: the margin. So a third of all scores lie above their bound, by
little. That is enough, as only the best of many looks count: with each shared film left out in turn, the
least margin with which the others' selections lose less than .01 of score lay here (.08 to .10)."""
_BATCH = 256
_HELD_OUT = 20


class ScoreEstimate(nn.Module):
    """(n, 3, 56, 56) pixels 0..255 → (n,) about the score of a quality network. 73,105 weights, 4 M MAC."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        steps = (2, 2, 2, 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, 3, step, 1, bias=False)
            for i, o, step in zip(widths, widths[1:], steps, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths[1:])
        self.l1 = nn.Linear(2 * widths[-1] + widths[-2], 64)
        self.l2 = nn.Linear(64, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels.float() - 127.5) / 64
        return self.behind_first(self.norms[0](self.convolutions[0](x)))

    def behind_first(self, x: Tensor) -> Tensor:
        """(n, 16, 28, 28) what the first layer gives, before its ReLU → (n,)."""
        x = functional.relu(x)
        means = []
        for convolution, norm in zip(self.convolutions[1:], self.norms[1:], strict=True):
            x = functional.relu(norm(convolution(x)))
            means.append(x.mean((2, 3)))
        spread = (x * x).mean((2, 3)).add(1e-6).sqrt()
        inner = functional.relu(self.l1(torch.cat([means[-1], spread, means[-2]], 1)))
        # written out: a matrix product would run in bfloat16, in steps of a hundredth of the score's range
        score: Tensor = (inner * self.l2.weight).sum(1) + self.l2.bias
        return score


class _OnChips(nn.Module):
    """The same on (n, 112, 112, 3) uint8 chips, in eval mode.

    Halving, normalising and the first layer are one convolution, over pairs of pixels that lie side by side:
    (n, 112, 56, 6) is the same memory. Compiled for a batch size it takes a third of the time of the layers
    one by one, which handle three channels as if they were sixteen, and bfloat16 rounds once less.
    """

    def __init__(self, estimate: ScoreEstimate) -> None:
        super().__init__()
        self.estimate = estimate
        first = cast(nn.Conv2d, estimate.convolutions[0])
        fused = fuse_conv_bn_eval(first, cast(nn.BatchNorm2d, estimate.norms[0]))
        # (out, pixel of a pair, colour, row, column): all four pixels that are halved to one weigh the same
        pairs = (fused.weight / (4 * 64))[:, None].expand(-1, 2, -1, -1, -1).repeat_interleave(2, 3)
        self.weights = nn.Parameter(pairs.reshape(len(pairs), 6, 6, 3), requires_grad=False)
        self.bias = fused.bias

    def forward(self, chips: Tensor) -> Tensor:
        pairs = chips.reshape(-1, CHIP_PX, SIDE_PX, 6).permute(0, 3, 1, 2)
        x = functional.conv2d(pairs.float() - 127.5, self.weights, self.bias, stride=(4, 2), padding=(2, 1))
        return self.estimate.behind_first(x)


@dataclass(frozen=True, slots=True)
class Taught:
    """pixels: (m, 56, 56, 3) uint8. scores: (m,) float32, the scorer's. source: (m,) number of the image."""

    pixels: U8
    scores: NDArray[np.float32]
    source: NDArray[np.int64]


def teach(scorer: Path, chips: U8, source: NDArray[np.integer], out: Path, *, seed: int = 0) -> Taught:
    """What the scorer says of the chips and of a moved copy of each; also kept below out."""
    cv2.setNumThreads(1)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(chips))
    out.mkdir(parents=True, exist_ok=True)
    shape = (2 * len(chips), SIDE_PX, SIDE_PX, 3)
    pixels = np.lib.format.open_memmap(out / "pixels.npy", "w+", np.uint8, shape)
    scores, taken = np.zeros(len(pixels), np.float32), np.zeros(len(pixels), np.int64)
    with OpenVinoEngine(scorer, threads=1) as engine:
        quality = next(name for name, (shape, _) in engine.outputs.items() if len(shape) < 2 or shape[1] == 1)
        for row, rows, moved in _batches(order):
            batch = np.asarray(chips[rows])
            if moved:
                batch = np.stack([_next_look(chip, generator) for chip in batch])
            place = slice(row, row + len(rows))
            scores[place] = engine.infer({"chips": np.ascontiguousarray(batch)})[quality].reshape(-1)
            taken[place] = source[rows]
            pixels[place] = [cv2.resize(c, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for c in batch]
    pixels.flush()
    np.savez(out / "taught.npz", scores=scores, source=taken)
    return Taught(pixels, scores, taken)


def _batches(order: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], bool]]:
    row = 0
    for moved in (False, True):
        for start in range(0, len(order), 32):
            rows = np.sort(order[start : start + 32])
            yield row, rows, moved
            row += len(rows)


def _next_look(chip: U8, generator: np.random.Generator) -> U8:
    """The chip as the next frame's landmarks, light and codec might have it."""
    angle, scale = np.deg2rad(generator.normal(0, 4)), np.exp(generator.normal(0, 0.05))
    shift = generator.normal(0, 2.5, 2)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([CHIP_PX / 2, CHIP_PX / 2])
    matrix = np.column_stack([turn, middle + shift - turn @ middle])
    chip = np.asarray(
        cv2.warpAffine(
            chip, matrix, (CHIP_PX, CHIP_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ),
        np.uint8,
    )
    if generator.random() < 0.3:
        gain, offset = float(np.exp(generator.normal(0, 0.2))), float(generator.normal(0, 8))
        chip = np.asarray(cv2.convertScaleAbs(chip, alpha=gain, beta=offset), np.uint8)
    if generator.random() < 0.3:
        quality = int(generator.integers(30, 90))
        _, data = cv2.imencode(".jpg", chip, [cv2.IMWRITE_JPEG_QUALITY, quality])
        chip = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return chip


def fit(taught: Taught, *, epochs: float, seed: int = 1) -> ScoreEstimate:
    """Smooth L1 regression by AdamW under a cosine; held-out images are left out."""
    torch.manual_seed(0)
    generator = np.random.default_rng(seed)
    network = ScoreEstimate()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    rows = np.flatnonzero(~_held_out(taught))
    steps, order, at = int(epochs * len(rows) / _BATCH), generator.permutation(rows), 0
    warm_up = min(200, max(1, steps // 10))
    for step in range(steps):
        rate = 3e-3 * min(1.0, step / warm_up) * (0.5 + 0.5 * np.cos(np.pi * step / steps)) + 1e-5
        for group in optimiser.param_groups:
            group["lr"] = rate
        if at + _BATCH > len(order):
            order, at = generator.permutation(rows), 0
        batch = np.sort(order[at : at + _BATCH])
        at += _BATCH
        pixels = torch.from_numpy(np.asarray(taught.pixels[batch]))
        if generator.random() < 0.5:
            pixels = pixels.flip(2)
        with torch.autocast("cpu", torch.bfloat16):
            said = network(pixels.permute(0, 3, 1, 2))
        loss = functional.smooth_l1_loss(said.float(), torch.from_numpy(taught.scores[batch]), beta=0.3)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    network.eval()
    return network


def _held_out(taught: Taught) -> NDArray[np.bool_]:
    return np.asarray(taught.source % _HELD_OUT == 7)


def left_over(network: ScoreEstimate, taught: Taught) -> NDArray[np.float64]:
    """Score − estimate of the held-out chips."""
    rows = np.flatnonzero(_held_out(taught))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            batch = torch.from_numpy(np.asarray(taught.pixels[rows[start : start + _BATCH]]))
            parts.append(network(batch.permute(0, 3, 1, 2)).double().numpy())
    return np.asarray(taught.scores[rows] - np.concatenate(parts), np.float64)


def release(network: ScoreEstimate, scorer: Path, rest: NDArray[np.float64], quantile: float) -> Path:
    """Writes the network and its facts beside the scorer; returns the path of the network."""
    path = scorer.with_name(f"{scorer.stem}-bound.onnx")
    network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        program = torch.onnx.export(
            _OnChips(network.eval()),
            (torch.zeros(2, CHIP_PX, CHIP_PX, 3, dtype=torch.uint8),),
            dynamo=True,
            dynamic_shapes={"chips": {0: torch.export.Dim("n", min=1, max=1 << 16)}},
            input_names=["chips"],
            output_names=["estimate"],
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    drop_notes(model)
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    path.write_bytes(data)
    facts = {
        "scorer": scorer.stem,
        "scorer_sha256": digest(scorer),
        "sha256": hashlib.sha256(data).hexdigest(),
        "margin": round(float(np.quantile(rest, quantile)), 4),
        "quantile": quantile,
        "held_out": {
            "chips": len(rest),
            "sd": round(float(rest.std()), 4),
            "mean": round(float(rest.mean()), 4),
        },
    }
    path.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m facesieve.fiqa.bound", description=__doc__)
    parser.add_argument("--scorer", type=Path, default=Path("engines/zoo/weights/facesieve-t.onnx"))
    parser.add_argument("--chips", type=Path, default=Path("checkpoints/student/data"))
    parser.add_argument("--out", type=Path, default=Path("checkpoints/bound"))
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--quantile", type=float, default=QUANTILE)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        versions = read_versions(arguments.chips)
        taught = teach(arguments.scorer, versions.chips, versions.source, arguments.out)
        network = fit(taught, epochs=arguments.epochs)
        torch.save(network.state_dict(), arguments.out / "bound.pt")
        path = release(network, arguments.scorer, left_over(network, taught), arguments.quantile)
    except FacesieveError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    print(path.with_suffix(".json").read_text(encoding="utf-8"))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
