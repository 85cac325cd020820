"""Requirement profiles: what a use asks of each component."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError
from .assessor import COMPONENTS, DEGREES
from .mapping import inverse_sigmoid

SHIPPED: Final = ("surveillance", "enrolment", "portrait-iso")
_KEYS: Final = {"min", "max", "weight"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One component. minimum: least value, 0–100; None requires nothing. maximum: of an angle, largest
    absolute value in degrees. weight: in the profile's score, ≥ 0."""

    component: str
    minimum: float | None = None
    maximum: float | None = None
    weight: float = 0.0

    def shortfall(self, value: float | None) -> float:
        """How far a value misses, as a share of what is required: ≤ 0 where it is met; 1 where the component
        could not be measured: what is not shown is not met."""
        if value is None:
            return 1.0 if self.minimum is not None or self.maximum is not None else 0.0
        if self.maximum is not None:
            return abs(value) / self.maximum - 1
        if self.minimum is not None:
            return 1 - value / self.minimum if self.minimum else 0.0
        return 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A weighted set of requirements."""

    name: str
    requirements: tuple[Requirement, ...]

    def failures(self, components: Mapping[str, float]) -> tuple[str, ...]:
        """Names of the components that miss what is required, worst first; () for a fit face."""
        missed = [(r.shortfall(components.get(r.component)), r.component) for r in self.requirements]
        return tuple(name for _, name in sorted(((-s, n) for s, n in missed if s > 0)))

    def score(self, components: Mapping[str, float]) -> float:
        """Weighted mean of the components that have a weight, 0–100; an unmeasured one counts 0. 100 where
        nothing has a weight."""
        total = sum(r.weight for r in self.requirements)
        gained = sum(r.weight * components.get(r.component, 0.0) for r in self.requirements)
        return gained / total if total > 0 else 100.0

    def words(self, component: str) -> str:
        """What it means to fail a component, for people: "yaw beyond 40°"; the name where it is unknown."""
        required = {r.component: r for r in self.requirements}.get(component)
        if required is None:
            return component
        if required.maximum is not None:
            return f"{component.removesuffix('_deg')} beyond {required.maximum:g}°"
        if component == "inter_eye_distance" and required.minimum and required.minimum < 100:
            pixels = inverse_sigmoid(required.minimum / 100, 70, 20)
            return f"too small (less than {pixels:.0f} px between the eyes)"
        return _WORDS.get(component, component.replace("_", " ") + " too low")


_WORDS: Final = {
    "face_alignment": "landmarks off the face",
    "sharpness": "not sharp",
    "motion_blur_prevention": "motion blur",
    "compression_artifacts": "compression artefacts",
    "under_exposure_prevention": "too dark",
    "over_exposure_prevention": "overexposed",
    "dynamic_range": "flat light",
    "luminance_mean": "too dark or too bright",
    "luminance_variance": "contrast too low or too hard",
    "illumination_uniformity": "light from one side",
    "head_pose_yaw": "head turned aside",
    "head_pose_pitch": "head up or down",
    "head_pose_roll": "head tilted",
    "inter_eye_distance": "too small",
    "head_size": "head too small or too large in the picture",
    "leftward_crop_of_the_face_image": "cut at the left",
    "rightward_crop_of_the_face_image": "cut at the right",
    "margin_above_of_the_face_image": "cut above",
    "margin_below_of_the_face_image": "cut below",
    "eyes_open": "eyes closed",
    "mouth_closed": "mouth open",
    "eyes_visible": "eyes covered",
    "mouth_occlusion_prevention": "mouth covered",
    "face_occlusion_prevention": "face covered",
    "expression_neutrality": "expression not neutral",
    "background_uniformity": "busy background",
}


def read_profile(name: str | Path) -> Profile:
    """A shipped profile by name, or one of the user's own by path.

    Raises ConfigError with the file, the key and what was expected.
    """
    if name in SHIPPED:
        text = resources.files(__package__).joinpath("profiles", f"{name}.toml").read_text("utf-8")
        return parse_profile(text, str(name), str(name))
    path = Path(name)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such profile; shipped are {', '.join(SHIPPED)}") from error
    except OSError as error:
        raise ConfigError(f"{path}: the profile cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text, so not TOML") from error
    return parse_profile(text, path.stem, str(path))


def parse_profile(text: str, name: str, origin: str) -> Profile:
    """A profile's TOML: one table a component with `min` (0–100) or, for an angle, `max` (degrees), and
    `weight`. origin names the file in errors."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin}: not valid TOML: {error}") from error
    known = (*COMPONENTS, *DEGREES)
    for component in tables:
        if component not in known:
            near = difflib.get_close_matches(component, known, 1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(known)}"
            raise ConfigError(f"{origin}: unknown component `{component}`{hint}")
    return Profile(name, tuple(_requirement(c, table, origin) for c, table in tables.items()))


def _requirement(component: str, table: Any, origin: str) -> Requirement:
    if not isinstance(table, dict) or not table.keys() <= _KEYS:
        raise ConfigError(f"{origin}: `{component}`: expected a table of min, max, weight, got {table!r}")
    angle = component in DEGREES
    if ("min" if angle else "max") in table:
        what = "max, degrees either way" if angle else "min, 0–100"
        raise ConfigError(f"{origin}: `{component}`: expected {what}, got {table!r}")
    limits = {"min": (0, 100), "max": (0, 180), "weight": (0, 1e6)}
    for key, value in table.items():
        low, high = limits[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high or (key == "max" and value == 0):
            raise ConfigError(
                f"{origin}: `{component}.{key}`: expected a number from {low} to {high}, got {value!r}"
            )
    if angle and table.get("weight"):
        raise ConfigError(f"{origin}: `{component}`: give the weight to head_pose_{component[:-4]}")
    return Requirement(component, table.get("min"), table.get("max"), float(table.get("weight", 0)))
