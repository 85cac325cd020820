"""The configuration of `facesieve serve`: everything of a run's, and the service, its cameras and sinks."""

from __future__ import annotations

import os
import stat
import tomllib
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from .config import Config, Table, with_kinds
from .config_errors import Unshown, explain
from .stream.errors import ConfigError, SourceUnreadable
from .stream.serve.address import is_device
from .stream.serve.areas import CheckedPolygon
from .stream.serve.pairing import PairFrames, PairTolerance

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}$")]


def _distinct(tables: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [table.name for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the name {name!r} stands there twice")
    return tables


class Secret(Table):
    """A secret is never in the configuration itself: env names an environment variable, file a file that only
    its owner can read. One of the two."""

    env: str | None = None
    file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if not isinstance(given, dict | Secret):
            raise Unshown(
                'expected { env = "NAME" } or { file = "PATH" }: no secret stands in the file itself'
            )
        return given

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("expected env or file, one of them")
        return self

    def read(self, what: str) -> str:
        """The secret. what: it is for, in errors. Raises ConfigError."""
        if self.env is not None:
            value = os.environ.get(self.env)
            if not value:
                raise ConfigError(f"{what}: the environment variable {self.env} is not set")
            return value
        if self.file is None:
            raise ValueError("expected env or file")
        try:
            if self.file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"{what}: {self.file} can be read by others than its owner (chmod 600 it)")
            return self.file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{what}: {self.file} cannot be read ({error})") from error


class CameraTable(Table):
    """A camera. url: rtsp(s), http(s) (MJPEG, HLS, progressive), rtmp(s), a USB camera (/dev/v4l/by-id/… or
    /dev/videoN), a file, or a folder: each video that is put there and has not changed for settle_s is
    processed once, in full, and moved to done/ or failed/ in it (buffer is block then). detect_url: the
    camera's sub-stream, with the same credentials: faces are looked for there and cut out of url, from the
    frame of the same moment, pair_tolerance_ms away at most; pair_frames of url are held for that.
    device_size, device_fps, device_format: what a USB camera is asked for; None is its own choice.

    skip_damaged: after a lost packet frames are left out up to the next key frame; None = where transport
    is udp. hz: detections a second, None = detector.hz. buffer: what happens when frames come faster than
    they are looked at: latest (only the newest waits), drop_oldest, block (files: nothing is lost).
    connect_s, read_s: timeouts. stall_s: without a decodable frame, connect anew. frozen_s: the same for
    a picture that does not change at all; None never. backoff_first_s, backoff_most_s: waits between
    tries. realtime: a file plays at its own pace; loop: over and over. max_pixels: larger frames are
    refused. zones: faces whose middle lies in none of them are not processed; without zones all are.
    masks: painted grey, and no face in them is processed. Both are polygons in shares of the picture.
    """

    name: Name
    url: str
    detect_url: str | None = None
    pair_tolerance_ms: PairTolerance = 80
    pair_frames: PairFrames = 30
    username: str | None = None
    password: Secret | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    skip_damaged: bool | None = None
    verify_tls: bool = True
    hz: float | None = Field(None, ge=0, le=1000)
    buffer: Literal["latest", "drop_oldest", "block"] = "latest"
    buffer_frames: int = Field(8, ge=1, le=256)
    connect_s: float = Field(10, gt=0, le=600)
    read_s: float = Field(10, gt=0, le=600)
    stall_s: float = Field(10, gt=0, le=3600)
    frozen_s: float | None = Field(60, gt=0)
    backoff_first_s: float = Field(1, gt=0, le=3600)
    backoff_most_s: float = Field(60, gt=0, le=86400)
    realtime: bool = True
    loop: bool = False
    settle_s: float = Field(5, gt=0, le=3600)
    device_size: Annotated[str, Field(pattern=r"^[1-9]\d{1,4}x[1-9]\d{1,4}$")] | None = None
    device_fps: float | None = Field(None, gt=0, le=1000)
    device_format: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")] | None = None
    max_pixels: int = Field(8192 * 8192, ge=1)
    zones: tuple[CheckedPolygon, ...] = Field((), max_length=32)
    masks: tuple[CheckedPolygon, ...] = Field((), max_length=32)

    @model_validator(mode="after")
    def _device_only(self) -> CameraTable:
        wishes = (self.device_size, self.device_fps, self.device_format)
        usb = is_device(self.url) or self.url.startswith("v4l2:")
        if not usb and any(wish is not None for wish in wishes):
            raise ValueError(
                "device_size, device_fps and device_format are for url = /dev/videoN or /dev/v4l/by-id/…"
            )
        return self

    @model_validator(mode="after")
    def _live_pairs(self) -> CameraTable:
        if self.detect_url is not None and self.buffer == "block":
            raise ValueError(
                "with detect_url expected buffer latest or drop_oldest: live streams do not wait"
            )
        return self


class SinkTable(Table):
    """images: send the pictures along."""

    name: Name
    images: bool = True


class WebhookTable(SinkTable):
    """Posts CloudEvents. url, or url_secret where the URL itself is one. secret: signs each request."""

    kind: Literal["webhook"] = "webhook"
    url: str | None = None
    url_secret: Secret | None = None
    secret: Secret | None = None
    timeout_s: float = Field(10, gt=0, le=600)
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _one_url(self) -> WebhookTable:
        if (self.url is None) == (self.url_secret is None):
            raise ValueError("expected url or url_secret, one of them")
        return self


class MqttTable(SinkTable):
    """MQTT 5: PREFIX/CAMERA/KIND. port: None = 1883, or 8883 with tls."""

    kind: Literal["mqtt"] = "mqtt"
    host: str
    port: int | None = Field(None, ge=1, le=65535)
    prefix: str = "facesieve"
    client_id: str = "facesieve"
    username: str | None = None
    password: Secret | None = None
    tls: bool = False
    ca_file: Path | None = None
    timeout_s: float = Field(10, gt=0, le=600)


class KafkaTable(SinkTable):
    """Kafka. settings: librdkafka's own; secrets: the same, read from the environment or files."""

    kind: Literal["kafka"] = "kafka"
    topic: str = "facesieve"
    settings: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, Secret] = Field(default_factory=dict)
    timeout_s: float = Field(10, gt=0, le=600)


class FolderTable(SinkTable):
    """A JSON line an event, pictures beside. keep_days: whole days by UTC, today is one; None keeps all."""

    kind: Literal["folder"] = "folder"
    path: Path
    keep_days: int | None = Field(None, ge=1)


AnySink = Annotated[WebhookTable | MqttTable | KafkaTable | FolderTable, Field(discriminator="kind")]


class TokenTable(Table):
    """A token of the API. scope: read sees everything, faces too; admin also changes and deletes."""

    name: Name
    scope: Literal["read", "admin"] = "read"
    secret: Secret


class ServeTable(Table):
    """The service. state: folder of what must survive a restart. host, port: of its page and API; with
    --no-web nothing listens. token: who may use them; without any, only this machine. session_hours: a login
    of the page lasts so long. recent_shots: kept in memory for the page. camera_networks: where cameras that
    come over the API may be; none by default. camera_secrets: passwords that such cameras may name.
    detectors: instances that work at the same time, 0 = one a core. max_batch, max_wait_ms: faces of several
    cameras are scored together, so many at most, after waiting so long at most. chips: events carry the
    aligned faces too. blur_others: in the picture of a face all other faces are made unrecognisable.
    encryption_keys: events, pictures and embeddings are encrypted on disk with the first key, and read with
    any of them (`facesieve key` makes one); without any they lie open. spool_mb: of events that no sink took
    yet. stop_s: longest that a clean end takes.
    """

    state: Path = Path("facesieve-state")
    host: str = "127.0.0.1"
    port: int = Field(8340, ge=1, le=65535)
    token: tuple[TokenTable, ...] = ()
    session_hours: float = Field(12, gt=0, le=720)
    recent_shots: int = Field(200, ge=1, le=10_000)
    camera_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    camera_secrets: dict[Name, Secret] = Field(default_factory=dict)
    detectors: int = Field(0, ge=0, le=64)
    max_batch: int = Field(16, ge=1, le=1024)
    max_wait_ms: float = Field(10, ge=0, le=1000)
    chips: bool = False
    blur_others: bool = False
    encryption_keys: tuple[Secret, ...] = ()
    spool_mb: int = Field(1024, ge=1)
    stop_s: float = Field(10, gt=0, le=600)

    @field_validator("camera_networks", mode="before")
    @classmethod
    def _networks(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            raise ValueError('expected a list of networks such as ["10.1.0.0/16"]')
        for one in given:
            try:
                ip_network(one)
            except ValueError as error:
                raise ValueError(f"expected networks such as 10.1.0.0/16: {error}") from None
        return given

    @field_validator("token")
    @classmethod
    def _tokens(cls, tokens: tuple[TokenTable, ...]) -> tuple[TokenTable, ...]:
        return _distinct(tokens)


class ServeConfig(Config):
    """The whole configuration of the service. Early shots are on: selection.emit is realtime unless set."""

    serve: ServeTable = ServeTable()
    camera: tuple[CameraTable, ...] = ()
    sink: tuple[AnySink, ...] = ()

    @field_validator("camera", "sink")
    @classmethod
    def _names(cls, tables: tuple[Any, ...]) -> tuple[Any, ...]:
        return _distinct(tables)


def read_serve_config(path: Path) -> ServeConfig:
    """The configuration in a TOML file. Raises ConfigError naming the file, the key and what was expected."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise SourceUnreadable(f"{path}: cannot be read: {error.strerror}") from error
    return parse_serve_config(table, str(path))


def parse_serve_config(table: dict[str, Any], origin: str) -> ServeConfig:
    """The configuration a mapping describes; origin names it in errors."""
    selection = table.get("selection", {})
    if isinstance(selection, dict):
        table = {**table, "selection": {"emit": "realtime", **selection}}
    try:
        return ServeConfig.model_validate(with_kinds(table))
    except ValidationError as error:
        problems = "\n".join(f"{origin}: {explain(problem, ServeConfig)}" for problem in error.errors())
        raise ConfigError(problems) from error
