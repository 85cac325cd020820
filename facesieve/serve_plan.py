"""From the configuration of a camera to what the service needs to know of it."""

from __future__ import annotations

from .serve_config import CameraTable, ServeConfig
from .stream.errors import ConfigError
from .stream.serve.address import camera_address
from .stream.serve.areas import Areas
from .stream.serve.live import LiveOptions
from .stream.serve.pairing import PairingSettings
from .stream.serve.plan import CameraPlan
from .stream.serve.reader import CameraSettings


def camera_plan(camera: CameraTable, config: ServeConfig) -> CameraPlan:
    """What the service needs to know of a camera. Raises ConfigError, without its secrets."""
    where = f"camera {camera.name!r}"
    password = None if camera.password is None else camera.password.read(f"{where}: password")
    try:
        address = camera_address(camera.url, username=camera.username, password=password)
        sub = None
        if camera.detect_url is not None:
            sub = camera_address(camera.detect_url, username=camera.username, password=password)
            if "folder" in (address.transport, sub.transport):
                raise ConfigError("expected two streams with detect_url, got a folder")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    options = LiveOptions(
        connect_s=camera.connect_s,
        read_s=camera.read_s,
        rtsp_transport=camera.transport,
        skip_damaged=camera.skip_damaged,
        max_pixels=camera.max_pixels,
        verify_tls=camera.verify_tls,
        realtime=camera.realtime,
        loop=camera.loop,
        device_size=camera.device_size,
        device_fps=camera.device_fps,
        device_format=camera.device_format,
    )
    settings = CameraSettings(
        options=options,
        hz=config.detector.hz if camera.hz is None else camera.hz,
        stall_s=camera.stall_s,
        frozen_s=camera.frozen_s,
        backoff_first_s=camera.backoff_first_s,
        backoff_most_s=max(camera.backoff_first_s, camera.backoff_most_s),
        settle_s=camera.settle_s,
    )
    areas = Areas(camera.zones, camera.masks)
    return CameraPlan(
        camera.name,
        address,
        settings,
        "block" if address.transport == "folder" else camera.buffer,
        camera.buffer_frames,
        areas=areas,
        sub=sub,
        pairing=PairingSettings(camera.pair_tolerance_ms / 1000, camera.pair_frames),
    )
