"""The published networks and scores written a second time, as plain functions of a state dict.

Nothing of facesieve is used here: what both agree on was derived twice from the equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def linear(s: State, name: str, x: Tensor) -> Tensor:
    y = x @ s[f"{name}.weight"].T
    return y + s[f"{name}.bias"] if f"{name}.bias" in s else y


def conv(s: State, name: str, x: Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
    return F.conv2d(
        x, s[f"{name}.weight"], s.get(f"{name}.bias"), stride=stride, padding=padding, groups=groups
    )


def batch_norm(s: State, name: str, x: Tensor) -> Tensor:
    mean, variance, scale, shift = (
        s[f"{name}.{part}"].reshape(1, -1, *(1,) * (x.ndim - 2))
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift


def prelu(s: State, name: str, x: Tensor) -> Tensor:
    return torch.where(x >= 0, x, s[f"{name}.weight"].reshape(1, -1, 1, 1) * x)


def mlp(s: State, name: str, x: Tensor) -> Tensor:
    return linear(s, f"{name}.l2", gelu(linear(s, f"{name}.l1", x)))[:, 0]


def iresnet(s: State, p: str, x: Tensor, blocks: Sequence[int]) -> Tensor:
    """p: prefix of the names, with its dot."""
    x = prelu(s, f"{p}prelu", batch_norm(s, f"{p}bn1", conv(s, f"{p}conv1", x, padding=1)))
    for stage, count in enumerate(blocks, 1):
        for i in range(count):
            b, stride = f"{p}layer{stage}.{i}", 2 if i == 0 else 1
            y = conv(s, f"{b}.conv1", batch_norm(s, f"{b}.bn1", x), padding=1)
            y = prelu(s, f"{b}.prelu", batch_norm(s, f"{b}.bn2", y))
            y = batch_norm(s, f"{b}.bn3", conv(s, f"{b}.conv2", y, stride, 1))
            if i == 0:
                x = batch_norm(s, f"{b}.downsample.1", conv(s, f"{b}.downsample.0", x, stride))
            x = x + y
    flat = batch_norm(s, f"{p}bn2", x).reshape(len(x), -1)
    return batch_norm(s, f"{p}features", linear(s, f"{p}fc", flat))


def mobilefacenet(s: State, p: str, x: Tensor) -> Tensor:
    def block(name: str, x: Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
        y = batch_norm(s, f"{p}{name}.bn", conv(s, f"{p}{name}.conv", x, stride, padding, groups))
        return prelu(s, f"{p}{name}.prelu", y) if f"{p}{name}.prelu.weight" in s else y

    def unit(name: str, x: Tensor, stride: int, width: int) -> Tensor:
        y = block(f"{name}.conv_dw", block(f"{name}.conv", x), stride, 1, width)
        return block(f"{name}.project", y)

    def stage(name: str, x: Tensor, units: int, width: int) -> Tensor:
        for i in range(units):
            x = x + unit(f"{name}.model.{i}", x, 1, width)
        return x

    x = block("conv2_dw", block("conv1", x, 2, 1), 1, 1, 64)
    x = stage("conv_3", unit("conv_23", x, 2, 128), 4, 128)
    x = stage("conv_4", unit("conv_34", x, 2, 256), 6, 256)
    x = stage("conv_5", unit("conv_45", x, 2, 512), 2, 256)
    x = block("conv_6_dw", block("conv_6_sep", x), groups=512).reshape(len(x), -1)
    x = batch_norm(s, f"{p}bn", linear(s, f"{p}linear", x))
    return x / torch.sqrt((x * x).sum(1, keepdim=True))


def _standardised(s: State, name: str, x: Tensor) -> Tensor:
    """Weight-standardised 3×3 convolution, then group norm of eight groups."""
    w = s[f"{name}.proj.weight"]
    flat = w.reshape(len(w), -1)
    middle = flat - flat.mean(1, keepdim=True)
    w = (middle / torch.sqrt((middle**2).mean(1, keepdim=True) + 1e-5)).reshape(w.shape)
    y = F.conv2d(x, w, s[f"{name}.proj.bias"], padding=1)
    groups = y.reshape(len(y), 8, -1)
    middle = groups - groups.mean(2, keepdim=True)
    y = (middle / torch.sqrt((middle**2).mean(2, keepdim=True) + 1e-5)).reshape(y.shape)
    return y * s[f"{name}.norm.weight"][:, None, None] + s[f"{name}.norm.bias"][:, None, None]


def _residual(s: State, name: str, x: Tensor, t: Tensor) -> Tensor:
    scale, shift = linear(s, f"{name}.mlp.1", silu(t))[:, :, None, None].chunk(2, dim=1)
    h = silu(_standardised(s, f"{name}.block1", x) * (scale + 1) + shift)
    h = silu(_standardised(s, f"{name}.block2", h))
    return h + (conv(s, f"{name}.res_conv", x) if f"{name}.res_conv.weight" in s else x)


def _channel_norm(x: Tensor, gain: Tensor) -> Tensor:
    middle = x - x.mean(1, keepdim=True)
    return middle / torch.sqrt((middle**2).mean(1, keepdim=True) + 1e-5) * gain


def _heads(s: State, name: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, _, h, w = x.shape
    qkv = conv(s, f"{name}.fn.fn.to_qkv", _channel_norm(x, s[f"{name}.fn.norm.g"]))
    q, k, v = qkv.reshape(n, 3, 4, 32, h * w).unbind(1)
    return q, k, v


def _linear_attention(s: State, name: str, x: Tensor) -> Tensor:
    n, _, h, w = x.shape
    q, k, v = _heads(s, name, x)
    q, k, v = torch.softmax(q, 2) / math.sqrt(32), torch.softmax(k, 3), v / (h * w)
    out = torch.einsum("nhdp,nhep,nhdr->nher", k, v, q).reshape(n, 128, h, w)
    return x + _channel_norm(conv(s, f"{name}.fn.fn.to_out.0", out), s[f"{name}.fn.fn.to_out.1.g"])


def _full_attention(s: State, name: str, x: Tensor) -> Tensor:
    """q and k have length one over the positions, as in the code behind the published weights."""
    n, _, h, w = x.shape
    q, k, v = _heads(s, name, x)
    q, k = (part / part.norm(dim=3, keepdim=True) for part in (q, k))
    weights = torch.softmax(10 * torch.einsum("nhdi,nhdj->nhij", q, k), dim=3)
    out = torch.einsum("nhij,nhdj->nhdi", weights, v).reshape(n, 128, h, w)
    return x + conv(s, f"{name}.fn.fn.to_out", out)


def unet(s: State, x: Tensor, time: Tensor, dim: int, levels: int) -> Tensor:
    steps = torch.exp(torch.arange(dim // 2, dtype=x.dtype) * -math.log(10000) / (dim // 2 - 1))
    angles = time[:, None].to(x.dtype) * steps
    t = linear(s, "time_mlp.1", torch.cat([angles.sin(), angles.cos()], 1))
    t = linear(s, "time_mlp.3", gelu(t))
    x = stem = conv(s, "init_conv", x, padding=3)
    skips = []
    for i in range(levels):
        x = _residual(s, f"downs.{i}.0", x, t)
        skips.append(x)
        x = _linear_attention(s, f"downs.{i}.2", _residual(s, f"downs.{i}.1", x, t))
        skips.append(x)
        x = conv(s, f"downs.{i}.3", x, stride=1 if i == levels - 1 else 2, padding=1)
    x = _full_attention(s, "mid_attn", _residual(s, "mid_block1", x, t))
    x = _residual(s, "mid_block2", x, t)
    for i in range(levels):
        x = _residual(s, f"ups.{i}.0", torch.cat([x, skips.pop()], 1), t)
        x = _residual(s, f"ups.{i}.1", torch.cat([x, skips.pop()], 1), t)
        x = _linear_attention(s, f"ups.{i}.2", x)
        if i < levels - 1:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = conv(s, f"ups.{i}.3" if i == levels - 1 else f"ups.{i}.3.1", x, padding=1)
    return conv(s, "final_conv", _residual(s, "final_res_block", torch.cat([x, stem], 1), t))


def reconstruct(network: Callable[[Tensor, int], Tensor], x: Tensor, noises: Sequence[Tensor]) -> Tensor:
    """DDIM with η = 1 from index 5; the schedule in float32, as a checkpoint holds it."""
    exact = np.cumprod(1 - _betas())
    a = exact.astype(np.float32)
    recip, recip_m1 = (np.sqrt(v).astype(np.float32) for v in (1 / exact, 1 / exact - 1))
    for now, after, noise in zip((4, 3, 2, 1, 0), (3, 2, 1, 0, 0), noises, strict=True):
        clean = network(x, now).clamp(-1, 1)
        drawn = (float(recip[now]) * x - clean) / float(recip_m1[now])
        one = np.float32(1)
        sigma = np.sqrt((one - a[now] / a[after]) * (one - a[after]) / (one - a[now]))
        direction = np.sqrt(one - a[after] - sigma * sigma)
        x = clean * float(np.sqrt(a[after])) + float(direction) * drawn + float(sigma) * noise
    return network(x, 0).clamp(-1, 1)


def noised(x: Tensor, noise: Tensor, index: int) -> Tensor:
    signal = float(np.cumprod(1 - _betas())[index])
    return math.sqrt(signal) * x + math.sqrt(1 - signal) * noise


def _betas() -> np.ndarray:
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.clip(1 - f[1:] / f[:-1], 0, 0.999)


def attacked_similarities(
    embed: Callable[[Tensor], Tensor], image: Tensor, noise: Tensor, epsilon: float, steps: int
) -> np.ndarray:
    """FaceQAN's (steps, copies), one copy after the other."""
    (anchor,) = embed(image[None]).detach()
    table = np.zeros((steps, len(noise)))
    for copy, start in enumerate(noise):
        x = (image + start).clamp(0, 1)
        for step in range(steps):
            x = x.detach().requires_grad_()
            (e,) = embed(x[None])
            cos = (e @ anchor) / (e.norm() * anchor.norm())
            table[step, copy] = float(cos.detach())
            (slope,) = torch.autograd.grad(1 - cos, x)
            x = (x.detach() + epsilon * torch.sign(slope)).clamp(0, 1)
    return table


def discard_curve(
    vectors: np.ndarray, people: Sequence[str], videos: Sequence[str], quality: Sequence[float], fmr: float
) -> tuple[float, list[float]]:
    """Threshold and FNMR after each discarded genuine pair, by counting."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mated, others = [], []
    for i in range(len(unit)):
        for j in range(i + 1, len(unit)):
            if people[i] != people[j]:
                others.append(unit[i] @ unit[j])
            elif videos[i] != videos[j]:
                mated.append((min(quality[i], quality[j]), unit[i] @ unit[j]))
    threshold = float(np.quantile(others, 1 - fmr))
    failed = [similarity < threshold for _, similarity in sorted(mated, key=lambda pair: pair[0])]
    return threshold, [sum(failed[k:]) / (len(failed) - k) for k in range(len(failed))]
