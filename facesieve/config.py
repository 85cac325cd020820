"""What can be configured: frozen values, the same names in TOML. Unknown keys are refused.

Every table is optional; an empty file is the default configuration. Times are in the unit of their suffix,
sizes in pixels of the decoded frame unless said otherwise.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .config_errors import explain
from .engines.models.recognisers import Pixels
from .stream.errors import ConfigError, SourceUnreadable
from .stream.policy import Diversity, Emit

Ratio = Annotated[float, Field(ge=0, le=1)]
Degrees = Annotated[float, Field(gt=0, le=180)]


class Table(BaseModel):
    """A frozen table of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DecodeConfig(Table):
    """threads: of the decoder, 0 = one a core. max_pixels: larger frames are refused (default 8192×8192).
    image_fps: reads a folder of images as a film at that rate; None = unrelated pictures."""

    threads: int = Field(0, ge=0, le=64)
    max_pixels: int = Field(8192 * 8192, ge=1)
    image_fps: float | None = Field(None, gt=0, le=1000)


class DetectorTable(Table):
    """hz: detections a second of video, 0 = every frame. long_side_px: of the picture the detector sees,
    None = small enough for speed while a face of selection.min_face_px stays findable (320 to 640).
    min_score: of a face that may begin a track or be kept; weaker ones, down to 0.3, continue a track.
    weights: a file of one's own instead of the zoo's."""

    hz: float = Field(8.0, ge=0, le=1000)
    long_side_px: int | None = Field(None, ge=64, le=4096)
    min_score: Ratio = 0.5
    nms_iou: Ratio = 0.4
    weights: Path | None = None


class CenterFaceConfig(DetectorTable):
    kind: Literal["centerface"] = "centerface"


class YuNetConfig(DetectorTable):
    kind: Literal["yunet"] = "yunet"
    min_score: Ratio = 0.6


class ScrfdConfig(DetectorTable):
    kind: Literal["scrfd"] = "scrfd"


class BlazeFaceConfig(DetectorTable):
    kind: Literal["blazeface"] = "blazeface"


class MediaPipeConfig(DetectorTable):
    kind: Literal["mediapipe"] = "mediapipe"


DetectorConfig = Annotated[
    CenterFaceConfig | YuNetConfig | ScrfdConfig | BlazeFaceConfig | MediaPipeConfig,
    Field(discriminator="kind"),
]


class TrackerTable(Table):
    """lost_s: a face unseen for so long ends its track. min_hits: detections before a track gets its id.
    one_face: a track that goes on with somebody else's face ends there, and that face gets a track of its
    own; seen by the embeddings of scored faces, where the scorer has such and its thresholds are known."""

    lost_s: float = Field(1.5, gt=0, le=3600)
    min_hits: int = Field(1, ge=1, le=100)
    scene_cuts: bool = True
    one_face: bool = True


class ByteTrackConfig(TrackerTable):
    kind: Literal["bytetrack"] = "bytetrack"


class OCSortConfig(TrackerTable):
    kind: Literal["ocsort"] = "ocsort"


TrackerConfig = Annotated[ByteTrackConfig | OCSortConfig, Field(discriminator="kind")]


class AnalyticalConfig(Table):
    """Sharpness, size, pose, exposure, truncation and detector confidence: no network."""

    kind: Literal["analytical"] = "analytical"


class StudentConfig(Table):
    """A student network: the shipped one, or an eDifFIQA-shaped ONNX of one's own."""

    kind: Literal["student"] = "student"
    weights: Path | None = None
    max_batch: int = Field(32, ge=1, le=1024)


class BaselineConfig(Table):
    """A published measure to compare with, offline (needs the fiqa extra). spec: NAME:PATH of its weights."""

    kind: Literal["baseline"] = "baseline"
    spec: str


ScorerConfig = Annotated[AnalyticalConfig | StudentConfig | BaselineConfig, Field(discriminator="kind")]


class OpenVinoConfig(Table):
    """threads: of each network, 0 = one a core. With 1 a film is done soonest: the decoder has work for the
    other cores, and handing a small network's layers around costs a third of its time. More shorten the wait
    for one frame. hint: "latency" scores a batch with all threads; "throughput" shares its rows out over
    streams that run at the same time (as many as the device finds best, or `streams`), each with its part of
    the threads, so it needs several; detectors see one frame at a time and keep to latency. precision: auto
    is bfloat16 where the CPU has it, but fp32 for a scorer of one's own, whose ranking in bfloat16 nobody has
    checked. cache: keep compiled networks on disk, so that the next start is quick."""

    kind: Literal["openvino"] = "openvino"
    device: str = "CPU"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int = Field(1, ge=0, le=256)
    hint: Literal["latency", "throughput"] = "latency"
    streams: int | None = Field(None, ge=1, le=256)
    cache: bool = True

    @model_validator(mode="after")
    def _streams_have_threads(self) -> Self:
        if self.streams is not None and self.hint != "throughput":
            raise ValueError('streams are for hint = "throughput"')
        if self.streams is not None and 0 < self.threads < self.streams:
            raise ValueError(f"{self.streams} streams need threads = 0 or as many, not {self.threads}")
        return self


class OnnxRuntimeConfig(Table):
    """provider: where the graph runs; cuda and tensorrt need the extra onnxruntime-gpu in the place of
    onnxruntime (both unpack into one folder), and have not been run on a GPU yet. device: index of the GPU.
    tf32: let float32 products on it lose 13 of their 23 bits. max_batch: the most faces that TensorRT is to
    be ready for in one call."""

    kind: Literal["onnxruntime"] = "onnxruntime"
    threads: int = Field(0, ge=0, le=256)
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    device: int = Field(0, ge=0)
    tf32: bool = False
    max_batch: int = Field(32, ge=1)


class TensorRTConfig(Table):
    """NVIDIA GPUs; not yet run on one.

    device: its index. precision: that of the graph, which is where TensorRT takes it from. min_batch,
    opt_batch, max_batch: faces scored in one call. cuda_graphs: replay recorded launches. build: "now" builds
    missing plans at the start (minutes), "never" refuses to start without. hardware, version_compatible:
    plans for other GPUs of the kind, or for later TensorRT versions.
    """

    kind: Literal["tensorrt"] = "tensorrt"
    device: int = Field(0, ge=0)
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    min_batch: int = Field(1, ge=1)
    opt_batch: int = Field(8, ge=1)
    max_batch: int = Field(32, ge=1)
    optimisation_level: int = Field(3, ge=0, le=5)
    workspace_mb: int | None = Field(None, ge=1)
    tf32: bool = False
    hardware: Literal["this", "same_compute_capability", "ampere_plus"] = "this"
    version_compatible: bool = False
    cuda_graphs: bool = False
    build: Literal["now", "never"] = "never"


EngineConfig = Annotated[OpenVinoConfig | OnnxRuntimeConfig | TensorRTConfig, Field(discriminator="kind")]


class SelectionConfig(Table):
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
    profile: str | None = None
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


class ComponentsConfig(Table):
    """enabled: measure the quality components of the kept shots (docs/components.md); a profile measures
    those of candidates as well, whether enabled or not. The networks run on OpenVINO whatever the engine."""

    enabled: bool = True


class OutputConfig(Table):
    """margin: of the kept crop around the face box, as a share of its size on each side.
    embeddings: also write each shot's embedding, a biometric template, into shots.jsonl.
    keep_candidates: also store the chips of all scored faces, kept or not, in candidates.zip.
    boxes: also write the box of every tracked detection to boxes.jsonl, for COCO and MOT export."""

    margin: float = Field(0.4, ge=0, le=3)
    jpeg_quality: int = Field(95, ge=1, le=100)
    embeddings: bool = False
    keep_candidates: bool = False
    boxes: bool = False


class IdentityConfig(Table):
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
    store: str | None = None
    index: Literal["exact", "usearch"] = "exact"
    fmr: float = Field(1e-5, gt=0, lt=1)
    threshold: float | None = Field(None, ge=-1, le=1)
    stay_threshold: float | None = Field(None, ge=-1, le=1)
    min_quality: Ratio | None = None
    template_k: int = Field(5, ge=1, le=100)
    retention_days: float | None = Field(None, gt=0)
    retention_shots: int | None = Field(None, ge=1)
    retention_min_quality: Ratio | None = None


class ModelsConfig(Table):
    """licence: "commercial" refuses models whose licence does not allow commercial use, before anything is
    fetched. paths: files of one's own in the place of models of the zoo, by name."""

    licence: Literal["any", "commercial"] = "any"
    paths: dict[str, Path] = Field(default_factory=dict)


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
        raise SourceUnreadable(f"{path}: cannot be read: {error.strerror}") from error
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
