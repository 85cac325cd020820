"""Face recognisers whose gradients reach the pixels: what FaceQAN attacks and DifFIQA asks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, get_args

import onnx
import torch
from torch import Tensor, nn

from ..stream.errors import ConfigError, ModelInvalid
from .checkpoints import load_weights, read_state_dict
from .methods import Preprocessing, plain
from .networks import FoamliuMobileFaceNet, IResNet, MobileFaceNet
from .networks.iresnet import BLOCKS
from .onnx_torch import OnnxNetwork

PREPROCESSINGS: tuple[Preprocessing, ...] = get_args(Preprocessing)

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
BACKBONE_PREFIXES: Final = ("base_model.", "feature_extractor.", "base.", "backbone.")

KNOWN: Final[dict[str, Preprocessing]] = {
    # foamliu/MobileFaceNet, 128-d, as ONNX
    "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507": "imagenet",
}


class Recogniser(nn.Module):
    """x: (n, 3, 112, 112) RGB in [0, 1] → (n, d) embeddings as the network gives them.

    preprocessing: `imagenet` less the ImageNet mean, over its deviation; `symmetric` (x − .5)/.5;
    `symmetric-bgr` the same with the channels reversed (AdaFace); `chips` 0…255 in NHWC, the rest is in the
    graph (models that facesieve exports); `dlib` 0…255, resampled to dlib's 150 px chip.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing
        imagenet = preprocessing == "imagenet"
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if imagenet else ((0.5,) * 3, (0.5,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        match self.preprocessing:
            case "chips":
                x = (x * 255).permute(0, 2, 3, 1)
            case "dlib":
                x = x * 255
            case "symmetric-bgr":
                x = (x.flip(1) - self.mean) / self.std
            case _:
                x = (x - self.mean) / self.std
        embedding: Tensor = self.network(x)
        return embedding


def load_recogniser(path: Path, preprocessing: Preprocessing | None = None) -> Recogniser:
    """A recogniser from an ONNX file, a torch state dict, or dlib's .dat.

    preprocessing: must be given for an ONNX file that is neither one of ours nor known by its hash (the name
    of a published recogniser stands for what its authors' code does: unverified); for the rest it may
    overrule what belongs to the architecture. Raises ConfigError where it is wanted and absent, ModelInvalid
    for a network that is none of the known ones.
    """
    preprocessing = plain(preprocessing)
    match path.suffix.lower():
        case ".onnx":
            return _from_onnx(path, preprocessing)
        case ".dat":
            from .student.dlib_resnet import load_dlib
            from .student.resample import DlibChip

            return Recogniser(nn.Sequential(DlibChip(), load_dlib(path)), "dlib")
        case ".pt" | ".pth" | ".ckpt" | ".tar":
            network, usual = _from_state_dict(path)
            return Recogniser(network, preprocessing or usual)
        case other:
            raise ConfigError(f"expected a recogniser as .onnx, .pt, .pth or .dat, got {other!r}: {path}")


def _from_onnx(path: Path, preprocessing: Preprocessing | None) -> Recogniser:
    network = OnnxNetwork(path)
    if network.input_type == onnx.TensorProto.UINT8 and network.input_shape[-1] == 3:
        return Recogniser(network, "chips")
    usual = preprocessing or KNOWN.get(hashlib.sha256(path.read_bytes()).hexdigest())
    if usual is None:
        raise ConfigError(
            f"expected a preprocessing for this ONNX recogniser, one of {', '.join(PREPROCESSINGS)}: {path}"
        )
    return Recogniser(network, usual)


def _from_state_dict(path: Path) -> tuple[nn.Module, Preprocessing]:
    state = read_state_dict(path)
    for prefix in BACKBONE_PREFIXES:
        inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if inside:
            state = inside
            break
    network: nn.Module
    usual: Preprocessing = "symmetric"
    if "dw_conv.depthwise.weight" in state:
        network, usual = FoamliuMobileFaceNet(), "imagenet"
    elif "conv_23.conv.conv.weight" in state and "linear.weight" in state:
        network = MobileFaceNet(len(state["linear.weight"]))
    elif "layer4.0.bn1.weight" in state and "fc.weight" in state:
        blocks = tuple(
            len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")})
            for stage in (1, 2, 3, 4)
        )
        depth = next((depth for depth, known in BLOCKS.items() if known == blocks), None)
        if depth is None:
            raise ModelInvalid(f"expected an IResNet of blocks {list(BLOCKS.values())}, got {blocks}: {path}")
        network = IResNet(depth, len(state["fc.weight"]))
    else:
        names = ", ".join(list(state)[:3])
        raise ModelInvalid(f"expected MobileFaceNet or IResNet weights, got names like {names}: {path}")
    load_weights(network, state, path)
    return network, usual
