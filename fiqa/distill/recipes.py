"""Training recipes: frozen values, the same names in TOML. Defaults are the papers' values."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ...stream.errors import ConfigError
from ..methods import Architecture, Autocast, StudentMethod

Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0)]


class Recipe(BaseModel):
    """What every run has. seed: of order, jitter and noise. checkpoint_every: steps between two saves.

    autocast: forward passes in bfloat16 with channels last, weights in float32.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 42069
    checkpoint_every: int = Field(200, ge=1)
    autocast: Autocast = "none"


class StudentRecipe(Recipe):
    """architecture: of the student. trained_tensors: how many of the backbone's last tensors train, or all.

    clip_norm: of the gradient over the trained tensors. validation_share: of the images, spread over quality.
    """

    architecture: Architecture
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(128, ge=2)
    trained_tensors: int | Literal["all"] = 100
    clip_norm: float = Field(5.0, gt=0)
    validation_share: Share = 0.1


class EDifFIQARecipe(StudentRecipe):
    """eDifFIQA (TBIOM 2024): Adam; C3 with ε; loss weighted by θ; centres from the best share of images."""

    method: Literal["ediffiqa"] = "ediffiqa"
    architecture: Architecture = "ediffiqa-l"
    epochs: int = Field(3, ge=1)
    head_rate: Rate = 1e-3
    backbone_rate: Rate = 1e-4
    theta: float = Field(0.5, ge=0, le=1)
    epsilon: float = Field(0.5, ge=0)
    high_quality_share: Share = 0.2
    fewest_images: int = Field(10, ge=1)


class DifFIQARRecipe(StudentRecipe):
    """DifFIQA(R) (IJCB 2023): Adam on the L1 distance to min-max labels."""

    method: Literal["diffiqa-r"] = "diffiqa-r"
    architecture: Architecture = "diffiqa-r"
    head_rate: Rate = 1e-3
    backbone_rate: Rate = 1e-4


class AIKDRecipe(StudentRecipe):
    """AI-KD (IWBF 2024): SGD; the student's crop is misaligned by ±jitter_px of the source.

    pretrain: share of the run before weights are averaged; warmup: share of that with a rising rate.
    validate_every: share of the run between two averages past pretraining, average_alpha on the old one.
    """

    method: Literal["aikd"] = "aikd"
    architecture: Architecture = "aikd"
    batch_size: int = Field(64, ge=2)
    validation_share: Share = 0.01
    rate: Rate = 0.05
    head_momentum: float = Field(0.9, ge=0, lt=1)
    head_decay: float = Field(5e-4, ge=0)
    backbone_momentum: float = Field(0.1, ge=0, lt=1)
    smooth_l1_beta: Rate = 0.5
    jitter_px: float = Field(3.0, ge=0)
    pretrain: Share = 0.3
    warmup: float = Field(0.5, ge=0, le=1)
    validate_every: Share = 0.1
    average_alpha: float = Field(0.1, ge=0, lt=1)
    swa_rate: Rate = 0.05
    swa_updates: int = Field(10, ge=1)


class DiffusionRecipe(Recipe):
    """The UNet of DifFIQA (IJCB 2023): Adam, averaged every `average_every` steps.

    steps: of the optimiser, each over `accumulate` batches. trained_times: t is drawn below it.
    """

    method: Literal["diffusion"] = "diffusion"
    checkpoint_every: int = Field(500, ge=1)
    dim: int = Field(128, ge=8, multiple_of=8)
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    timesteps: int = Field(1000, ge=2)
    trained_times: int = Field(100, ge=1)
    steps: int = Field(100_000, ge=1)
    batch_size: int = Field(16, ge=1)
    accumulate: int = Field(4, ge=1)
    rate: Rate = 8e-5
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    average_decay: float = Field(0.995, ge=0, lt=1)
    average_every: int = Field(10, ge=1)


Kind = TypeVar("Kind", bound=Recipe)
AnyRecipe = EDifFIQARecipe | DifFIQARRecipe | AIKDRecipe | DiffusionRecipe
_RECIPE: TypeAdapter[AnyRecipe] = TypeAdapter(Annotated[AnyRecipe, Field(discriminator="method")])
_MODELS = (EDifFIQARecipe, DifFIQARRecipe, AIKDRecipe, DiffusionRecipe)


def read_recipe(path: Path) -> AnyRecipe:
    """A recipe from TOML; its key `method` says which. Raises ConfigError with path and nearest key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise ConfigError(f"expected a recipe: {path}: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise ConfigError(f"expected TOML: {path}: {cause}") from cause
    try:
        return _RECIPE.validate_python(table)
    except ValidationError as error:
        models = [model for model in _MODELS if model.model_fields["method"].default == table.get("method")]
        known = [name for model in models for name in model.model_fields]
        problems = []
        for problem in error.errors():
            name = str(problem["loc"][-1]) if problem["loc"] else "method"
            near = difflib.get_close_matches(name, known, 1) if problem["type"] == "extra_forbidden" else []
            problems.append(f"{name}: {problem['msg']}" + (f" (nearest known: {near[0]})" if near else ""))
        raise ConfigError(f"expected a training recipe, got {'; '.join(problems)}: {path}") from error


STUDENTS: Final[dict[StudentMethod, type[EDifFIQARecipe] | type[DifFIQARRecipe] | type[AIKDRecipe]]] = {
    "ediffiqa": EDifFIQARecipe,
    "diffiqa-r": DifFIQARRecipe,
    "aikd": AIKDRecipe,
}


def recipe_for(kind: type[Kind], path: Path | None) -> Kind:
    """The recipe at path, which must be of this kind; without a path the paper's values."""
    if path is None:
        return kind()
    recipe = read_recipe(path)
    if not isinstance(recipe, kind):
        method = kind.model_fields["method"].default
        raise ConfigError(f"expected a recipe of the method {method}, got {recipe.method}: {path}")
    return recipe
