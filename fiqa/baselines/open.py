"""`NAME:PATH` → a baseline with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from torch import Tensor, nn

from ...engines.models.students import scorer_name
from ...stream.errors import ConfigError, ModelInvalid, WeightsUnavailable
from ..checkpoints import load_weights, read_checkpoint, read_state_dict, weights_of
from ..lightqnet import LightQNet
from ..networks import IResNet
from ..networks.iresnet import BLOCKS
from .embedding import PFE, SERFIQ, MagFace
from .faceqnet import FaceQnet
from .heads import CRFIQA, PCNet
from .scorer import BaselineScorer, TorchBaseline
from .sddfiqa import SDDFIQA

BaselineName = Literal["lightqnet", "magface", "ser-fiq", "pfe", "sdd-fiqa", "cr-fiqa", "pcnet", "faceqnet"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)
MAGFACE_PREFIXES = ("features.module.", "module.features.", "features.")


def open_baseline(spec: str) -> BaselineScorer:
    """The scorer that `NAME:PATH` describes, NAME of BASELINES.

    Raises ConfigError for another NAME, WeightsUnavailable where there is no file, ModelInvalid where the
    weights are not that network's.
    """
    name, colon, file = spec.partition(":")
    if not colon or name not in BASELINES:
        raise ConfigError(f"expected NAME:PATH, NAME one of {', '.join(BASELINES)}; got {spec!r}")
    path = Path(file)
    if not path.is_file():
        raise WeightsUnavailable(f"expected the weights of {name}, there is no such file: {path}")
    label = scorer_name(path, name)
    if name == "lightqnet":
        return BaselineScorer(LightQNet(path), name=label, verified=True)
    network = _network(name, path)
    return BaselineScorer(TorchBaseline(network), name=label, verified=False)


def _network(name: str, path: Path) -> nn.Module:
    """The torch network of that name with the weights at path."""
    if name == "magface":
        return _magface(path)
    state = read_state_dict(path)
    network: nn.Module
    match name:
        case "ser-fiq":
            backbone = _iresnet(state, path)
            load_weights(backbone, state, path)
            return SERFIQ(backbone)
        case "cr-fiqa":
            network = CRFIQA(_depth(state, path), _width(state))
        case "sdd-fiqa":
            network = SDDFIQA()
        case "pfe":
            network = PFE(_iresnet(_below(state, "backbone."), path))
        case "pcnet":
            network = PCNet(_iresnet(_below(state, "backbone."), path))
        case _:
            network = FaceQnet()
    load_weights(network, state, path)
    return network


def _magface(path: Path) -> MagFace:
    """The authors' checkpoint holds the classifier's weights beside the backbone's."""
    content = read_checkpoint(path)
    state = weights_of(content, path)
    for prefix in MAGFACE_PREFIXES:
        if prefix + "conv1.weight" in state:
            state = _below(state, prefix)
            break
    network = MagFace(_iresnet(state, path))
    load_weights(network.features, state, path)
    return network


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _iresnet(state: dict[str, Tensor], path: Path) -> IResNet:
    return IResNet(_depth(state, path), _width(state))


def _depth(state: dict[str, Tensor], path: Path) -> int:
    """The IResNet's depth, read off the names."""
    blocks = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    depth = next((depth for depth, known in BLOCKS.items() if known == blocks), None)
    if depth is None or "fc.weight" not in state:
        names = ", ".join(list(state)[:3])
        raise ModelInvalid(f"expected an IResNet's weights, got names like {names or 'none'}: {path}")
    return depth


def _width(state: dict[str, Tensor]) -> int:
    return len(state["fc.weight"])
