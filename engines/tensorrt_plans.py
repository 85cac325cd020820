"""TensorRT plans on disk: what one is made for, the key it is stored under, and why a stored one does not do.

A plan is compiled for one graph, one GPU, one TensorRT and one range of shapes. The key holds all of that, so
a plan is never loaded where it does not belong; its description lies in the file, so that the log can say
what changed since the last one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..stream.errors import ConfigError, EngineUnavailable
from . import compiled_cache, onnx_pixels
from .signature import PixelInput

GraphPrecision = Literal["fp32", "fp16", "bf16", "int8"]
Hardware = Literal["this", "same_compute_capability", "ampere_plus"]
log = logging.getLogger(__name__)
_HEADER_LENGTH_BYTES = 4
_MODEL_DIGITS, _KEY_DIGITS = 16, 32
# Order in which reasons are told when a stored plan differs in several.
_FIELDS = {
    "tensorrt": "TensorRT",
    "gpu": "GPU",
    "model": "model",
    "precision": "precision",
    "profile": "profile",
    "pixels": "pixel input",
    "options": "options",
}


def _check_range(what: str, least: int, opt: int, most: int) -> None:
    if not 1 <= least <= opt <= most:
        raise ConfigError(f"expected 1 ≤ min ≤ opt ≤ max for {what}, got {least}, {opt}, {most}")


@dataclass(frozen=True, slots=True)
class FreeSize:
    """The range of one free dimension that is not the batch: axis of an input, minimum, optimum, maximum."""

    input: str
    axis: int
    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if self.axis < 1:
            raise ConfigError(f"expected axis ≥ 1 of input {self.input!r}, got {self.axis}; 0 is the batch")
        _check_range(f"axis {self.axis} of input {self.input!r}", self.min, self.opt, self.max)


@dataclass(frozen=True, slots=True)
class Profile:
    """The shapes that a plan must serve, and the one it is tuned for.

    Batches apply to the first dimension of every input that leaves it free. free: every other free dimension.
    """

    min_batch: int = 1
    opt_batch: int = 8
    max_batch: int = 32
    free: tuple[FreeSize, ...] = ()

    def __post_init__(self) -> None:
        _check_range("the batch", self.min_batch, self.opt_batch, self.max_batch)

    def shapes(self, name: str, declared: tuple[int, ...], label: str) -> tuple[tuple[int, ...], ...]:
        """(minimum, optimum, maximum) shape of an input declared with −1 for free dimensions.

        Raises ConfigError for a free dimension without a range.
        """
        ranges = [(size, size, size) for size in declared]
        if declared and declared[0] < 0:
            ranges[0] = (self.min_batch, self.opt_batch, self.max_batch)
        ours = {size.axis: size for size in self.free if size.input == name}
        for axis, size in ours.items():
            if axis >= len(declared) or declared[axis] >= 0:
                raise ConfigError(f"{label}: axis {axis} of input {name!r} is not free: it has no range")
            ranges[axis] = (size.min, size.opt, size.max)
        open_axes = [axis for axis, (least, _, _) in enumerate(ranges) if least < 0]
        if open_axes:
            raise ConfigError(
                f"{label}: axes {open_axes} of input {name!r} are free: "
                "expected a FreeSize for each in the profile"
            )
        return tuple(tuple(r[i] for r in ranges) for i in range(3))


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How a plan is built.

    precision: of the graph, which decides it alone (TensorRT 11 compiles strongly typed networks only); it
    names the plan. profile: shapes. optimisation_level: 0 (fast to build) to 5 (fast to run).
    workspace_bytes: limit of scratch memory; None for the whole GPU. tf32: let float32 products lose 13 of
    their 23 bits. hardware: the GPUs that may load the plan. version_compatible: may be loaded by later
    TensorRT 11 releases too.
    """

    precision: GraphPrecision = "fp32"
    profile: Profile = Profile()
    optimisation_level: int = 3
    workspace_bytes: int | None = None
    tf32: bool = False
    hardware: Hardware = "this"
    version_compatible: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.optimisation_level <= 5:
            raise ConfigError(f"expected optimisation_level from 0 to 5, got {self.optimisation_level}")
        if self.workspace_bytes is not None and self.workspace_bytes < 1:
            raise ConfigError(f"expected workspace_bytes ≥ 1, got {self.workspace_bytes}")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device. capability: compute capability (major, minor)."""

    name: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability[0]}.{self.capability[1]})"


@dataclass(frozen=True, slots=True)
class PlanKey:
    """All that a plan depends on, as text; equal keys mean interchangeable plans."""

    description: tuple[tuple[str, str], ...]

    @classmethod
    def of(
        cls, model: str, pixels: PixelInput | None, options: PlanOptions, gpu: Gpu, tensorrt: str
    ) -> PlanKey:
        """model: SHA-256 of the ONNX file and its external data. tensorrt: its version, like 11.4.0.106."""
        major, minor = gpu.capability
        where = {
            "this": str(gpu),
            "same_compute_capability": f"any of compute capability {major}.{minor}",
            "ampere_plus": "Ampere or newer",
        }[options.hardware]
        flags = f"level {options.optimisation_level}, workspace {options.workspace_bytes or 'all'} bytes"
        flags += f", tf32 {'on' if options.tf32 else 'off'}, hardware {options.hardware}"
        flags += ", version compatible" if options.version_compatible else ""
        parts = {
            "model": model,
            "pixels": f"{pixels}, revision {onnx_pixels.REVISION}",
            "precision": options.precision,
            "profile": repr(options.profile),
            "options": flags,
            "gpu": where,
            "tensorrt": f"{tensorrt.split('.')[0]}.x" if options.version_compatible else tensorrt,
        }
        return cls(tuple(sorted(parts.items())))

    @property
    def name(self) -> str:
        """Of the file: the model's digits, then those of everything."""
        described = dict(self.description)
        whole = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        return f"{described['model'][:_MODEL_DIGITS]}-{whole[:_KEY_DIGITS]}"

    def differs(self, other: Mapping[str, str]) -> str:
        """What another plan's description says instead, as one clause."""
        mine = dict(self.description)
        changed = [
            f"{words} {other.get(field, 'not recorded')}, now {mine[field]}"
            for field, words in _FIELDS.items()
            if other.get(field) != mine[field]
        ]
        return "; ".join(changed)


class PlanCache:
    """Plans in a folder, each one file of its description and its bytes under a checksum."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: PlanKey) -> Path:
        return compiled_cache.path(self.folder, key.name)

    def load(self, key: PlanKey) -> tuple[bytes | None, str]:
        """(plan, "") or (None, why there is none): never made, damaged, or made for something else."""
        blob = compiled_cache.load(self.folder, key.name)
        if blob is not None:
            return _unpack(blob)[1], ""
        if self.path(key).exists():
            return None, f"the plan {self.path(key)} is damaged"
        return None, self._why_absent(key)

    def save(self, key: PlanKey, plan: bytes) -> Path:
        """Store a plan; EngineUnavailable if the folder cannot take it."""
        compiled_cache.save(self.folder, key.name, _pack(dict(key.description), plan))
        return self.path(key)

    @contextmanager
    def building(self, key: PlanKey) -> Iterator[None]:
        """Held while a plan is built, so that two processes do not build the same one.

        Raises EngineUnavailable before minutes are spent if nothing can be written here.
        """
        lock = self.folder / f".{key.name}.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = lock.open("w")
        except OSError as error:
            raise EngineUnavailable(
                f"{self.folder}: cannot store plans there ({error.strerror}); set FACESIEVE_CACHE to another"
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning("%s: another process is building this plan; waiting for it", self.path(key))
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _why_absent(self, key: PlanKey) -> str:
        """The other plan of this model that differs least, if there is one."""
        model = dict(key.description)["model"][:_MODEL_DIGITS]
        clauses = []
        for path in sorted(self.folder.glob(f"{model}-*.compiled")):
            blob = compiled_cache.load(self.folder, path.stem)
            if blob is not None:
                clauses.append(key.differs(_unpack(blob)[0]))
        if not clauses:
            return "there is no plan of it yet"
        return f"the stored plan does not fit: {min(clauses, key=lambda clause: clause.count(';'))}"


def timing_key(gpu: Gpu, tensorrt: str) -> str:
    """Kernel timings hold for one GPU and one TensorRT, and for every network."""
    return "timings-" + hashlib.sha256(f"{gpu} {tensorrt}".encode()).hexdigest()[:_KEY_DIGITS]


def _pack(description: Mapping[str, str], plan: bytes) -> bytes:
    header = json.dumps(description, sort_keys=True).encode()
    return len(header).to_bytes(_HEADER_LENGTH_BYTES, "little") + header + plan


def _unpack(blob: bytes) -> tuple[dict[str, str], bytes]:
    end = _HEADER_LENGTH_BYTES + int.from_bytes(blob[:_HEADER_LENGTH_BYTES], "little")
    return json.loads(blob[_HEADER_LENGTH_BYTES:end]), blob[end:]
