"""DifFIQA: face quality from a diffusion model (Babnik, Peer, Štruc, IJCB 2023, arXiv 2305.05768)."""

from .diffusion import Diffusion, cosine_betas, ddim_times
from .loading import load_diffusion
from .scoring import draw_noise, repeat_with_flips, score, score_embeddings
from .unet import UNet

__all__ = [
    "Diffusion",
    "UNet",
    "cosine_betas",
    "ddim_times",
    "draw_noise",
    "load_diffusion",
    "repeat_with_flips",
    "score",
    "score_embeddings",
]
