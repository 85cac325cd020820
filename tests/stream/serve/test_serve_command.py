"""`facesieve serve` as users run it: its own process, real clips as cameras, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from inbox import Inbox
from patience import PATIENCE_S, until
from ports import free_port

from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.serve.events import Event, IdentityDeleted, TrackEnded, TrackStarted
from facesieve.stream.serve.spool import Spool

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
TOKEN = "watcher-0123456789abcdef"  # noqa: S105
KEEPER = "keeper-0123456789abcdef"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with closing(Inbox()) as made:
        yield made


@pytest.fixture
def start(tmp_path: Path, shared: Path, inbox: Inbox) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    config = tmp_path / "cameras.toml"
    clip = json.dumps(str(shared / "videos" / "WolfgangLanger_Pexels.mp4"))
    config.write_text(
        f"""
        [serve]
        state = {json.dumps(str(tmp_path / "state"))}
        port = {free_port()}
        camera_networks = ["127.0.0.0/8"]
        [[serve.token]]
        name = "watcher"
        secret = {{ env = "WATCHER_TOKEN" }}
        [[serve.token]]
        name = "keeper"
        scope = "admin"
        secret = {{ env = "KEEPER_TOKEN" }}
        [selection]
        silent_ms = 200
        [[camera]]
        name = "desk"
        url = {clip}
        loop = true
        [[camera]]
        name = "gone"
        url = "rtsp://watcher:s3cret@127.0.0.1:9/none"
        backoff_first_s = 0.2
        [[sink]]
        kind = "webhook"
        name = "inbox"
        url = {json.dumps(inbox.url)}
        """
    )
    running: list[subprocess.Popen[str]] = []
    log = (tmp_path / "log").open("w")

    def run() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "facesieve", "serve", "--config", str(config), "--log-json"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "WATCHER_TOKEN": TOKEN}
        environment["KEEPER_TOKEN"] = KEEPER
        running.append(subprocess.Popen(command, stderr=log, env=environment, cwd=tmp_path, text=True))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()
    log.close()
    text = (tmp_path / "log").read_text()
    assert "s3cret" not in text
    assert TOKEN not in text
    assert KEEPER not in text
    assert all(json.loads(line) for line in text.splitlines())


def amid_a_track(process: subprocess.Popen[str], state: Path) -> None:
    """Freeze the service while a track lasts, of which its spool knows."""

    def is_frozen() -> bool:
        process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{process.pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        with closing(sqlite3.connect(f"file:{state / 'spool.db'}?mode=ro", uri=True)) as db:
            (tracks,) = db.execute("SELECT count(*) FROM track").fetchone()
        if not tracks:
            process.send_signal(signal.SIGCONT)
        return bool(tracks)

    until(is_frozen)


def told(inbox: Inbox, state: Path) -> list[Event]:
    """What came, and what lies in the spool: the service waits some seconds only for it to be taken."""
    with closing(Spool(state / "spool.db", ["inbox"])) as spool:
        waiting = [item.message.event for item in spool.next("inbox", 10_000)]
    return list({event.id: event for event in inbox.events() + waiting}.values())


def track(event: TrackStarted | TrackEnded) -> tuple[str, int, int]:
    return event.origin.boot, event.origin.session, event.track


def test_killed_in_the_middle_of_a_track_and_started_again_nothing_final_is_lost_or_doubled(
    start, inbox: Inbox, tmp_path: Path
) -> None:
    def live() -> bool:
        """A shot of a track that has not ended has come."""
        events = inbox.events()
        ended = {track(e) for e in events if e.type == "track_ended"}
        return any(e.type == "shot" and track(e) not in ended for e in events)  # type: ignore[arg-type]

    first = start()
    until(live)
    inbox.away = True  # from here on only the disk knows
    tries = inbox.tries
    until(lambda: inbox.tries > tries)
    amid_a_track(first, tmp_path / "state")
    first.send_signal(signal.SIGKILL)
    first.wait()
    inbox.away = False
    second = start()
    until(lambda: len({e.origin.boot for e in inbox.events() if e.type == "shot"}) == 2)
    second.send_signal(signal.SIGTERM)
    assert second.wait(PATIENCE_S) == 0
    events = told(inbox, tmp_path / "state")
    assert not {
        body["id"] for body in inbox.bodies if body["data"]["origin"]["camera"] not in ("desk", "gone")
    }
    starts = Counter(track(e) for e in events if isinstance(e, TrackStarted))
    ends = Counter(track(e) for e in events if isinstance(e, TrackEnded) and e.final)
    assert starts == ends
    assert set(starts.values()) == {1}
    crashed = [e for e in events if isinstance(e, TrackEnded) and e.end == "crash"]
    assert crashed
    assert all(e.shots for e in crashed if any(s.type == "shot" and track(s) == track(e) for s in events))


def test_sigterm_ends_the_tracks_and_delivers_them(start, inbox: Inbox, tmp_path: Path) -> None:
    process = start()
    until(lambda: any(e.type == "shot" for e in inbox.events()))
    port = tomllib.loads((tmp_path / "cameras.toml").read_text())["serve"]["port"]
    url, login = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/metrics").status_code == 401
        figures = client.get("/metrics", headers=login).text
        assert 'facesieve_camera_state{camera="desk",state="live"} 1.0' in figures
        shots = client.get("/api/v1/shots", headers=login).json()
        assert client.get(shots[0]["image"], headers=login).content.startswith(b"\xff\xd8")
    amid_a_track(process, tmp_path / "state")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert process.wait(PATIENCE_S) == 0
    events = told(inbox, tmp_path / "state")
    ends = [e for e in events if isinstance(e, TrackEnded)]
    assert ends[-1].end in ("shutdown", "lost", "scene_cut")
    assert any(e.end == "shutdown" for e in ends)
    states = [e for e in events if e.type == "camera_state" and e.origin.camera == "gone"]
    assert {"connecting", "lost", "backing_off"} <= {e.state for e in states}
    assert all("s3cret" not in e.reason for e in states)


def test_cameras_over_the_api_outlive_sigkill(start, inbox: Inbox, tmp_path: Path) -> None:
    process = start()
    port = tomllib.loads((tmp_path / "cameras.toml").read_text())["serve"]["port"]
    url = f"http://127.0.0.1:{port}/api/v1/cameras"
    client = httpx.Client(headers={"Authorization": f"Bearer {KEEPER}"}, timeout=PATIENCE_S)

    def cameras() -> dict[str, str]:
        try:
            return {camera["name"]: camera["state"] for camera in client.get(url).json()}
        except httpx.TransportError:
            return {}

    until(cameras)
    added = {"name": "added", "url": "rtsp://127.0.0.1:9/x", "zones": [[[0, 0], [1, 0], [1, 1]]]}
    assert client.post(url, json=added).status_code == 201
    assert client.post(f"{url}/desk/pause").status_code == 200
    assert client.delete(f"{url}/gone").status_code == 204
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = start()
    until(cameras)
    found = cameras()
    assert found.keys() == {"added", "desk"}
    assert found["desk"] == "stopped"
    assert client.post(f"{url}/desk/resume").status_code == 200
    until(lambda: cameras().get("desk") == "live")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    client.close()


def test_the_command_that_deletes_people_is_told_of_beside_a_running_service_and_after_its_next_start(
    start, inbox: Inbox, tmp_path: Path
) -> None:
    config, store = tmp_path / "cameras.toml", str(tmp_path / "state" / "identities.db")
    windows = config.read_text().replace("silent_ms = 200", "silent_ms = 200\nmax_track_ms = 1500")
    config.write_text(windows)  # people are known before their track ends

    def identities(*arguments: object) -> str:
        command = [sys.executable, "-m", "facesieve", "identities", *map(str, arguments)]
        command += ["--store", store]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    def known() -> set[int]:
        return {event["identity"] for event in inbox.of("track_ended") if event["identity"] is not None}

    def deleted() -> list[IdentityDeleted]:
        return [event for event in inbox.events() if isinstance(event, IdentityDeleted)]

    process = start()
    until(known)
    first = min(known())
    identities("delete", first, "--yes")
    until(deleted)
    until(lambda: known() - {first})
    process.send_signal(signal.SIGKILL)
    process.wait()
    others = sorted(json.loads(line)["identity"] for line in identities("list", "--json").splitlines())
    assert others
    # Those of a track that the kill kept out of the store are nobody's, and go with the next start.
    with closing(SqlStore(SqliteDatabase(Path(store)))) as people:
        pictures = [Path(out, folder, name) for out, folder, name in people.pictures()]
    assert any(picture.exists() for picture in pictures)
    for other in others:
        identities("delete", other, "--yes")
    assert not any(picture.exists() for picture in pictures)
    for _ in range(2):
        before = {event.origin.boot for event in inbox.events()}
        process = start()
        until(lambda: any(e.type == "shot" and e.origin.boot not in before for e in inbox.events()))  # noqa: B023
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert [event.identity for event in deleted()] == [first, *others]
    named = {event["track"] for event in inbox.of("track_ended") if event["identity"] == first}
    assert named <= {name.track for name in deleted()[0].tracks if name.camera == "desk"}
