"""Reading a DifFIQA checkpoint: the reference's, ours, or a bare UNet."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ...stream.errors import ModelInvalid
from ..checkpoints import load_weights, read_state_dict
from .diffusion import Diffusion
from .unet import UNet

PREFIX = "model."


def load_diffusion(path: Path) -> Diffusion:
    """The diffusion in evaluation mode, its dim, multipliers and length read off the shapes.

    Takes {step, model, opt, ema, scaler} (its entry `model` is used, as for the published scores), the entry
    itself, or the state dict of a UNet, which gets the schedule of 1000 steps.
    """
    state = read_state_dict(path)
    if "init_conv.weight" in state:
        bare = Diffusion(_unet_like({PREFIX + name: value for name, value in state.items()}, path))
        load_weights(bare.model, state, path)
        return bare.eval()
    unet = _unet_like(state, path)
    diffusion = Diffusion(unet, len(state["betas"]) if "betas" in state else 1000)
    load_weights(diffusion, state, path)
    return diffusion.eval()


def _unet_like(state: dict[str, Tensor], path: Path) -> UNet:
    stem = state.get(f"{PREFIX}init_conv.weight")
    if stem is None or stem.ndim != 4:
        names = ", ".join(list(state)[:3])
        raise ModelInvalid(
            f"expected a diffusion UNet (model.init_conv.weight …), got names like {names}: {path}"
        )
    dim, channels = stem.shape[:2]
    widths: list[int] = []
    while (level := state.get(f"{PREFIX}downs.{len(widths)}.3.weight")) is not None:
        widths.append(int(level.shape[0]))
    if not widths or dim < 8 or dim % 8 or any(width % dim for width in widths):
        raise ModelInvalid(f"expected levels of multiples of the stem's width {dim}, got {widths}: {path}")
    return UNet(int(dim), [width // int(dim) for width in widths], int(channels))
