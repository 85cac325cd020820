"""The recipe of a student: what configs/facesieve-t.toml says."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ..recipe_files import read_toml


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Part):
    """folders: of faces.csv, below the shared data. versions: of each source image, the first undamaged."""

    folders: tuple[str, ...] = ("lfw-train", "glint-train")
    versions: int = 4
    seed: int = 0


class Network(Part):
    """See student.network.Student."""

    levels: tuple[tuple[int, int], ...] = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
    size: int = 150
    mirror: bool = False
    eyes: bool = False
    hidden: int = 128


class Labels(Part):
    """mirror_share: of the mirror similarity in the label, in [0, 1]. recognisers: whose outcomes count.
    lightqnet_share: of LightQNet's scores in the label, in [0, 1]."""

    mirror_share: float = 0.2
    recognisers: tuple[str, ...] = ("foamliu", "dlib")
    lightqnet_share: float = 0.35


class Training(Part):
    """Weights of the losses, learning rates of AdamW, and how long. clean_share: how much of the embedding's
    target is that of the undamaged source. jitter: share of the chip by which its framing is moved each
    step."""

    frozen: int = 9
    cached: bool = True
    epochs: float = 4.0
    groups: int = 32
    trunk_rate: float = 1e-4
    head_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up_steps: int = 200
    average: float = 0.998
    ranking: float = 0.5
    pairs: float = 0.5
    teacher: float = 1.0
    relation: float = 5.0
    clean_share: float = 0.5
    jitter: float = 0.02
    seed: int = 0


class Head(Part):
    """The quality head fitted alone, on the finished trunk. shares: of each recogniser's mates in the label;
    mirror_share and lightqnet_share as in Labels, by rank. heads: how many are averaged, from as many seeds.
    hidden: width of each. kept: how much the head that the student came with still counts, in [0, 1]."""

    shares: dict[str, float] = {"foamliu": 0.3, "dlib": 0.2}
    mirror_share: float = 0.1
    lightqnet_share: float = 0.4
    heads: int = 4
    kept: float = 0.5
    hidden: int = 128
    steps: int = 400
    groups: int = 48
    rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    average: float = 0.99
    ranking: float = 0.5
    pairs: float = 0.3
    seed: int = 0


class Readout(Part):
    """The embedding read out of all levels of the finished trunk. shares: of each recogniser's foretold
    embedding; own_share: of the student's own as it is. clean_share: as in Training. decay: of the ridge
    regression, a share of the number of chips. strongest: the last version of a chip that takes part."""

    shares: dict[str, float] = {"foamliu": 1.3, "dlib": 1.0}
    own_share: float = 1.0
    clean_share: float = 0.5
    decay: float = 0.01
    strongest: int = 2


class Recipe(Part):
    """One student."""

    data: Data = Data()
    network: Network = Network()
    labels: Labels = Labels()
    training: Training = Training()
    head: Head = Head()
    readout: Readout = Readout()


def read_recipe(path: Path) -> Recipe:
    """The recipe of a TOML file; raises ConfigError with the path and what is wrong."""
    return read_toml(Recipe, path)
