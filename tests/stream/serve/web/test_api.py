"""The API over a running service: cameras, shots, people, events, previews, figures, limits."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import httpx
import pytest
from patience import PATIENCE_S
from prometheus_client.parser import text_string_to_metric_families
from web_stack import SECRETS, WebStack, camera_toml

from facesieve.stream.serve.histogram import STAGES
from facesieve.stream.serve.web.auth import Allowance
from facesieve.stream.serve.web.live import Recent
from facesieve.stream.serve.web.parts import Limits

JPEG = b"\xff\xd8"


class Stream:
    """The server-sent events of one connection, as they come; from now on, unless after last_id."""

    def __init__(self, stack: WebStack, last_id: str = "") -> None:
        self.events: list[tuple[str, str, dict]] = []
        self._url = f"{stack.url}/api/v1/events"
        self._headers = {"Authorization": f"Bearer {SECRETS['read']}"}
        if last_id:
            self._headers["Last-Event-ID"] = last_id
        self._watches, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        assert self._watches.wait(PATIENCE_S)

    def _read(self) -> None:
        with httpx.stream("GET", self._url, headers=self._headers, timeout=PATIENCE_S) as answer:
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                self._watches.set()  # the first line comes once events are kept for it
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                if "event" in fields:
                    self.events.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
                fields = {}
                if self._ended.is_set():
                    return

    def of(self, kind: str) -> list[tuple[str, str, dict]]:
        return [event for event in list(self.events) if event[1] == kind]

    def close(self) -> None:
        self._ended.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def test_events_come_as_they_happen_and_go_on_where_a_connection_broke(start, clip: Path) -> None:
    stack = start(camera_toml("gate", clip))
    first = Stream(stack)
    stack.until(lambda: first.of("shot") and first.of("track_ended"))
    first.close()
    _, _, shot = first.of("shot")[0]
    picture = stack.client("read").get(shot["images"]["1.jpg"])
    assert picture.content.startswith(JPEG)
    at = len(first.events) // 2
    again = Stream(stack, last_id=first.events[at][0])
    stack.until(lambda: len(again.events) >= len(first.events) - at)
    again.close()
    known = [identity for identity, _, _ in first.events[at + 1 :]]
    assert [identity for identity, _, _ in again.events][: len(known)] == known
    lost = Stream(stack, last_id="another-7")
    stack.until(lambda: lost.of("gap"))
    lost.close()


def test_a_reload_keeps_tracks_alive(start, clip: Path) -> None:
    config = camera_toml("gate", clip) + camera_toml("yard", clip) + camera_toml("old", clip)
    stack = start(config)
    stack.until(lambda: all(r.processed for r in stack.service.cameras().values()))
    before = stack.service.cameras()["gate"].status
    changed = camera_toml("gate", clip) + camera_toml("yard", clip, hz=2) + camera_toml("new", clip)
    stack.path.write_text("[serve]\nspool_mb = 7\n" + changed)
    assert stack.client("admin").post("/api/v1/reload").json() == {
        "unchanged": ["gate"],
        "changed": ["yard"],
        "added": ["new"],
        "removed": ["old"],
        "removed_before": [],
        "restart_needed": ["serve"],
    }
    after = stack.service.cameras()
    assert set(after) == {"gate", "yard", "new"}
    assert (after["gate"].status.sessions, after["gate"].status.since_s) == (before.sessions, before.since_s)
    assert after["yard"].hz == 2
    stack.path.write_text("[[camera]]\nname = 3")
    answer = stack.client("admin").post("/api/v1/reload")
    assert answer.status_code == 422
    assert set(stack.service.cameras()) == {"gate", "yard", "new"}


def test_cameras_are_paused_resumed_and_removed(start, clip: Path) -> None:
    stack = start(camera_toml("front gate", clip))
    admin = stack.client("admin")
    stack.until(lambda: stack.service.look("front gate"))
    assert admin.post("/api/v1/cameras/front%20gate/pause").json()["state"] == "stopped"
    assert admin.post("/api/v1/cameras/front%20gate/resume").status_code == 200
    stack.until(lambda: admin.get("/api/v1/cameras/front%20gate").json()["state"] == "live")
    assert admin.delete("/api/v1/cameras/front%20gate").status_code == 204
    assert admin.get("/api/v1/cameras").json() == []
    actions = [line["action"] for line in stack.audit()]
    assert actions == ["camera pause", "camera resume", "camera remove"]


SSRF = [
    ("rtsp://169.254.169.254/latest", "allowed networks"),
    ("rtsp://127.0.0.1/x", "allowed networks"),
    ("rtsp://localhost/x", "allowed networks"),
    ("rtsp://[::1]/x", "allowed networks"),
    ("rtsp://[::ffff:127.0.0.1]/x", "allowed networks"),
    ("rtsp://2130706433/x", "allowed networks"),
    ("rtsp://0/x", "allowed networks"),
    ("rtsp://10.9.0.1@127.0.0.1/x", "allowed networks"),
    ("http://10.9.0.1/x.m3u8", "not valid"),
    ("file:///etc/passwd", "not valid"),
    ("/etc/passwd", "not valid"),
    ("/dev/video0", "not valid"),
    ("rtsp://10.9.0.1/x\nrtsp://127.0.0.1/", "not valid"),
    ("concat:rtsp://10.9.0.1/x", "not valid"),
    (f"rtsp://{'a' * 70}/x", "cannot be resolved"),
    ("rtsp://\x86/x", "cannot be resolved"),
]


@pytest.mark.parametrize(("url", "told"), SSRF)
def test_cameras_over_the_api_lead_nowhere_else(start, url: str, told: str) -> None:
    stack = start('[serve]\ncamera_networks = ["10.9.0.0/16"]\n')
    body = {"name": "inner", "url": url, "password": "hunter2-secret"}
    answer = stack.client("admin").post("/api/v1/cameras", json=body)
    assert answer.status_code == 422
    assert told in answer.text
    assert "hunter2" not in answer.text
    assert stack.service.cameras() == {}


def test_no_network_is_allowed_unless_configured(start) -> None:
    stack = start("")
    body = {"name": "inner", "url": "rtsp://10.9.0.1/x"}
    answer = stack.client("admin").post("/api/v1/cameras", json=body)
    assert answer.status_code == 422
    assert "none" in answer.json()["detail"]


def test_a_camera_of_an_allowed_network_is_served_without_its_secret_being_shown(start) -> None:
    stack = start('[serve]\ncamera_networks = ["127.0.0.0/8"]\n')
    admin = stack.client("admin")
    url = "rtsp://watcher:hunter2-secret@127.0.0.1:9/x"
    body = {"name": "inner", "url": url, "keep": False}
    assert admin.post("/api/v1/cameras", json=body).status_code == 201
    assert admin.post("/api/v1/cameras", json=body).status_code == 409
    stack.until(lambda: "refused" in stack.service.cameras()["inner"].status.reason.casefold())
    assert "hunter2" not in admin.get("/api/v1/cameras").text
    assert "hunter2" not in stack.audit_path.read_text()


class TestPeople:
    def test_last_seen_first_with_pictures(self, quiet: WebStack) -> None:
        reader = quiet.client("read")
        page = reader.get("/api/v1/identities").json()
        assert page["total"] == 2
        assert [one["identity"] for one in page["people"]] == [2, 1]
        one = reader.get("/api/v1/identities/1").json()
        assert [seen["track"] for seen in one["appearances"]] == [1, 2]
        picture = reader.get(one["image"])
        assert (picture.headers["content-type"], picture.content[1:4]) == ("image/png", b"PNG")
        assert reader.get("/api/v1/identities?offset=1&limit=1").json()["people"][0]["identity"] == 1

    def test_search_by_picture(self, quiet: WebStack) -> None:
        def search(data: bytes, kind: str = "image/jpeg") -> httpx.Response:
            headers = {"Content-Type": kind}
            return quiet.client("read").post("/api/v1/identities/search", content=data, headers=headers)

        found = search(JPEG + b"\x01").json()
        assert found["face"]
        assert [(m["person"]["identity"], m["similarity"]) for m in found["matches"]] == [(2, 1.0), (1, 0.0)]
        assert search(JPEG + b"\xff").json() == {"face": False, "matches": []}
        assert search(b"not a picture").status_code == 422
        assert search(JPEG, "text/html").status_code == 415
        assert search(JPEG + bytes(9 << 20)).status_code == 413

    def test_delete_really_deletes(self, start, clip: Path) -> None:
        stack = start(camera_toml("gate", clip), people=True)
        admin = stack.client("admin")
        stack.until(stack.feed.shots)
        stack.service.pause("gate")

        def ends() -> list[Recent]:
            """Of the track of this session that is the store's person 1."""
            shots = (recent for recent in stack.feed.shots() if recent.event.track == 1)
            return [recent for recent in shots if recent.event.type == "track_ended"]

        (end,) = stack.until(ends)
        picture = f"/api/v1/shots/{end.seq}/{end.image}"
        assert admin.get(picture).content.startswith(JPEG)
        gone = admin.delete("/api/v1/identities/1").json()
        assert (gone["identity"], gone["tracks"], gone["pictures"]) == (1, 2, 2)
        assert gone["events"] >= 2
        assert admin.get("/api/v1/identities/1").status_code == 404
        assert admin.delete("/api/v1/identities/1").status_code == 404
        assert admin.get(picture).status_code == 404
        assert [path.parent.name for path in (stack.folder / "people").rglob("*.png")] == ["3"]
        assert stack.in_store(lambda store: [track.identity for track in store.tracks()]) == [2]

    def test_a_store_cannot_make_the_service_read_other_files(self, start) -> None:
        stack = start(people=True)
        (stack.folder / "people" / "secret.png").write_bytes(b"x")
        (stack.folder / "people/gate/b00t-1/shots/1/1.png").unlink()
        (stack.folder / "people/gate/b00t-1/shots/1/1.png").symlink_to(stack.folder / "people" / "secret.png")
        assert stack.client("read").get("/api/v1/identities/1/shots/1/0/1").status_code == 404


def test_a_preview_shows_what_was_seen_and_ends_with_its_camera(start, clip: Path) -> None:
    stack = start(camera_toml("gate", clip))
    stack.until(lambda: stack.service.look("gate"))
    snapshot = stack.client("read").get("/api/v1/cameras/gate/snapshot.jpg")
    assert snapshot.content.startswith(JPEG)
    body, began, parts = b"", time.monotonic(), 0
    with stack.client("read").stream("GET", "/api/v1/cameras/gate/preview.mjpeg") as answer:
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
        for piece in answer.iter_raw():
            body += piece
            parts = body.count(b"--frame")
            if parts >= 4:
                break
        assert time.monotonic() - began > 0.5, "at most five a second"
    with stack.client("read").stream("GET", "/api/v1/cameras/gate/preview.mjpeg") as answer:
        pieces = answer.iter_raw()
        next(pieces)
        stack.service.remove("gate")
        list(pieces)  # ends


def test_the_figures_are_prometheus(start, clip: Path) -> None:
    stack = start(camera_toml("gate", clip))
    stack.until(lambda: stack.service.cameras()["gate"].tracks_ended >= 1)
    text = stack.client("read").get("/metrics").text
    found = {s.name: s for family in text_string_to_metric_families(text) for s in family.samples}
    assert found["facesieve_tracks_ended_total"].value >= 1
    assert found["facesieve_latency_seconds_count"].value >= 1
    assert found["facesieve_latency_seconds_bucket"].labels["le"] == "+Inf"
    assert found["facesieve_engine_info"].labels == {"engine": "none", "precision": "fp32"}
    stages = next(f for f in text_string_to_metric_families(text) if f.name == "facesieve_stage_seconds")
    counts = {s.labels["stage"]: s.value for s in stages.samples if s.name.endswith("_count")}
    assert list(counts) == list(STAGES)
    assert {stage for stage, count in counts.items() if not count} <= {"bound", "assess", "identify"}
    assert {tuple(sorted(sample.labels)) for sample in stages.samples} == {("stage",), ("le", "stage")}
    detect = [s.value for s in stages.samples if s.labels["stage"] == "detect" and "le" in s.labels]
    assert detect == sorted(detect)
    assert detect[-1] == counts["detect"]
    states = {
        sample.labels["state"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "facesieve_camera_state"
    }
    assert states["live"] == 1
    assert sum(states.values()) == 1


def test_large_bodies_are_refused_whether_or_not_they_say_so(quiet: WebStack) -> None:
    admin = quiet.client("admin")
    assert admin.post("/api/v1/cameras", content=bytes(70_000)).status_code == 413
    headers = {"Content-Type": "application/json"}
    chunks = (b'{"name": "' + b"a" * 10_000 for _ in range(8))
    assert admin.post("/api/v1/cameras", content=chunks, headers=headers).status_code == 413


def test_searches_and_changes_are_limited(start) -> None:
    now_s = time.monotonic
    few = Allowance(2, 0.01, now_s)
    stack = start(people=True, limits=Limits(Allowance(9, 9, now_s), few, Allowance(2, 0.01, now_s)))
    admin = stack.client("admin")
    send = {"content": JPEG + b"\x01", "headers": {"Content-Type": "image/jpeg"}}
    codes = [admin.post("/api/v1/identities/search", **send).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    codes = [admin.post("/api/v1/cameras/none/pause").status_code for _ in range(3)]
    assert codes == [404, 404, 429]


def test_health_says_when_the_service_ends(start) -> None:
    stack = start("")
    assert stack.client().get("/healthz").json() == {"status": "ok"}
    assert stack.client().get("/readyz").status_code == 200
    stack.web.stopping.set()
    assert stack.client().get("/readyz").status_code == 503


def test_ending_lets_go_of_watchers_at_once(start, clip: Path) -> None:
    stack = start(camera_toml("gate", clip))
    stream = Stream(stack)
    stack.until(lambda: stream.events)
    stack.close()
    stream.close()  # whose thread would have failed had the connection been cut
