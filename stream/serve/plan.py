"""Which camera is served, and by what it is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from .address import Address
from .areas import Areas
from .buffer import FrameBuffer, Policy
from .camera import Camera
from .drop import DropFolder
from .paired import PairedCamera
from .pairing import PairingSettings
from .reader import CameraSettings, Reader, ReaderParts


@dataclass(frozen=True, slots=True)
class CameraPlan:
    """A camera to be served. policy, size: of the buffer between its reader and the pipeline. areas: where in
    its picture faces are processed. sub: its sub-stream, in which faces are looked for while crops come
    from address."""

    name: str
    address: Address
    settings: CameraSettings = field(default_factory=CameraSettings)
    policy: Policy = "latest"
    size: int = 8
    sub: Address | None = None
    pairing: PairingSettings = field(default_factory=PairingSettings)
    areas: Areas = field(default_factory=Areas)

    def buffer(self) -> FrameBuffer:
        """A new one between reader and pipeline."""
        return FrameBuffer(self.policy, self.size)


def new_reader(plan: CameraPlan, parts: ReaderParts) -> Reader:
    """What reads the camera."""
    if plan.sub is not None:
        return PairedCamera(plan.address, plan.sub, plan.pairing, parts)
    make = DropFolder if plan.address.transport == "folder" else Camera
    return make(plan.address, parts)
