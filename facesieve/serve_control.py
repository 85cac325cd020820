"""Which cameras are served: those of the configuration, read anew when asked, and those of the API."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from .serve import camera_plan
from .serve_config import CameraTable, ServeConfig, read_serve_config
from .stream.errors import ConfigError
from .stream.serve.address import camera_address, resolved
from .stream.serve.service import Service
from .stream.serve.web.models import NewCamera, Reloaded

_CAMERAS_MOST = 64


class CameraControl:
    """See stream.serve.web.parts.Control. path: of the configuration that is served now."""

    def __init__(self, service: Service, config: ServeConfig, path: Path) -> None:
        self._service, self._config, self._path = service, config, path
        self._known = {camera.name: _facts(camera, config) for camera in config.camera}
        self._lock = threading.Lock()

    def add(self, camera: NewCamera) -> None:
        """Serve a camera that came over the API: only of the allowed networks, by RTSP or RTMP, as playlists
        and redirects of HTTP lead elsewhere. Its name is resolved once, so it cannot come to point elsewhere.
        """
        with self._lock:
            if len(self._service.cameras()) >= _CAMERAS_MOST:
                raise ConfigError(f"expected at most {_CAMERAS_MOST} cameras while some come over the API")
            password = None if camera.password is None else camera.password.get_secret_value()
            address = camera_address(camera.url, username=camera.username, password=password)
            if address.transport not in ("rtsp", "rtmp"):
                raise ConfigError(f"{address.shown}: expected rtsp, rtsps, rtmp or rtmps over the API")
            address = resolved(address, self._config.serve.camera_networks)
            table = CameraTable(name=camera.name, url=address.shown, transport=camera.transport, hz=camera.hz)
            self._service.add(replace(camera_plan(table, self._config), address=address))

    def remove(self, camera: str) -> None:
        """Serve it no longer, until the configuration is read again."""
        with self._lock:
            self._service.remove(camera)
            self._known.pop(camera, None)

    def reload(self) -> Reloaded:
        """Read the configuration again. Raises ConfigError, and then everything is as it was."""
        with self._lock:
            config = read_serve_config(self._path)
            wanted = {camera.name: camera_plan(camera, config) for camera in config.camera}
            known = {camera.name: _facts(camera, config) for camera in config.camera}
            served = self._service.cameras()
            removed = sorted((self._known.keys() - wanted.keys()) & served.keys())
            changed = sorted(n for n in wanted if n in served and self._known.get(n) != known[n])
            added = sorted(wanted.keys() - served.keys())
            for name in removed + changed:
                self._service.remove(name)
            for name in added + changed:
                self._service.add(wanted[name])
            restart = _restart_needed(self._config, config)
            self._known = known
            self._config = self._config.model_copy(update={"camera": config.camera})
            return Reloaded(
                unchanged=sorted(wanted.keys() - {*added, *changed}),
                changed=changed,
                added=added,
                removed=removed,
                restart_needed=restart,
            )


def _facts(camera: CameraTable, config: ServeConfig) -> tuple[object, ...]:
    """All by which a camera counts as unchanged: its table, and what its secrets and defaults are now."""
    plan = camera_plan(camera, config)
    return camera, plan.address, plan.settings


def _restart_needed(before: ServeConfig, after: ServeConfig) -> list[str]:
    """Tables besides the cameras that have changed."""
    names = [name for name in type(after).model_fields if name != "camera"]
    return sorted(name for name in names if getattr(before, name) != getattr(after, name))
