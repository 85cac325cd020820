"""What the service tells the world: six kinds of event, version 1 (`facesieve schema` prints the schema)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ..types import TrackKey

SCHEMA: Final = "facesieve.event/1"
Box = tuple[float, float, float, float]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Origin(_Record):
    """Where and when; with a track's number it names the track for ever, as no two runs share a boot.

    camera: "" in events of no camera. boot: random name of this run of the service. session: unbroken stretch
    of the camera's frames, from 1.
    """

    camera: str
    boot: str
    session: int = Field(ge=0)


class Moment(_Record):
    """One instant on all clocks, in seconds: the camera's own (PTS), ours mapped from it (Unix), and this
    machine's monotonic clock when the event was made."""

    pts_s: float
    wall_s: float | None
    monotonic_s: float


class ShotFacts(_Record):
    """A kept face. unfit: requirements of the profile that it misses, kept for want of a fit one. image,
    chip: names of the JPEG of the crop and of the aligned face among the event's images, None where it has
    none."""

    rank: int = Field(ge=1)
    pts_s: float
    wall_s: float | None
    score: float
    calibrated: float | None
    model: str
    enrol: bool
    unfit: tuple[str, ...] = ()
    box: Box
    eye_distance_px: float
    detection_score: float
    components: dict[str, float]
    reason: str
    image: str | None
    chip: str | None


class _Event(_Record):
    """id: the same whenever this event is sent again."""

    version: Literal["facesieve.event/1"] = Field(default=SCHEMA)
    id: str
    origin: Origin
    at: Moment


class TrackStarted(_Event):
    """A face came into view."""

    type: Literal["track_started"] = "track_started"
    track: int
    box: Box
    detection_score: float


class Shot(_Event):
    """The best face of a track so far; a higher revision replaces a lower one."""

    type: Literal["shot"] = "shot"
    track: int
    window: int
    revision: int = Field(ge=1)
    why: str
    shot: ShotFacts


class TrackEnded(_Event):
    """The final shots of a track, or of a window of it; exactly one with final = true comes for each track
    that started. end: lost, slipped, scene_cut, disconnected, shutdown, window, or crash: the service died
    while the track lived and, started again, tells of the best shot it had told of. frames_seen: None after
    a crash."""

    type: Literal["track_ended"] = "track_ended"
    track: int
    window: int
    final: bool
    end: str
    first_pts_s: float
    last_pts_s: float
    frames_seen: int | None
    rejected: dict[str, int]
    identity: int | None = None
    shots: tuple[ShotFacts, ...]


class TrackName(_Record):
    """A track, by its origin and number."""

    camera: str
    boot: str
    session: int
    track: int


class IdentityUpdated(_Event):
    """A person gained a track, identities became one, or a user has put it right who is who. merged_from:
    identities that are this one now. moved: tracks that were told of as somebody else's, and are this
    person's; of very many several events come."""

    type: Literal["identity_updated"] = "identity_updated"
    identity: int
    tracks: int = Field(ge=1)
    merged_from: tuple[int, ...] = ()
    moved: tuple[TrackName, ...] = Field(default=(), max_length=1000)


class CameraState(_Event):
    """A camera's state changed."""

    type: Literal["camera_state"] = "camera_state"
    state: str
    reason: str
    tries: int
    degraded: bool


class IdentityDeleted(_Event):
    """A person was deleted, and what was told of these tracks is to be forgotten: shots, pictures, and whose
    they are. merged_from: identities that were this one. Of a person with very many tracks several come."""

    type: Literal["identity_deleted"] = "identity_deleted"
    identity: int
    merged_from: tuple[int, ...] = ()
    tracks: tuple[TrackName, ...] = Field(max_length=1000)


Event = TrackStarted | Shot | TrackEnded | IdentityUpdated | IdentityDeleted | CameraState
_ANY: TypeAdapter[Event] = TypeAdapter(
    Annotated[Event, Field(discriminator="type")],
    # Not the values: ids are all different, and pydantic would keep 16,384 of them.
    config=ConfigDict(cache_strings="keys"),
)


@dataclass(frozen=True, slots=True)
class Message:
    """An event and its pictures. images: name → JPEG."""

    event: Event
    images: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether it must not be lost: the end of a track, or a deletion."""
        return isinstance(self.event, TrackEnded | IdentityDeleted)


def parse_event(body: str | bytes) -> Event:
    """An event out of its JSON. Raises pydantic.ValidationError."""
    return _ANY.validate_json(body)


def event_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of every event."""
    schema = _ANY.json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **schema}


def key_of(name: TrackName) -> TrackKey:
    """The same as a tuple."""
    return name.boot, name.camera, name.session, name.track


def track_key(event: TrackStarted | Shot | TrackEnded) -> TrackKey:
    """Names the event's track for ever."""
    return event.origin.boot, event.origin.camera, event.origin.session, event.track
