"""Recipes of training in TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ..stream.errors import ConfigError

Kind = TypeVar("Kind", bound=BaseModel)


def read_toml(kind: type[Kind], path: Path) -> Kind:
    """The recipe of a TOML file; raises ConfigError with the path and what is wrong."""
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as cause:
        raise ConfigError(f"expected a recipe at {path}: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, ValidationError) as cause:
        raise ConfigError(f"expected a recipe in {path}: {cause}") from cause
