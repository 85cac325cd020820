"""From an fp32 network to a gated one: convert, measure on real faces, install with the report, or refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...stream.errors import ConfigError, GateFailed, ModelInvalid
from ...stream.ports import Detector, Engine, Order
from ...stream.types import F32, Frame
from ..models.letterbox import Letterbox
from ..models.students import EYE_DISTANCE, OnnxScorer
from ..openvino import OpenVinoEngine, can_compute
from ..openvino import Precision as Arithmetic
from ..signature import Feeds, PixelInput
from ..zoo.fetch import digest
from . import agreement, gate, graph
from .gate import Chips, Precision
from .half import to_half
from .int8 import Activations, ends, linear, to_int8

CALIBRATION_CHIPS: Final = 128
CALIBRATION_FRAMES: Final = 24
_CARRIED: Final = ("calibration", "inputs", "outputs", "licence")
_UINT8: Final = 2  # TensorProto.UINT8
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """What was installed. report: the JSON beside the model. figures: of its gate."""

    path: Path
    report: Path
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DetectorKind:
    """How a detector is run: make(engine) → Detector, how the network wants its pixels, in which order, the
    long side of its input in px, and the least score that make() sets."""

    make: Callable[[Engine], Detector]
    pixels: PixelInput
    order: Order
    least_score: float
    long_side_px: int = 640


def build_student(
    model: Path,
    precision: Precision,
    out: Path,
    *,
    chips: Chips,
    calibrate_on: Chips | None = None,
    margin: float = gate.MARGIN,
    say: Say = lambda _: None,
) -> Built:
    """The quality network `model` in `precision`, written to `out` if it ranks chips as fp32 does.

    calibrate_on: chips for the scales of int8; without them every fourth track of `chips` is taken for that
    and left out of the gate. int8 is tried with every layer, then with the first and last in fp32, then with
    all linear layers too; each with signed activations, then with unsigned ones (see to_int8). bf16 is
    arithmetic that the engine does on the fp32 graph. Raises GateFailed (nothing is installed), ConfigError,
    ModelInvalid, OutputUnwritable, OutputFull, EngineUnavailable.
    """
    name = graph.sole_input(model)
    original = graph.read(model)
    pixels = None
    if graph.interface(original)[0][1] != _UINT8:
        pixels = OnnxScorer.PIXELS
        original = graph.read(model, {name: pixels.network_shape})
    if precision == "int8" and calibrate_on is None:
        calibrate_on, chips = _split(chips)

    with OpenVinoEngine(model, pixels=pixels, precision="fp32") as engine:
        before = gate.qualities(engine, chips)

    def check(made: Path, arithmetic: Arithmetic) -> dict[str, Any]:
        with OpenVinoEngine(made, pixels=pixels, precision=arithmetic) as engine:
            found = gate.compare(before, gate.qualities(engine, chips), chips, margin=margin)
        gate.require(found, precision, f"{model} in {precision}")
        return gate.as_record(found, precision)

    samples: list[Feeds] = []
    if precision == "int8" and calibrate_on is not None:
        samples = _chip_feeds(original, calibrate_on, pixels)
    return _Build(model, original, precision, samples, check, say).install(out)


def build_detector(
    model: Path,
    precision: Precision,
    out: Path,
    *,
    kind: DetectorKind,
    frames: Sequence[Frame],
    say: Say = lambda _: None,
) -> Built:
    """The detector `model` in `precision`, written to `out` if it finds the faces that fp32 finds.

    frames: of videos; int8 calibrates on every fourth and leaves those out of the gate. Raises as
    build_student does.
    """
    name = graph.sole_input(model)
    original = graph.read(model, {name: (None, *kind.pixels.network_shape[1:])})
    learning: Sequence[Frame] = ()
    if precision == "int8":
        learning = frames[::4][:CALIBRATION_FRAMES]
        frames = [frame for i, frame in enumerate(frames) if i % 4]

    with OpenVinoEngine(model, pixels=kind.pixels, precision="fp32", specialise=True) as engine:
        before = agreement.found(kind.make(engine), frames)

    def check(made: Path, arithmetic: Arithmetic) -> dict[str, Any]:
        with OpenVinoEngine(made, pixels=kind.pixels, precision=arithmetic, specialise=True) as engine:
            got = agreement.agreement(before, agreement.found(kind.make(engine), frames), kind.least_score)
        agreement.require(got, f"{model} in {precision}")
        return agreement.as_record(got)

    samples = [{name: _frame_pixels(frame, kind)} for frame in learning]
    return _Build(model, original, precision, samples, check, say).install(out)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Layers that stay in fp32, and the form of the activations of int8."""

    keep: tuple[str, ...] = ()
    activations: Activations = "int8"

    def __str__(self) -> str:
        return f"activations {self.activations}, {len(self.keep)} layers in fp32"


@dataclass(frozen=True, slots=True)
class _Build:
    model: Path
    original: Any
    precision: Precision
    samples: Sequence[Feeds]
    check: Callable[[Path, Arithmetic], dict[str, Any]]
    say: Say

    def install(self, out: Path) -> Built:
        """The first attempt that the gate lets in, as `out` and `<stem>.json`; else the last GateFailed."""
        refused: list[GateFailed] = []
        for attempt in self._attempts():
            how = f" ({attempt})" if self.precision == "int8" else ""
            self.say(f"{self.precision}: converting{how}")
            made = self._convert(attempt)
            graph.check(made, f"{self.model} in {self.precision}", self.original)
            with graph.staging(out) as folder:
                path = folder / out.name
                path.write_bytes(made.SerializeToString(deterministic=True))
                self.say(f"{self.precision}: measuring against fp32")
                try:
                    figures: dict[str, Any] = {
                        arithmetic: self.check(path, arithmetic)
                        for arithmetic in _arithmetics(self.precision)
                    }
                except GateFailed as failure:
                    refused.append(failure)
                    continue
                record = self._record(path, figures, attempt, refused)
                report = folder / "report.json"
                report.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                # The report first: a model that can be seen has its report beside it.
                report.replace(out.with_suffix(".json"))
                path.replace(out)
            return Built(out, out.with_suffix(".json"), figures)
        raise refused[-1]

    def _attempts(self) -> list[Attempt]:
        """int8 that every engine takes first, the fewest layers kept in fp32 first."""
        if self.precision != "int8":
            return [Attempt()]
        first, last = ends(self.original)
        outer = dict.fromkeys((*first, *last))
        keeps = [(), tuple(outer), tuple(outer | dict.fromkeys(linear(self.original)))]
        signs: tuple[Activations, ...] = ("int8", "uint8")
        return [Attempt(keep, sign) for sign in signs for keep in dict.fromkeys(keeps)]

    def _convert(self, attempt: Attempt) -> Any:
        match self.precision:
            case "fp16":
                return to_half(self.original)
            case "int8":
                return to_int8(
                    self.original,
                    self.samples,
                    activations=attempt.activations,
                    keep=attempt.keep,
                )
            case "bf16":
                return graph.tidy(self.original)

    def _record(
        self, path: Path, figures: Mapping[str, Any], attempt: Attempt, refused: Sequence[GateFailed]
    ) -> dict[str, Any]:
        beside = _sidecar(self.model)
        record: dict[str, Any] = {
            "name": path.stem,
            "sha256": digest(path),
            "made_from": {"file": self.model.name, "sha256": digest(self.model)},
            "precision": self.precision,
            "gate": dict(figures),
            "refused_before": [str(failure) for failure in refused],
        }
        if self.precision == "int8":
            record["quantisation"] = {
                "activations": attempt.activations,
                "kept_in_fp32": list(attempt.keep),
                "samples": len(self.samples),
            }
        return record | {key: beside[key] for key in _CARRIED if key in beside}


def _arithmetics(precision: Precision) -> tuple[Arithmetic, ...]:
    """What the gate computes in. Most CPUs run fp16 graphs in fp32; true fp16 too where the CPU has it."""
    if precision == "bf16":
        return ("bf16",)
    if precision == "fp16" and can_compute("fp16"):
        return ("fp32", "fp16")
    return ("fp32",)


def _split(chips: Chips) -> tuple[Chips, Chips]:
    """Every fourth track to calibrate on; the others to measure on."""
    _, number = np.unique(chips.tracks, return_inverse=True)
    learning = number % 4 == 0
    return chips.take(learning), chips.take(~learning)


def _chip_feeds(original: Any, chips: Chips, pixels: PixelInput | None) -> list[Feeds]:
    """An even choice of at most CALIBRATION_CHIPS, one a batch, for each input by name."""
    if not len(chips):
        raise ConfigError("expected chips to calibrate on, got none")
    rows = np.unique(np.linspace(0, len(chips) - 1, CALIBRATION_CHIPS).astype(np.intp))
    feeds: list[Feeds] = []
    for row in rows:
        chip = chips.chips[row : row + 1]
        image = chip if pixels is None else pixels.normalise(chip)
        eyes = chips.eye_distances_px[row : row + 1]
        names = [port.name for port in original.graph.input]
        feeds.append({name: eyes if name == EYE_DISTANCE else image for name in names})
    return feeds


def _frame_pixels(frame: Frame, kind: DetectorKind) -> F32:
    letterbox = Letterbox.fit(frame.picture.width, frame.picture.height, kind.long_side_px)
    return kind.pixels.normalise(letterbox.pixels(frame.picture, kind.order))


def _sidecar(model: Path) -> dict[str, Any]:
    """What the JSON beside the model says; {} where there is none."""
    try:
        said = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as damage:
        raise ModelInvalid(f"{model.with_suffix('.json')}: not JSON: {damage}") from damage
    return said if isinstance(said, dict) else {}
