"""The feed and the trends, without a server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from facesieve.stream.identity.rows import Edit
from facesieve.stream.serve.events import Message, Moment
from facesieve.stream.serve.forget import Forgotten, told_of
from facesieve.stream.serve.narrator import Narrator, camera_state
from facesieve.stream.serve.reader import CameraStatus, State
from facesieve.stream.serve.web.live import LiveFeed
from facesieve.stream.serve.web.trends import BIN_S, Trends, sharpness
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import (
    BestShot,
    Crop,
    Quality,
    ShotRevision,
    TrackEnd,
    TrackResult,
    TrackSummary,
    Why,
)

AT = Moment(pts_s=1.0, wall_s=2.0, monotonic_s=3.0)


def state(number: int) -> Message:
    return camera_state(CameraStatus("gate", State.LIVE, 0.0), "b", number, degraded=False, monotonic_s=0.0)


def shot(track: int, revision: int = 1, camera: str = "gate") -> Message:
    points = np.array([[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]], np.float32)
    crop = Crop.of_chip(np.full((112, 112, 3), 90, np.uint8), points)
    best = BestShot("gate", crop, Quality(0.5, "m"), 1, "best")
    told = ShotRevision("gate", track, 0, revision, 1.0, best, Why.IMPROVED)
    return Narrator(camera, "b", 1, chips=True).revised(told, AT)


def ended(track: int, identity: int) -> Message:
    points = np.array([[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]], np.float32)
    rgb = np.full((112, 112, 3), 90, np.uint8)
    crop = replace(Crop.of_chip(rgb, points), track=track, portrait=rgb)
    best = BestShot("gate", crop, Quality(0.5, "m"), 1, "best")
    summary = TrackSummary("gate", track, identity, 0.0, 1.0, 5, 5, 1, {}, TrackEnd.LOST)
    return Narrator("gate", "b", 1).ended(TrackResult(summary, (best,)), AT)


def test_who_reads_too_slowly_is_dropped_and_counted() -> None:
    async def run() -> tuple[LiveFeed, int]:
        feed = LiveFeed()
        watch = feed.watch()
        await anext(watch)
        assert feed.watchers == 1
        for number in range(600):
            feed.publish(state(number))
        read = [text async for text in watch]  # ends by itself
        return feed, len(read)

    feed, read = asyncio.run(run())
    assert feed.dropped == 1
    assert feed.watchers == 0
    assert read == 256


def test_pictures_are_kept_within_bounds() -> None:
    feed = LiveFeed(shots=3)
    for track in range(1, 6):
        feed.publish(shot(track))
    assert feed.picture(1, "1_chip.jpg") is None
    assert feed.picture(5, "1_chip.jpg")
    assert feed.picture(5, "../1_chip.jpg") is None


def test_shots_without_a_portrait_are_in_no_strip() -> None:
    feed = LiveFeed()
    feed.publish(shot(1))
    assert feed.shots() == []


def test_forgetting_takes_a_track_out_of_events_and_pictures() -> None:
    feed = LiveFeed()
    feed.publish(shot(1))
    feed.publish(shot(2))
    feed.publish(state(1))
    assert feed.forget(Forgotten(frozenset({9}), frozenset({("b", "gate", 1, 1)}))) == 1
    assert feed.picture(1, "1_chip.jpg") is None
    assert feed.picture(2, "1_chip.jpg")


def test_a_person_with_another_number_has_it_in_the_strip_too() -> None:
    feed = LiveFeed()
    for track, identity in ((1, 4), (2, 4), (3, 9)):
        feed.publish(ended(track, identity))
    edits = [Edit(1, 4, (9,), 3, ()), Edit(2, 12, (), 1, (("b", "gate", 1, 2),))]
    for edit in edits:
        for message in told_of(edit, "b", AT):
            feed.publish(message)
    found = {recent.event.track: recent.event.identity for recent in feed.shots()}
    assert found == {1: 4, 2: 12, 3: 4}


def test_an_event_that_tells_of_a_deletion_is_carried_out() -> None:
    feed = LiveFeed()
    for track, identity in ((1, 4), (2, 5)):
        feed.publish(ended(track, identity))
    for message in told_of(Edit(1, 4, (), 0, ()), "b", AT):
        feed.publish(message)
    assert [recent.event.track for recent in feed.shots()] == [2]
    assert feed.picture(1, "1.jpg") is None


def test_a_heartbeat_comes_when_nothing_else_does() -> None:
    async def run() -> list[str]:
        watch = LiveFeed().watch(beat_s=0.01)
        return [await anext(watch) for _ in range(3)]

    assert asyncio.run(run())[1:] == [": still here\n\n"] * 2


def test_a_camera_that_goes_out_of_focus_is_told() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
    import cv2

    soft = cv2.GaussianBlur(sharp, (0, 0), 3)
    assert sharpness(ArrayPicture(np.asarray(soft, np.uint8))) < 0.5 * sharpness(ArrayPicture(sharp))
    trends = Trends()
    for number in range(8):
        trends.look("gate", ArrayPicture(sharp), number * BIN_S)
        assert not trends.is_soft("gate")
    trends.look("gate", ArrayPicture(np.asarray(soft, np.uint8)), 8 * BIN_S)
    assert trends.is_soft("gate")
    assert len(trends.points("gate")) == 9
    for number in range(9, 400):
        trends.look("gate", ArrayPicture(sharp), number * BIN_S)
    assert len(trends.points("gate")) == 288


def test_a_clock_that_was_wrong_for_a_while_does_not_stop_the_trend() -> None:
    picture, trends = ArrayPicture(np.zeros((12, 16, 3), np.uint8)), Trends()
    for at_s in (0, BIN_S, 1e9, 2 * BIN_S, 3 * BIN_S):
        trends.look("gate", picture, at_s)
    assert [point.start_s for point in trends.points("gate")] == [0, BIN_S, 2 * BIN_S, 3 * BIN_S]
