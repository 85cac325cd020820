"""What a frame passes through, as settings: decoder, detector, tracker, scorer, engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Ratio = Annotated[float, Field(ge=0, le=1)]


def _named(path: object) -> object:
    if path == "":
        raise ValueError("expected a path, got an empty one")
    return path


FilePath = Annotated[Path, Field(strict=False), BeforeValidator(_named)]
"""Text in TOML; an empty one would be the current folder."""


class Table(BaseModel):
    """A frozen table of settings that refuses unknown keys, and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RunTable(Table):
    """Of a run: a value of another type is refused, not taken for what it may have meant ("3", true)."""

    model_config = ConfigDict(strict=True)


class DecodeConfig(RunTable):
    """threads: of the decoder, 0 = one a core. max_pixels: larger frames are refused (default 8192×8192).
    image_fps: reads a folder of images as a film at that rate; None = unrelated pictures."""

    threads: int = Field(0, ge=0, le=64)
    max_pixels: int = Field(8192 * 8192, ge=1)
    image_fps: float | None = Field(None, gt=0, le=1000)


class DetectorTable(RunTable):
    """hz: detections a second of video, 0 = every frame. long_side_px: of the picture the detector sees,
    None = small enough for speed while a face of selection.min_face_px stays findable (320 to 640).
    min_score: of a face that may begin a track or be kept; weaker ones, down to 0.3, continue a track.
    weights: a file of one's own instead of the zoo's."""

    hz: float = Field(8.0, ge=0, le=1000)
    long_side_px: int | None = Field(None, ge=64, le=4096)
    min_score: Ratio = 0.5
    nms_iou: Ratio = 0.4
    weights: FilePath | None = None


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


class TrackerTable(RunTable):
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


class AnalyticalConfig(RunTable):
    """Sharpness, size, pose, exposure, truncation and detector confidence: no network."""

    kind: Literal["analytical"] = "analytical"


class StudentConfig(RunTable):
    """A student network: the shipped one, or an eDifFIQA-shaped ONNX of one's own."""

    kind: Literal["student"] = "student"
    weights: FilePath | None = None
    max_batch: int = Field(32, ge=1, le=1024)


class BaselineConfig(RunTable):
    """A published measure to compare with, offline (needs the fiqa extra). spec: NAME:PATH of its weights."""

    kind: Literal["baseline"] = "baseline"
    spec: str


ScorerConfig = Annotated[AnalyticalConfig | StudentConfig | BaselineConfig, Field(discriminator="kind")]


class OpenVinoConfig(RunTable):
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


class OnnxRuntimeConfig(RunTable):
    """provider: where the graph runs; cuda and tensorrt need the extra onnxruntime-gpu in the place of
    onnxruntime (both unpack into one folder), and have not been run on a GPU yet. device: index of the GPU.
    tf32: let float32 products on it lose 13 of their 23 bits; false is told to cuda, and for tensorrt, which
    cannot be told, a warning says what to do. max_batch: the most faces that TensorRT is to be ready for in
    one call."""

    kind: Literal["onnxruntime"] = "onnxruntime"
    threads: int = Field(0, ge=0, le=256)
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    device: int = Field(0, ge=0)
    tf32: bool = False
    max_batch: int = Field(32, ge=1)


class TensorRTConfig(RunTable):
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
