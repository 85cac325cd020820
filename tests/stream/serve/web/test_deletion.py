"""A person is deleted while a receiver is away: what waits for it is told without the face, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from inbox import Inbox
from patience import PATIENCE_S
from web_stack import WebStack, camera_toml

from facesieve.stream.errors import OutputFull
from facesieve.stream.sealing import new_key
from facesieve.stream.serve.receivers.webhook import Webhook


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """One that is away until it is told to come back."""
    with closing(Inbox(away=True)) as made:
        yield made


@pytest.fixture
def running(
    start: Callable[..., WebStack], clip: Path, inbox: Inbox, request: pytest.FixtureRequest
) -> WebStack:
    """Person 1 of its store is tracks 1 and 2 of this session, person 2 is track 3."""
    hook = Webhook(inbox.url, secret=None, now_s=time.time, timeout_s=PATIENCE_S)
    keys = request.param if hasattr(request, "param") else []
    return start(camera_toml("gate", clip), people=True, receivers={"hook": hook}, keys=keys)


@pytest.mark.parametrize("running", [[], [new_key()]], indirect=True, ids=["open", "sealed"])
def test_a_receiver_that_comes_back_learns_of_the_deletion_and_sees_no_face(
    running: WebStack, inbox: Inbox
) -> None:
    stack = running

    def told(kind: str) -> set[int]:
        entries = list(stack.feed._entries)
        return {entry.event.track for entry in entries if entry.event.type == kind}

    stack.until(lambda: {1, 2} <= told("track_ended") and 3 in told("shot"))
    stack.until(lambda: inbox.tries)  # so that what it is to get is in the sender's hands
    gone = stack.client("admin").delete("/api/v1/identities/1").json()
    assert gone["tracks"] == 2
    assert gone["waiting"] >= 4, "two ends and the shots before them"
    inbox.away = False
    stack.until(lambda: inbox.of("identity_deleted"))
    stack.until(lambda: any(event["track"] == 3 for event in inbox.of("shot")))
    (deleted,) = inbox.of("identity_deleted")
    assert (deleted["identity"], deleted["merged_from"], deleted["origin"]["camera"]) == (1, [], "")
    assert [(t["camera"], t["boot"], t["session"], t["track"]) for t in deleted["tracks"]] == [
        ("gate", "b00t", 1, 1),
        ("gate", "b00t", 1, 2),
    ]
    ids = [body["id"] for body in inbox.bodies]
    assert len(ids) == len(set(ids))
    for track in (1, 2):
        assert [event["track"] for event in inbox.of("shot")].count(track) == 0
        (ended,) = (event for event in inbox.of("track_ended") if event["track"] == track)
        assert (ended["shots"], ended["identity"], "images" in ended) == ([], None, False)
        assert sum(event["track"] == track for event in inbox.of("track_started")) == 1
    assert all(event["images"] for event in inbox.of("shot")), "others are told as ever"
    sources = {body["source"] for body in inbox.bodies if body["type"] == "facesieve.identity_deleted"}
    assert sources == {"/facesieve"}


def test_a_spool_whose_disk_is_full_is_told_and_nothing_has_gone(
    running: WebStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, admin = running, running.client("admin")
    with monkeypatch.context() as patched:

        def full(_who: object) -> int:
            raise OutputFull("the disk is full")

        patched.setattr(stack.spool, "forget", full)
        assert admin.delete("/api/v1/identities/1").status_code == 503
    assert admin.get("/api/v1/identities/1").json()["tracks"] == 2
    assert admin.delete("/api/v1/identities/1").status_code == 200
