"""Which cameras are served: those of the configuration, read anew when asked, and those of the API."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from .serve_cameras import ApiCamera, CameraFile, Kept, api_camera, api_plan, check_keepable
from .serve_config import ServeConfig, read_serve_config
from .serve_plan import camera_plan
from .stream.errors import ConfigError
from .stream.serve.plan import CameraPlan
from .stream.serve.service import Service
from .stream.serve.web.models import CameraChange, NewCamera, Reloaded

_LOG = logging.getLogger("facesieve.serve")
_CAMERAS_MOST = 64


class CameraControl:
    """See stream.serve.web.parts.Control. path: of the configuration that is served now; None cannot be read
    again. file: keeps what comes over the API.

    The configuration comes first: a camera of the API whose name appears there gives way to it and is
    forgotten. What the API removed or paused of it stays so over reloads and restarts, until it is resumed.
    """

    def __init__(self, service: Service, config: ServeConfig, path: Path | None, file: CameraFile) -> None:
        self._service, self._config, self._path, self._file = service, config, path, file
        self._known: dict[str, CameraPlan] = {}
        self._passing: dict[str, ApiCamera] = {}  # of the API, until the service ends
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Serve all cameras. One of the API that cannot be served now is logged, and tried again with the
        next reload. Raises ConfigError for one of the configuration."""
        with self._lock:
            plans = {camera.name: camera_plan(camera, self._config) for camera in self._config.camera}
            self._know(plans)
            for name, plan in self._known.items():
                if name not in self._file.kept.removed:
                    self._serve(plan)
            self._serve_added()

    def is_added(self, name: str) -> bool:
        """Whether a camera came over the API."""
        return name in self._passing or self._file.kept.camera(name) is not None

    def is_known(self, name: str) -> bool:
        """Whether there is a camera of that name, served or not."""
        return name in self._known or self.is_added(name)

    def add(self, camera: NewCamera) -> None:
        """Serve a camera that came over the API, see api_plan; with keep also after a restart."""
        with self._lock:
            if len(self._service.cameras()) >= _CAMERAS_MOST:
                raise ConfigError(f"expected at most {_CAMERAS_MOST} cameras while some come over the API")
            if self.is_known(camera.name):
                raise ConfigError(f"there is a camera named {camera.name!r}")
            password = None if camera.password is None else camera.password.get_secret_value()
            facts = camera.model_dump(exclude={"keep", "password"}) | {"password": password}
            self._put(api_camera(ApiCamera.model_validate(facts)), keep=camera.keep)

    def change(self, name: str, change: CameraChange) -> None:
        """Serve a camera that came over the API as it says from now on; what it leaves out stays. Its tracks
        end."""
        with self._lock:
            before = self._passing.get(name) or self._file.kept.camera(name)
            if before is None:
                raise ConfigError(f"{name!r} is of the configuration: change it there, and reload")
            facts = change.model_dump(exclude_unset=True, exclude={"password"})
            if "password" in change.model_fields_set:
                facts["password"] = None if change.password is None else change.password.get_secret_value()
            changed = api_camera(ApiCamera.model_validate(_changed(before, facts)))
            self._put(changed, keep=name not in self._passing)

    def remove(self, name: str) -> None:
        """Serve it no longer; one of the configuration until it is resumed."""
        with self._lock:
            if name not in self._service.cameras():
                raise KeyError(name)
            kept = self._file.kept
            if self._passing.pop(name, None) is None:
                self._keep(
                    added=tuple(camera for camera in kept.added if camera.name != name),
                    removed=kept.removed | ({name} & self._known.keys()),
                    paused=kept.paused - {name},
                )
            self._service.remove(name)

    def pause(self, name: str) -> None:
        """Hang up, also after a restart, until it is resumed."""
        with self._lock:
            if name not in self._service.cameras():
                raise KeyError(name)
            if name not in self._passing:
                self._keep(paused=self._file.kept.paused | {name})
            self._service.pause(name)

    def resume(self, name: str) -> None:
        """Serve again what was paused, or removed of the configuration."""
        with self._lock:
            kept = self._file.kept
            removed = name in kept.removed and name in self._known
            if not removed and name not in self._service.cameras():
                raise KeyError(name)
            self._keep(removed=kept.removed - {name}, paused=kept.paused - {name})
            if removed:
                self._serve(self._known[name])
            else:
                self._service.resume(name)

    def reload(self) -> Reloaded:
        """Read the configuration again. Raises ConfigError, and then everything is as it was."""
        with self._lock:
            if self._path is None:
                raise ConfigError("there is no file to read the configuration from")
            config = read_serve_config(self._path)
            plans = {camera.name: camera_plan(camera, config) for camera in config.camera}
            served, before = self._service.cameras(), self._known
            wanted = {name: plan for name, plan in plans.items() if name not in self._file.kept.removed}
            removed = sorted((before.keys() - plans.keys()) & served.keys())
            changed = sorted(n for n in wanted if n in served and before.get(n) != wanted[n])
            added = sorted(wanted.keys() - served.keys())
            restart = _restart_needed(self._config, config)
            self._know(plans)
            self._config = self._config.model_copy(update={"camera": config.camera})
            for name in removed + changed:
                self._service.remove(name)
            for name in added + changed:
                self._serve(wanted[name])
            self._serve_added()
            return Reloaded(
                unchanged=sorted(wanted.keys() - {*added, *changed}),
                changed=changed,
                added=added,
                removed=removed,
                removed_before=sorted(plans.keys() - wanted.keys()),
                restart_needed=restart,
            )

    def _put(self, camera: ApiCamera, *, keep: bool) -> None:
        """Serve a camera of the API in place of the one that had its name."""
        plan, camera = api_plan(camera, self._config)
        if keep and not self._file.encrypts:
            check_keepable(camera)
        if keep:
            others = (other for other in self._file.kept.added if other.name != camera.name)
            self._keep(added=(*others, camera))
        else:
            self._passing[camera.name] = camera
        if camera.name in self._service.cameras():
            self._service.remove(camera.name)
        self._serve(plan)

    def _serve(self, plan: CameraPlan) -> None:
        self._service.add(plan, paused=plan.name in self._file.kept.paused)

    def _serve_added(self) -> None:
        """Those cameras of the API that are not served yet."""
        served = self._service.cameras()
        for camera in self._file.kept.added:
            if camera.name in served:
                continue
            try:
                plan, _ = api_plan(camera, self._config)
                self._serve(plan)
            except ConfigError as error:
                _LOG.error("camera %s, which came over the API, is not served: %s", camera.name, error)

    def _know(self, plans: dict[str, CameraPlan]) -> None:
        """These are of the configuration now: forget what gives way to them, and what was done to those that
        are gone."""
        kept = self._file.kept
        added = tuple(camera for camera in kept.added if camera.name not in plans)
        for name in {camera.name for camera in kept.added} & plans.keys():
            _LOG.warning("camera %s, which came over the API, gives way to the configuration's", name)
        names = plans.keys() | {camera.name for camera in added}
        self._keep(added=added, removed=kept.removed & plans.keys(), paused=kept.paused & names)
        self._passing = {name: camera for name, camera in self._passing.items() if name not in plans}
        self._known = plans

    def _keep(
        self,
        *,
        added: tuple[ApiCamera, ...] | None = None,
        removed: frozenset[str] | None = None,
        paused: frozenset[str] | None = None,
    ) -> None:
        """Write down what is given; the rest stays. Raises OutputError."""
        was = self._file.kept
        kept = Kept(
            added=was.added if added is None else added,
            removed=was.removed if removed is None else removed,
            paused=was.paused if paused is None else paused,
        )
        if kept != was:
            self._file.write(kept)


def _changed(before: ApiCamera, facts: dict[str, Any]) -> dict[str, Any]:
    """The camera with these facts; a new host is not given the old login. Raises ConfigError for another
    sub-stream without the password that it needs."""
    whole = before.model_dump()
    if facts.keys() & {"url", "password", "secret"}:
        whole |= {"password": None, "secret": None}
    elif facts.get("detect_url") not in (None, before.detect_url) and (before.password or before.secret):
        raise ConfigError("with another detect_url send the password or the secret again: it is given to it")
    if "url" in facts:
        whole |= {"username": None, "place": None}
    if "detect_url" in facts:
        whole["detect_place"] = None
    return whole | facts


def _restart_needed(before: ServeConfig, after: ServeConfig) -> list[str]:
    """Tables besides the cameras that have changed."""
    names = [name for name in type(after).model_fields if name != "camera"]
    return sorted(name for name in names if getattr(before, name) != getattr(after, name))
