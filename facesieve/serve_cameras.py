"""Cameras that came over the API, and what was done there to those of the configuration: kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from .config import Table
from .serve_config import CameraTable, Name, ServeConfig
from .serve_plan import camera_plan
from .stream.errors import ConfigError, SourceUnreadable
from .stream.sealing import SUFFIX, Sealer, read_sealed
from .stream.serve.address import Address, camera_address, resolved, tells_a_secret, without_login
from .stream.serve.areas import CheckedPolygon
from .stream.serve.pairing import PairFrames, PairTolerance
from .stream.serve.plan import CameraPlan
from .stream.sinks.files import naming, write_whole

_NAME = "cameras.json"


class ApiCamera(Table):
    """A camera that came over the API; see CameraTable. url, detect_url: without credentials. password: in
    the clear, so written down only where the file is encrypted. secret: the name of one of
    serve.camera_secrets instead. place, detect_place: IP addresses that their hosts had."""

    name: Name
    url: str
    username: str | None = None
    password: str | None = Field(None, repr=False)
    secret: str | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    hz: float | None = None
    detect_url: str | None = None
    pair_tolerance_ms: PairTolerance = 80
    pair_frames: PairFrames = 30
    zones: tuple[CheckedPolygon, ...] = ()
    masks: tuple[CheckedPolygon, ...] = ()
    place: str | None = None
    detect_place: str | None = None


class Kept(Table):
    """What the API did to cameras. removed: of the configuration, served no longer; paused: of all."""

    version: Literal[1] = 1
    added: tuple[ApiCamera, ...] = ()
    removed: frozenset[str] = frozenset()
    paused: frozenset[str] = frozenset()

    def camera(self, name: str) -> ApiCamera | None:
        """The added camera of that name."""
        return next((camera for camera in self.added if camera.name == name), None)


class CameraFile:
    """`cameras.json` in a folder, or `cameras.json.enc` where the sealer encrypts; its owner's only. Whole at
    all times.

    Raises ConfigError for a file that is not ours, or whose key is missing; SourceUnreadable.
    """

    def __init__(self, folder: Path, sealer: Sealer) -> None:
        self._clear, self._sealed = folder / _NAME, folder / f"{_NAME}{SUFFIX}"
        self._sealer = sealer
        self.kept = self._read()
        if self._path.exists() or self._clear.exists():  # an older key, or none until now
            self.write(self.kept)

    @property
    def encrypts(self) -> bool:
        """Whether a password may be written down."""
        return bool(self._sealer.suffix)

    def write(self, kept: Kept) -> None:
        """Keep it. Raises OutputError, and then what was kept before still is."""
        data = kept.model_dump_json(indent=1, exclude_defaults=True).encode()
        write_whole(self._path, self._sealer.seal(data) if self.encrypts else data, durable=True)
        self.kept = kept
        if self.encrypts:
            with naming(self._clear):
                self._clear.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self._sealed if self.encrypts else self._clear

    def _read(self) -> Kept:
        for path in (self._sealed, self._clear):
            try:
                return Kept.model_validate_json(read_sealed(path, self._sealer))
            except FileNotFoundError:
                continue
            except ValidationError as error:
                raise ConfigError(
                    f"{path}: expected the cameras that came over the API, as facesieve wrote them: move it "
                    "away to begin without them"
                ) from error
            except OSError as error:
                raise SourceUnreadable(f"{path}: cannot be read: {error.strerror}") from error
        return Kept()


def api_camera(table: ApiCamera) -> ApiCamera:
    """The same with the credentials of its url beside it; those beside it win. Raises ConfigError, also for a
    detect_url with any, as both streams have the same."""
    url, username, password = without_login(table.url)
    if table.password is not None and table.secret is not None:
        raise ConfigError("expected password or secret, one of them")
    if table.detect_url is not None and without_login(table.detect_url)[1:] != (None, None):
        raise ConfigError("expected detect_url without a login: both streams get that of url")
    login = {
        "url": url,
        "username": table.username if table.username is not None else username,
        "password": table.password if table.password is not None or table.secret is not None else password,
    }
    return table.model_copy(update=login)


def check_keepable(camera: ApiCamera) -> None:
    """Raises ConfigError for one whose secrets must not be written down in the clear."""
    what = None
    if camera.password is not None:
        what = "its password"
    elif tells_a_secret(camera.url):
        what = "its url, which seems to hold a secret,"
    elif camera.detect_url is not None and tells_a_secret(camera.detect_url):
        what = "its detect_url, which seems to hold a secret,"
    if what is not None:
        raise ConfigError(
            f"{what} is written down encrypted only: set serve.encryption_keys, or name a password of "
            "serve.camera_secrets as `secret`, or send `keep: false` for a camera until the service ends"
        )


def api_plan(camera: ApiCamera, config: ServeConfig) -> tuple[CameraPlan, ApiCamera]:
    """What is served, and the camera with the places where its hosts are now.

    Only of the allowed networks, and by RTSP or RTMP, as playlists and redirects of HTTP lead elsewhere. Its
    name is resolved once, so it cannot come to point elsewhere. Raises ConfigError.
    """
    password = camera.password
    if camera.secret is not None:
        if camera.secret not in config.serve.camera_secrets:
            raise ConfigError(f"no secret is named {camera.secret!r} in serve.camera_secrets")
        password = config.serve.camera_secrets[camera.secret].read(f"serve.camera_secrets.{camera.secret}")

    def allowed(url: str, known: str | None) -> tuple[Address, str]:
        address = camera_address(url, username=camera.username, password=password)
        if address.transport not in ("rtsp", "rtmp"):
            raise ConfigError(f"{address.shown}: expected rtsp, rtsps, rtmp or rtmps over the API")
        return resolved(address, config.serve.camera_networks, known)

    address, place = allowed(camera.url, camera.place)
    sub, detect_place = None, None
    if camera.detect_url is not None:
        sub, detect_place = allowed(camera.detect_url, camera.detect_place)
    table = CameraTable(
        name=camera.name,
        url=address.shown,
        detect_url=None if sub is None else sub.shown,
        pair_tolerance_ms=camera.pair_tolerance_ms,
        pair_frames=camera.pair_frames,
        transport=camera.transport,
        hz=camera.hz,
        zones=camera.zones,
        masks=camera.masks,
    )
    plan = replace(camera_plan(table, config), address=address, sub=sub)
    return plan, camera.model_copy(update={"place": place, "detect_place": detect_place})
