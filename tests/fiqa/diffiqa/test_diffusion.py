"""The schedule, the network's layout and the DDIM steps, against plain recomputation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from facesieve.fiqa.diffiqa import Diffusion, UNet, ddim_times, repeat_with_flips, score, score_embeddings


def alpha_bar(steps: int) -> list[float]:
    """ᾱ from Nichol & Dhariwal's eq. 17 with β ≤ .999, one step at a time in Python floats."""

    def f(t: float) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    product, values = 1.0, []
    for i in range(steps):
        product *= 1 - min(1 - f(i + 1) / f(i), 0.999)
        values.append(product)
    return values


def test_schedule_values():
    diffusion = Diffusion(nn.Identity())
    expected = alpha_bar(1000)
    np.testing.assert_allclose(diffusion.alphas_cumprod.numpy(), expected, rtol=2e-6, atol=1e-12)
    assert diffusion.betas.dtype == torch.float32
    assert diffusion.betas.max() == pytest.approx(0.999)
    assert diffusion.alphas_cumprod[5].item() == pytest.approx(0.99967944, abs=1e-7)


def test_state_dict_is_the_reference_layout():
    names = Diffusion(UNet(8, (1, 2))).state_dict().keys()
    assert [name for name in names if not name.startswith("model.")] == [
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
        "p2_loss_weight",
    ]


def test_unet_names_and_shapes():
    state = {name: tuple(value.shape) for name, value in UNet(8, (1, 2, 4)).state_dict().items()}
    expected = {
        "init_conv.weight": (8, 3, 7, 7),
        "time_mlp.1.weight": (32, 8),
        "time_mlp.3.bias": (32,),
        "downs.0.0.mlp.1.weight": (16, 32),
        "downs.0.0.block1.proj.weight": (8, 8, 3, 3),
        "downs.0.1.block2.norm.weight": (8,),
        "downs.0.2.fn.fn.to_qkv.weight": (384, 8, 1, 1),
        "downs.0.2.fn.fn.to_out.0.bias": (8,),
        "downs.0.2.fn.fn.to_out.1.g": (1, 8, 1, 1),
        "downs.0.2.fn.norm.g": (1, 8, 1, 1),
        "downs.0.3.weight": (8, 8, 4, 4),
        "downs.1.3.weight": (16, 8, 4, 4),
        "downs.2.3.weight": (32, 16, 3, 3),
        "mid_block1.block1.proj.bias": (32,),
        "mid_attn.fn.fn.to_out.weight": (32, 128, 1, 1),
        "ups.0.0.block1.proj.weight": (32, 48, 3, 3),
        "ups.0.0.res_conv.weight": (32, 48, 1, 1),
        "ups.0.3.1.weight": (16, 32, 3, 3),
        "ups.1.2.fn.fn.to_out.1.g": (1, 16, 1, 1),
        "ups.2.3.weight": (8, 8, 3, 3),
        "final_res_block.block1.proj.weight": (8, 16, 3, 3),
        "final_conv.weight": (3, 8, 1, 1),
    }
    assert {name: state.get(name) for name in expected} == expected
    assert {name.split(".")[0] for name in state} == {
        "init_conv",
        "time_mlp",
        "downs",
        "mid_block1",
        "mid_attn",
        "mid_block2",
        "ups",
        "final_res_block",
        "final_conv",
    }
    assert not [name for name in state if "to_qkv.bias" in name or name.startswith("downs.0.0.res_conv")]


def test_published_size():
    with torch.device("meta"):
        unet = UNet(128, (1, 2, 4, 8))
    assert round(sum(p.numel() for p in unet.parameters()) / 1e6, 2) == 142.87


def test_unet_keeps_shape_and_batch_order():
    torch.manual_seed(1)
    unet = UNet(8, (1, 2)).eval()
    x = torch.randn(3, 3, 16, 16)
    time = torch.tensor([0, 3, 7])
    with torch.no_grad():
        out = unet(x, time)
        swapped = unet(x.flip(0), time.flip(0))
        alone = unet(x[1:2], 3)
    assert out.shape == x.shape
    torch.testing.assert_close(swapped.flip(0), out, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, out[1:2], atol=1e-5, rtol=1e-5)


def test_middle_attention_normalises_over_positions():
    """As the code that trained the published weights: each channel of q and k has length 1 over h·w."""
    torch.manual_seed(2)
    attention = UNet(8, (1,)).mid_attn.fn.fn.double()
    x = torch.randn(1, 8, 3, 5, dtype=torch.float64)
    with torch.no_grad():
        got = attention(x)
        q, k, v = (
            part.reshape(4, 32, 15).numpy() for part in attention.to_qkv(x)[0].flatten(1).chunk(3, dim=0)
        )
    out = np.zeros((4, 15, 32))
    for head in range(4):
        qn = q[head] / np.linalg.norm(q[head], axis=1, keepdims=True)
        kn = k[head] / np.linalg.norm(k[head], axis=1, keepdims=True)
        logits = 10 * qn.T @ kn
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        out[head] = (weights / weights.sum(axis=1, keepdims=True)) @ v[head].T
    mixed = out.transpose(0, 2, 1).reshape(128, 15)
    kernel, bias = (
        attention.to_out.weight[:, :, 0, 0].detach().numpy(),
        attention.to_out.bias.detach().numpy(),
    )
    np.testing.assert_allclose(got[0].flatten(1), kernel @ mixed + bias[:, None], atol=1e-10)


def test_time_embedding_by_hand():
    embedding = UNet(8, (1,)).time_mlp[0](torch.tensor([3.0]))
    frequencies = [math.exp(-math.log(10000) / 3 * i) for i in range(4)]
    expected = [math.sin(3 * f) for f in frequencies] + [math.cos(3 * f) for f in frequencies]
    np.testing.assert_allclose(embedding[0], expected, atol=1e-6)


def test_filters_are_standardised():
    conv = UNet(8, (1,)).downs[0][0].block1.proj
    with torch.no_grad():
        x = torch.randn(1, 8, 6, 6)
        base = conv(x)
        conv.weight.mul_(3).add_(0.7)
        scaled = conv(x)
    torch.testing.assert_close(base, scaled, atol=2e-2, rtol=1e-2)


@pytest.mark.parametrize(("t", "times"), [(5, [4, 3, 2, 1, 0, 0, -1]), (2, [1, 0, 0, -1])])
def test_visited_steps(t, times):
    assert ddim_times(t) == times


def test_q_sample_is_the_closed_form_and_is_not_clipped():
    diffusion = Diffusion(nn.Identity())
    x = torch.full((2, 3, 4, 4), 0.9)
    noise = torch.full_like(x, 30.0)
    a = alpha_bar(8)
    for t in (5, torch.tensor([5]), torch.tensor([5, 5])):
        got = diffusion.q_sample(x, t, noise)
        np.testing.assert_allclose(got, math.sqrt(a[5]) * 0.9 + math.sqrt(1 - a[5]) * 30, rtol=1e-4)
    assert got.max() > 1
    mixed = diffusion.q_sample(x, torch.tensor([0, 7]), noise)
    assert mixed[0, 0, 0, 0] < mixed[1, 0, 0, 0]


def test_ddim_with_injected_noise_against_plain_steps():
    """η = 1; the steps of the paper in float64 with a network that any reader can compute: .7·x + .05·t."""
    calls = []

    class Shrink(nn.Module):
        def forward(self, x, time):
            calls.append(time.tolist())
            return 0.7 * x + 0.05 * time[:, None, None, None]

    rng = np.random.default_rng(3)
    x_t, noises = rng.normal(size=(2, 3, 4, 4)), rng.normal(size=(5, 2, 3, 4, 4))
    diffusion = Diffusion(Shrink())
    single = diffusion.ddim(torch.from_numpy(x_t).float(), 5, torch.from_numpy(noises).float())
    calls.clear()
    exact = torch.tensor(alpha_bar(1000), dtype=torch.float64)
    diffusion.alphas_cumprod = exact
    diffusion.sqrt_recip_alphas_cumprod = (1 / exact).sqrt()
    diffusion.sqrt_recipm1_alphas_cumprod = (1 / exact - 1).sqrt()
    double = diffusion.ddim(torch.from_numpy(x_t), 5, torch.from_numpy(noises))
    a, x, drawn = alpha_bar(8), x_t, iter(noises)
    for now, after in [(4, 3), (3, 2), (2, 1), (1, 0), (0, 0)]:
        clean = np.clip(0.7 * x + 0.05 * now, -1, 1)
        predicted = (x - math.sqrt(a[now]) * clean) / math.sqrt(1 - a[now])
        sigma = math.sqrt((1 - a[now] / a[after]) * (1 - a[after]) / (1 - a[now]))
        x = math.sqrt(a[after]) * clean + math.sqrt(1 - a[after] - sigma**2) * predicted + sigma * next(drawn)
    np.testing.assert_allclose(double, np.clip(0.7 * x, -1, 1), atol=1e-7)
    np.testing.assert_allclose(single, double, atol=1e-3)
    assert calls == [[4, 4], [3, 3], [2, 2], [1, 1], [0, 0], [0, 0]]


def test_ddim_wants_noise_for_five_steps():
    x = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match="expected 5 noises"):
        Diffusion(nn.Identity()).ddim(x, 5, torch.zeros(6, 1, 3, 4, 4))


def test_loss_by_hand():
    class Passes(nn.Module):
        def forward(self, x, time):
            return x

    x, x_lq = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), -0.5)
    got = Diffusion(Passes()).loss(x, x_lq, torch.tensor([50]), torch.zeros_like(x))
    a = math.sin(math.pi / 4)
    noisy = math.sqrt(alpha_bar(51)[50]) * ((1 - a) * 0.5 + a * -0.5)
    assert got.item() == pytest.approx((noisy - 0.5) ** 2, rel=1e-5)


def test_repeats_come_image_by_image_then_flips():
    x = torch.arange(4.0).reshape(2, 1, 1, 2)
    expected = [[0, 1], [0, 1], [2, 3], [2, 3], [1, 0], [1, 0], [3, 2], [3, 2]]
    assert repeat_with_flips(x, 2).flatten(1).tolist() == expected


def test_score_embeddings_by_hand():
    e = torch.tensor([[1.0, 0.0]])
    same, opposite, across = e * 3, -e, torch.tensor([[0.0, 2.0]])
    assert score_embeddings(e, same, across, opposite, same, same).item() == pytest.approx(
        (1 + 0 - 1 + 1 + 1) / 5
    )


def embed(x: torch.Tensor) -> torch.Tensor:
    """A fixed smooth embedding that is not blind to flips."""
    weights = torch.linspace(-1, 1, x[0].numel() * 4, dtype=x.dtype).reshape(-1, 4).sin()
    return torch.tanh(x.flatten(1) @ weights)


def test_score_averages_repeats_and_keeps_images_apart():
    torch.manual_seed(4)
    diffusion = Diffusion(UNet(8, (1, 2))).eval()
    x = torch.rand(2, 3, 8, 8) * 2 - 1
    noise, noises = torch.randn(12, 3, 8, 8), torch.randn(5, 12, 3, 8, 8)
    both = score(diffusion, embed, x, noise, noises, repeats=3)
    rows = [0, 1, 2, 6, 7, 8]
    alone = score(diffusion, embed, x[:1], noise[rows], noises[:, rows], repeats=3)
    singles = [
        score(diffusion, embed, x[:1], noise[[i, i + 6]], noises[:, [i, i + 6]], repeats=1) for i in range(3)
    ]
    torch.testing.assert_close(alone, both[:1], atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.stack(singles).mean(0), both[:1], atol=1e-5, rtol=0)


def test_score_of_a_recogniser_that_sees_nothing_is_one():
    x = torch.rand(1, 3, 8, 8)
    blind = score(Diffusion(UNet(8, (1,))), lambda x: torch.ones(len(x), 5), x, torch.randn(2, 3, 8, 8),
                  torch.randn(5, 2, 3, 8, 8), repeats=1)  # fmt: skip
    assert blind.item() == pytest.approx(1.0)


def test_score_refuses_noise_of_another_order():
    x = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="images, then flips"):
        score(
            Diffusion(UNet(8, (1,))), embed, x, torch.randn(4, 3, 8, 8), torch.randn(5, 4, 3, 8, 8), repeats=2
        )
