"""What the API takes and gives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ..areas import CheckedPolygon
from ..pairing import PairFrames, PairTolerance

CameraName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}$")]
MOST_ID = 2**53 - 1
IdentityId = Annotated[int, Field(ge=1, le=MOST_ID)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


Url = Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^[Rr][Tt][SsMm][Pp][Ss]?://\S+$")]
Login = Annotated[str, Field(max_length=256)]
Hz = Annotated[float, Field(ge=0, le=1000)]
Point = Annotated[tuple[float, ...], Field(min_length=2, max_length=2)]
Areas = Annotated[tuple[CheckedPolygon, ...], Field(max_length=32)]


class _CameraParts(_In):
    username: Login | None = None
    password: SecretStr | None = None
    secret: CameraName | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    hz: Hz | None = None
    detect_url: Url | None = None
    pair_tolerance_ms: PairTolerance = 80
    pair_frames: PairFrames = 30
    zones: Areas = ()
    masks: Areas = ()


class NewCamera(_CameraParts):
    """A camera to be served. Its host must lie in serve.camera_networks. secret: the name of one of
    serve.camera_secrets, as its password. hz: detections a second, None = the configuration's. detect_url:
    the camera's sub-stream, with the same login and under the same rules as url: faces are looked for there
    and cut out of url, from the frame of the same moment, pair_tolerance_ms away at most; pair_frames of url
    are held for that. zones: faces whose middle lies in none of them are not processed; without zones all
    are. masks: painted grey, and no face in them is processed. Both are polygons in shares of the picture.
    keep: also after a restart; a password is written down encrypted only."""

    name: CameraName
    url: Url
    keep: bool = True


class CameraChange(_CameraParts):
    """What of a camera is to be otherwise; what is left out stays. With another url the old login is
    forgotten: send it again. With another detect_url the password or secret must come again, as it is given
    to it, too; null takes the sub-stream away. See NewCamera."""

    url: Url = ""


class Camera(_Out):
    """A camera and how it fares. since_s, last_frame_s: Unix time. hz: frames a second that are looked at,
    0 = all; degraded: fewer than asked for. damaged: frames left out as a packet before them was lost.
    unmatched: frames of a sub-stream that the main stream lacks.
    latency_ms: from decoded to done, median of the newest frames. quality: of the best shots, the newest
    counting most. soft: the picture has lost half of its usual detail, as when it goes out of focus.
    over_api: it came over the API; the others are in the configuration. sub_stream: faces are looked for in
    one. zones, masks: see NewCamera."""

    name: str
    state: str
    since_s: float
    reason: str
    tries: int
    sessions: int
    frames: int
    processed: int
    dropped: int
    undecodable: int
    damaged: int
    unmatched: int
    last_frame_s: float | None
    width: int | None
    height: int | None
    codec: str | None
    hz: float
    degraded: bool
    faces: int
    tracks_started: int
    tracks_ended: int
    shots: int
    errors: int
    latency_ms: float | None
    quality: float | None
    soft: bool
    over_api: bool
    sub_stream: bool
    zones: tuple[tuple[Point, ...], ...]
    masks: tuple[tuple[Point, ...], ...]


class Trend(_Out):
    """Five minutes of a camera from start_s (Unix time): mean quality of its best shots, tracks, and detail
    of its picture."""

    start_s: float
    quality: float | None
    tracks: int
    sharpness: float | None


class RecentShot(_Out):
    """A shot that was told of lately. key: names the track and its window for ever, as BOOT/CAMERA/SESSION/
    TRACK/WINDOW. final: its track has ended. image: where its picture is."""

    seq: int
    key: str
    camera: str
    track: int
    final: bool
    identity: int | None
    wall_s: float | None
    score: float
    calibrated: float | None
    image: str


class Reloaded(_Out):
    """What became of the cameras of the configuration, by name; those of the API stay. removed_before: over
    the API, which holds until they are resumed. restart_needed: settings that have changed and count only
    after a restart."""

    unchanged: list[str]
    changed: list[str]
    added: list[str]
    removed: list[str]
    removed_before: list[str]
    restart_needed: list[str]


class PersonShot(_Out):
    """A kept shot of a person. image: where its picture is."""

    score: float
    calibrated: float | None
    pts_s: float
    image: str


class PersonTrack(_Out):
    """When and where a person was seen. recorded_s: Unix time; first_pts_s, last_pts_s: of the source."""

    row: int
    source: str
    track: int
    first_pts_s: float
    last_pts_s: float
    recorded_s: float
    quality: float
    shots: list[PersonShot]


class Person(_Out):
    """A person in short; image: its best picture, None if none is left."""

    identity: int
    tracks: int
    sources: list[str]
    first_recorded_s: float
    last_recorded_s: float
    quality: float
    image: str | None


class PersonDetail(Person):
    """A person, its tracks by time, and the identities that became it."""

    merged_from: list[int]
    appearances: list[PersonTrack]


class PeoplePage(_Out):
    """A part of all people, last seen first; total: of all."""

    total: int
    people: list[Person]


class Match(_Out):
    """similarity: cosine, in [−1, 1], of the picture's face and the person's mean."""

    person: Person
    similarity: float


class Matches(_Out):
    """Nearest first. face: whether the picture shows one."""

    face: bool
    matches: list[Match]


class Erased(_Out):
    """What was deleted. events: in memory; waiting: in the spool, for sinks that had not taken them."""

    identity: int
    tracks: int
    pictures: int
    events: int
    waiting: int


class Credentials(_In):
    """token: of the configuration."""

    token: Annotated[SecretStr, Field(min_length=1, max_length=512)]


class Me(_Out):
    """Who is asking."""

    name: str
    scope: Literal["read", "admin"]
    by: Literal["token", "session", "local"]
    people: bool


class Health(_Out):
    """ok, or why not."""

    status: str
