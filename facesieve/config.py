"""What can be configured: frozen values, the same names in TOML. Unknown keys are refused.

Every table is optional; an empty file is the default configuration. Times are in the unit of their suffix,
sizes in pixels of the decoded frame unless said otherwise.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from .config_errors import explain
from .config_parts import (
    AnalyticalConfig,
    BaselineConfig,
    BlazeFaceConfig,
    ByteTrackConfig,
    CenterFaceConfig,
    DecodeConfig,
    DetectorConfig,
    EngineConfig,
    FilePath,
    MediaPipeConfig,
    OCSortConfig,
    OnnxRuntimeConfig,
    OpenVinoConfig,
    Ratio,
    RunTable,
    ScorerConfig,
    ScrfdConfig,
    StudentConfig,
    Table,
    TensorRTConfig,
    TrackerConfig,
    YuNetConfig,
)
from .engines.models.recognisers import Pixels
from .stream.errors import ConfigError
from .stream.policy import Diversity, Emit

__all__ = [
    "AnalyticalConfig",
    "BaselineConfig",
    "BlazeFaceConfig",
    "ByteTrackConfig",
    "CenterFaceConfig",
    "ComponentsConfig",
    "Config",
    "DecodeConfig",
    "DetectorConfig",
    "EngineConfig",
    "IdentityConfig",
    "MediaPipeConfig",
    "ModelsConfig",
    "OCSortConfig",
    "OnnxRuntimeConfig",
    "OpenVinoConfig",
    "OutputConfig",
    "ScorerConfig",
    "ScrfdConfig",
    "SelectionConfig",
    "StudentConfig",
    "Table",
    "TensorRTConfig",
    "TrackerConfig",
    "YuNetConfig",
    "parse_config",
    "read_config",
    "with_kinds",
]

Degrees = Annotated[float, Field(gt=0, le=180)]


class SelectionConfig(RunTable):
    """Which faces are kept of a track, and when they are told. Times are of the source (PTS).

    min_face_px: shorter side of the face box. max_yaw_deg, max_pitch_deg, max_roll_deg: head pose estimated
    from the landmarks. max_truncated: share of the chip outside the frame. min_sharpness: of the chip,
    whatever the scorer. max_occlusion: covered share of the face. profile: requirements that a face must meet
    (docs/components.md): surveillance, enrolment, portrait-iso or a file. prefer_fit: where no face of a
    track meets it, keep the best of the others, marked as unfit. min_score: of the scorer in use.
    min_quality, enrol_min_quality, quick_threshold: calibrated; a shot that reaches enrol_min_quality is
    marked, where components are measured only if it meets the profile enrolment, too. min_hits: detections a
    track needs. min_gap_ms: least time between two kept shots. max_track_ms: a track that goes on for longer
    is cut into windows with shots of their own; None = never. skip_hopeless: don't score faces that most
    likely would not become shots (the shipped student only; not on TensorRT, nor when output.keep_candidates
    wants all scores).

    diversity: what shots of a track should differ in; diversity_weight: the calibrated quality that being
    wholly different is worth. emit: quality = shots are told when their track ends; timeliness = one also
    early, the first that reaches quick_threshold, else the best after max_wait_ms; realtime = each better one
    too, at least silent_ms apart.
    """

    top_k: int = Field(3, ge=1, le=100)
    min_face_px: float = Field(40, ge=0)
    min_score: float | None = None
    min_quality: Ratio | None = 0.05
    enrol_min_quality: Ratio | None = 0.8
    min_sharpness: Ratio | None = None
    max_occlusion: Ratio | None = None
    profile: Annotated[str, Field(min_length=1)] | None = None
    prefer_fit: bool = False
    max_yaw_deg: Degrees | None = 60
    max_pitch_deg: Degrees | None = 50
    max_roll_deg: Degrees | None = 60
    max_truncated: Ratio = 0.3
    min_hits: int = Field(3, ge=1)
    min_track_ms: float = Field(0, ge=0)
    max_track_ms: float | None = Field(None, ge=1, le=1e12)
    min_gap_ms: float = Field(500, ge=0, le=1e12)
    skip_hopeless: bool = True
    diversity: Diversity = "none"
    diversity_weight: Ratio = 0.2
    emit: Emit = "quality"
    quick_threshold: Ratio = 0.7
    max_wait_ms: float = Field(2000, ge=0, le=1e12)
    silent_ms: float = Field(1000, ge=0, le=1e12)


class ComponentsConfig(RunTable):
    """enabled: measure the quality components of the kept shots (docs/components.md); a profile measures
    those of candidates as well, whether enabled or not. The networks run on OpenVINO whatever the engine."""

    enabled: bool = True


class OutputConfig(RunTable):
    """margin: of the kept crop around the face box, as a share of its size on each side.
    embeddings: also write each shot's embedding, a biometric template, into shots.jsonl.
    keep_candidates: also store the chips of all scored faces, kept or not, in candidates.zip.
    boxes: also write the box of every tracked detection to boxes.jsonl, for COCO and MOT export."""

    margin: float = Field(0.4, ge=0, le=3)
    jpeg_quality: int = Field(95, ge=1, le=100)
    embeddings: bool = False
    keep_candidates: bool = False
    boxes: bool = False


class IdentityConfig(RunTable):
    """Tracks of one person become one identity (docs/identities.md).

    enabled: auto = where the scorer gives embeddings and its thresholds are known. embedder: student = the
    scorer's own embedding where it has one, else the shipped student's; sface; or an ONNX recogniser.
    preprocessing: of such a file, where facesieve does not know it. store: a file, or a postgresql:// URL, in
    which people are known from run to run; None = for this run only. index: usearch for millions of people.

    fmr: false match rate at which the network's own table says how alike is one person. threshold,
    stay_threshold: cosine similarities instead of the table's. min_quality: of a template that is joined to
    others at all; None = the table's. template_k: best shots of a track that make its template.

    retention_days, retention_shots, retention_min_quality: what a store gives up after each run: tracks older
    than that, all but so many shots a person, shots below that calibrated quality; their files go with them.
    """

    enabled: Literal["auto"] | bool = "auto"
    embedder: str = "student"
    preprocessing: Pixels | None = None
    store: Annotated[str, Field(min_length=1)] | None = None
    index: Literal["exact", "usearch"] = "exact"
    fmr: float = Field(1e-5, gt=0, lt=1)
    threshold: float | None = Field(None, ge=-1, le=1)
    stay_threshold: float | None = Field(None, ge=-1, le=1)
    min_quality: Ratio | None = None
    template_k: int = Field(5, ge=1, le=100)
    retention_days: float | None = Field(None, gt=0)
    retention_shots: int | None = Field(None, ge=1)
    retention_min_quality: Ratio | None = None


class ModelsConfig(RunTable):
    """licence: "commercial" refuses models whose licence does not allow commercial use, before anything is
    fetched. paths: files of one's own in the place of models of the zoo, by name."""

    licence: Literal["any", "commercial"] = "any"
    paths: dict[str, FilePath] = Field(default_factory=dict)


class Config(Table):
    """The whole configuration."""

    decode: DecodeConfig = DecodeConfig()
    detector: DetectorConfig = CenterFaceConfig()
    tracker: TrackerConfig = ByteTrackConfig()
    scorer: ScorerConfig = StudentConfig()
    engine: EngineConfig = OpenVinoConfig()
    selection: SelectionConfig = SelectionConfig()
    output: OutputConfig = OutputConfig()
    components: ComponentsConfig = ComponentsConfig()
    models: ModelsConfig = ModelsConfig()
    identity: IdentityConfig = IdentityConfig()


def read_config(path: Path) -> Config:
    """The configuration in a TOML file; ConfigError names the file, the key and what was expected."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text, so not TOML") from error
    except OSError as error:
        raise ConfigError(f"{path}: the configuration cannot be read: {error.strerror}") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return parse_config(table, str(path))


def parse_config(table: dict[str, Any], origin: str) -> Config:
    """The configuration a mapping describes; origin names it in errors. A table without `kind` means the
    default kind of its part."""
    try:
        return Config.model_validate(with_kinds(table))
    except ValidationError as error:
        problems = "\n".join(f"{origin}: {explain(problem, Config)}" for problem in error.errors())
        raise ConfigError(problems) from error


def with_kinds(table: dict[str, Any]) -> dict[str, Any]:
    """The same, with the default kind in each table of a part that has kinds and names none."""
    for part, field in Config.model_fields.items():
        default_kind = getattr(field.default, "kind", None)
        if default_kind and isinstance(table.get(part), dict) and "kind" not in table[part]:
            table = {**table, part: {"kind": default_kind, **table[part]}}
    return table
