"""Events: one id a fact, nothing lost on the way through JSON, a schema that other tools can hold us to."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from facesieve.stream.serve.events import Moment, event_schema, parse_event
from facesieve.stream.serve.forget import deletions
from facesieve.stream.serve.narrator import Narrator, camera_state
from facesieve.stream.serve.reader import CameraStatus, State
from facesieve.stream.serve.receivers.envelope import cloud_event
from facesieve.stream.types import (
    BestShot,
    Crop,
    Quality,
    Rejection,
    ShotRevision,
    TrackEnd,
    TrackResult,
    TrackSummary,
)

AT = Moment(pts_s=3.5, wall_s=1_700_000_003.5, monotonic_s=99.0)


def shot(rank: int = 1) -> BestShot:
    rng = np.random.default_rng(rank)
    crop = Crop(
        track=7,
        frame_index=30,
        pts_s=3.0,
        wall_s=1_700_000_003.0,
        chip=rng.integers(0, 256, (112, 112, 3), np.uint8),
        portrait=np.full((40, 30, 3), (200, 30, 30), np.uint8),
        portrait_origin=(5, 6),
        box=np.array([10, 20, 40, 60], np.float32),
        landmarks=np.zeros((5, 2), np.float32),
        detection_score=0.9,
        eye_distance_px=14.0,
        truncated=0.0,
    )
    quality = Quality(0.5, "student", 0.8, embedding=np.ones(4, np.float32), components={"sharpness": 71.238})
    return BestShot("gate", crop, quality, rank, "best of 4 scored", enrol=True)


@pytest.fixture
def ended() -> Callable[[TrackEnd], TrackResult]:
    def make(end: TrackEnd) -> TrackResult:
        summary = TrackSummary(
            source="gate",
            track=7,
            identity=None,
            first_pts_s=1.0,
            last_pts_s=3.5,
            frames_seen=20,
            frames_scored=12,
            kept=2,
            rejected={Rejection.SMALL: 8},
            end=end,
        )
        return TrackResult(summary, (shot(1), shot(2)))

    return make


def test_the_end_of_a_track_survives_json_with_its_pictures_beside_it(ended) -> None:
    message = Narrator("gate", "b00t", 2, chips=True).ended(ended(TrackEnd.LOST), AT)
    again = parse_event(message.event.model_dump_json())
    assert again == message.event
    assert again.type == "track_ended" and again.final  # noqa: PT018
    assert [facts.image for facts in again.shots] == ["1.jpg", "2.jpg"]
    assert set(message.images) == {"1.jpg", "2.jpg", "1_chip.jpg", "2_chip.jpg"}
    picture = cv2.imdecode(np.frombuffer(message.images["1.jpg"], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (40, 30, 3)
    assert picture[20, 15, 2] > 150 > picture[20, 15, 0]  # red stays red


def test_no_embedding_leaves_with_an_event(ended) -> None:
    text = Narrator("gate", "b00t", 2).ended(ended(TrackEnd.LOST), AT).event.model_dump_json()
    assert "embedding" not in text


def test_ids_name_facts(ended) -> None:
    narrator = Narrator("gate", "b00t", 2)
    revision = ShotRevision("gate", 7, 0, 1, 3.5, shot(), "improved")
    ids = {
        narrator.started(7, [1, 2, 3, 4], 0.9, AT).event.id,
        narrator.revised(revision, AT).event.id,
        narrator.ended(ended(TrackEnd.LOST), AT).event.id,
        narrator.ended(ended(TrackEnd.WINDOW), AT).event.id,
        Narrator("gate", "b00t", 3).ended(ended(TrackEnd.LOST), AT).event.id,
        Narrator("gate", "other", 2).ended(ended(TrackEnd.LOST), AT).event.id,
        Narrator("yard", "b00t", 2).ended(ended(TrackEnd.LOST), AT).event.id,
    }
    assert len(ids) == 7
    assert narrator.ended(ended(TrackEnd.LOST), AT).event.id in ids


@pytest.mark.parametrize(
    ("end", "said", "final"),
    [
        (TrackEnd.END_OF_SOURCE, "disconnected", True),
        (TrackEnd.WINDOW, "window", False),
        (TrackEnd.SHUTDOWN, "shutdown", True),
    ],
)
def test_how_a_track_ended(ended, end: TrackEnd, said: str, final: bool) -> None:
    event = Narrator("gate", "b00t", 1).ended(ended(end), AT).event
    assert (event.end, event.final) == (said, final)


def test_the_schema_names_every_kind_and_refuses_strangers() -> None:
    schema = event_schema()
    kinds = set(schema["discriminator"]["mapping"])
    assert kinds == {
        "track_started", "shot", "track_ended", "identity_updated", "identity_deleted", "camera_state",
    }  # fmt: skip
    assert schema["$schema"].endswith("2020-12/schema")
    status = CameraStatus("gate", State.LIVE, 1_700_000_000.0)
    told = camera_state(status, "b00t", 1, degraded=False, monotonic_s=1.0)
    body = json.loads(told.event.model_dump_json())
    assert parse_event(json.dumps(body)).type == "camera_state"
    with pytest.raises(ValueError, match="extra"):
        parse_event(json.dumps(body | {"surprise": 1}))


def test_reading_events_keeps_none_of_their_ids() -> None:
    status = CameraStatus("gate", State.LIVE, 1_700_000_000.0)
    body = camera_state(status, "b00t", 1, degraded=False, monotonic_s=1.0).event.model_dump()

    def read(first: int) -> None:
        for number in range(first, first + 500):
            parse_event(json.dumps(body | {"id": f"boot-{number:020}"}))

    read(0)
    before = sys.getallocatedblocks()
    read(500)
    assert sys.getallocatedblocks() - before < 100


def test_a_deletion_names_all_tracks_in_events_that_a_broker_takes() -> None:
    tracks = {("b1", "gate", session, 1) for session in range(1, 2502)}
    told = list(deletions(7, {9, 8}, tracks, "b2", AT))
    assert [len(message.event.tracks) for message in told] == [1000, 1000, 501]
    assert {(t.boot, t.camera, t.session, t.track) for m in told for t in m.event.tracks} == tracks
    assert len({message.event.id for message in told}) == 3
    for message in told:
        assert message.is_final
        assert (message.event.identity, message.event.merged_from) == (7, (8, 9))
        assert parse_event(message.event.model_dump_json()) == message.event
        assert len(cloud_event(message)) < 1 << 20
    assert len(list(deletions(7, (), (), "b2", AT))) == 1, "who was seen in films only is told of too"
