"""The denoising UNet of DifFIQA (Babnik et al., IJCB 2023), in the layout of its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8
HEADS = 4
HEAD_WIDTH = 32
NORM_EPS = 1e-5


class WeightStandardizedConv2d(nn.Conv2d):
    """A convolution whose filters have mean 0 and variance 1 each (Qiao et al. 2019, arXiv 1903.10520)."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        variance = self.weight.var(dim=(1, 2, 3), correction=0, keepdim=True)
        filters = (self.weight - mean) * (variance + NORM_EPS).rsqrt()
        return F.conv2d(x, filters, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of every position; a gain `g`, no offset."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        gain = self.g.flatten()
        return F.layer_norm(x.permute(0, 2, 3, 1), gain.shape, gain, eps=NORM_EPS).permute(0, 3, 1, 2)


class PreNorm(nn.Module):
    def __init__(self, channels: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn
        self.norm = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fn(self.norm(x))
        return y


class Residual(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.fn(x)
        return y


class SinusoidalEmbedding(nn.Module):
    """time (n,) → (n, dim): sines, then cosines, of time over 10000^(i/(dim/2 − 1))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.frequencies = dim // 2

    def forward(self, time: Tensor) -> Tensor:
        steps = torch.arange(self.frequencies, device=time.device)
        frequencies = torch.exp(steps * -(math.log(10000) / (self.frequencies - 1)))
        angles = time[:, None] * frequencies[None, :]
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class Block(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.proj = WeightStandardizedConv2d(c_in, c_out, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, c_out)

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = self.proj(x)
        if torch.is_grad_enabled():  # the gradient of a bfloat16 group norm takes three times as long
            x = x.to(self.norm.weight.dtype)
        x = self.norm(x)
        if scale_shift is not None:
            scale, shift = scale_shift
            x = x * (scale + 1) + shift
        return F.silu(x)


class ResnetBlock(nn.Module):
    """Two blocks and a skip; the time embedding scales and shifts the first one only."""

    def __init__(self, c_in: int, c_out: int, time_width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_width, c_out * 2))
        self.block1 = Block(c_in, c_out)
        self.block2 = Block(c_out, c_out)
        self.res_conv: nn.Module = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, dim=1)
        h: Tensor = self.block2(self.block1(x, (scale, shift)))
        skip: Tensor = self.res_conv(x)
        return h + skip


def _heads(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, 3·HEADS·HEAD_WIDTH, h, w) → three of (n, HEADS, HEAD_WIDTH, h·w)."""
    n, _, height, width = qkv.shape
    q, k, v = (part.reshape(n, HEADS, HEAD_WIDTH, height * width) for part in qkv.chunk(3, dim=1))
    return q, k, v


class LinearAttention(nn.Module):
    """Attention in time linear in the number of positions (Shen et al. 2018, arXiv 1812.01243).

    Only q and k are ever as wide as all heads: v and the output are linear in the input and in q, so their
    weights are multiplied into the small (HEAD_WIDTH, channels) context of each head.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = HEADS * HEAD_WIDTH
        self.to_qkv = nn.Conv2d(channels, width * 3, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(width, channels, 1), ChannelNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
        to_q, to_k, to_v = self.to_qkv.weight.flatten(1).chunk(3)
        q = F.linear(rows, to_q).reshape(n, -1, HEADS, HEAD_WIDTH)
        k = to_k.expand(n, -1, -1).bmm(rows.transpose(1, 2))  # (n, 128, h·w): positions last, for the softmax
        # autocast would widen the softmaxes, for bmm to narrow them again
        with torch.autocast(x.device.type, enabled=False):
            q, k = q.softmax(dim=-1).flatten(-2), k.softmax(dim=-1)
        project = cast(nn.Conv2d, self.to_out[0])
        seen = (k @ rows).reshape(n, HEADS, HEAD_WIDTH, channels)
        to_v = to_v.reshape(HEADS, HEAD_WIDTH, channels)
        values = seen @ to_v.transpose(1, 2) * (HEAD_WIDTH**-0.5 / (height * width))
        context = values @ project.weight.flatten(1).t().reshape(HEADS, HEAD_WIDTH, channels)
        out = q @ context.flatten(1, 2).to(q.dtype) + project.bias
        y: Tensor = self.to_out[1](out.reshape(n, height, width, channels).permute(0, 3, 1, 2))
        return y


class Attention(nn.Module):
    """Full attention on l2-normalised q and k, scale 10.

    The norm runs over the *positions* (the last axis), as in the code that trained the published
    weights; over the channels the same weights would give other images.
    """

    def __init__(self, channels: int, scale: float = 10.0) -> None:
        super().__init__()
        width = HEADS * HEAD_WIDTH
        self.scale = scale
        self.to_qkv = nn.Conv2d(channels, width * 3, 1, bias=False)
        self.to_out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        q, k, v = _heads(self.to_qkv(x))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        weights = (q.transpose(-1, -2) @ k * self.scale).softmax(dim=-1)
        out = v @ weights.transpose(-1, -2)
        y: Tensor = self.to_out(out.reshape(len(x), -1, height, width))
        return y


class UNet(nn.Module):
    """Predicts the clean image from a noisy one: (n, channels, h, w), time (n,) → (n, channels, h, w).

    h and w: multiples of 2^(levels − 1). time: step of the diffusion, 0 … T − 1; an int or a tensor of one
    element serves the whole batch. Images are in [-1, 1]; the output is not clipped. 142.87 M parameters
    with dim 128 and multipliers (1, 2, 4, 8). dim: a multiple of 8 (group norm).
    """

    def __init__(self, dim: int = 128, multipliers: Sequence[int] = (1, 2, 4, 8), channels: int = 3) -> None:
        super().__init__()
        if dim < GROUPS or dim % GROUPS:
            raise ValueError(f"expected dim a multiple of {GROUPS}, got {dim = }")
        self.dim, self.multipliers, self.channels = dim, tuple(multipliers), channels
        widths = [dim, *(dim * m for m in multipliers)]
        levels = list(pairwise(widths))
        time_width = dim * 4
        self.init_conv = nn.Conv2d(channels, dim, 7, padding=3)
        self.time_mlp = nn.Sequential(
            SinusoidalEmbedding(dim), nn.Linear(dim, time_width), nn.GELU(), nn.Linear(time_width, time_width)
        )
        self.downs = nn.ModuleList(
            _down(*level, time_width, last=i == len(levels) - 1) for i, level in enumerate(levels)
        )
        middle = widths[-1]
        self.mid_block1 = ResnetBlock(middle, middle, time_width)
        self.mid_attn = Residual(PreNorm(middle, Attention(middle)))
        self.mid_block2 = ResnetBlock(middle, middle, time_width)
        self.ups = nn.ModuleList(
            _up(*level, time_width, last=i == len(levels) - 1) for i, level in enumerate(reversed(levels))
        )
        self.final_res_block = ResnetBlock(dim * 2, dim, time_width)
        self.final_conv = nn.Conv2d(dim, channels, 1)

    def forward(self, x: Tensor, time: Tensor | int) -> Tensor:
        steps = torch.as_tensor(time, device=x.device).to(x.dtype).reshape(-1).expand(len(x))
        t = self.time_mlp(steps)
        x = stem = self.init_conv(x)
        skips: list[Tensor] = []
        for level in self.downs:
            block1, block2, attention, resize = level.children()
            x = block1(x, t)
            skips.append(x)
            x = attention(block2(x, t))
            skips.append(x)
            x = resize(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, t)), t)
        for level in self.ups:
            block1, block2, attention, resize = level.children()
            x = block1(torch.cat((x, skips.pop()), dim=1), t)
            x = block2(torch.cat((x, skips.pop()), dim=1), t)
            x = resize(attention(x))
        image: Tensor = self.final_conv(self.final_res_block(torch.cat((x, stem), dim=1), t))
        return image


def _down(c_in: int, c_out: int, time_width: int, last: bool) -> nn.ModuleList:
    return nn.ModuleList(
        [
            ResnetBlock(c_in, c_in, time_width),
            ResnetBlock(c_in, c_in, time_width),
            Residual(PreNorm(c_in, LinearAttention(c_in))),
            nn.Conv2d(c_in, c_out, 3, padding=1) if last else nn.Conv2d(c_in, c_out, 4, stride=2, padding=1),
        ]
    )


def _up(c_in: int, c_out: int, time_width: int, last: bool) -> nn.ModuleList:
    plain = nn.Conv2d(c_out, c_in, 3, padding=1)
    return nn.ModuleList(
        [
            ResnetBlock(c_out + c_in, c_out, time_width),
            ResnetBlock(c_out + c_in, c_out, time_width),
            Residual(PreNorm(c_out, LinearAttention(c_out))),
            plain if last else nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), plain),
        ]
    )
