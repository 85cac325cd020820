"""Cameras over the API: what was added, changed, paused and removed is so after a restart."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live_servers import film
from web_stack import WebStack, camera_toml

from facesieve.stream.errors import ConfigError
from facesieve.stream.sealing import new_key
from facesieve.stream.serve.reader import State

PASSWORD = "s3cr&t pa$$"  # noqa: S105
LEFT = [[[0, 0], [0.2, 0], [0.2, 1], [0, 1]]]
WHOLE = [[[0, 0], [1, 0], [1, 1], [0, 1]]]
HERE = '[serve]\ncamera_networks = ["127.0.0.0/8"]\n'
SECRETS = HERE + '[serve.camera_secrets]\ndoor = { env = "DOOR_PASSWORD" }\n'
NOWHERE = {"name": "inner", "url": "rtsp://127.0.0.1:9/x"}
KEY = new_key()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., WebStack]]:
    """Services over one folder, one after the other."""
    made: list[WebStack] = []

    def make(config: str, **options: object) -> WebStack:
        if made:
            made[-1].close()
        made.append(WebStack(tmp_path, config, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    made[-1].close()


def state(stack: WebStack, name: str) -> State:
    return stack.service.cameras()[name].status.state


def is_live(stack: WebStack, name: str) -> bool:
    return state(stack, name) is State.LIVE


def test_a_camera_with_zones_is_live_again_after_a_restart_and_its_password_lies_nowhere(
    serve, rtsp, moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", PASSWORD)
    server = rtsp(user="watcher", password=PASSWORD)
    server.publish("door", moving)
    server.start()
    stack = serve(SECRETS)
    camera = {"name": "door", "url": server.url("door"), "username": "watcher", "secret": "door"}
    made = stack.client("admin").post("/api/v1/cameras", json=camera | {"zones": LEFT, "masks": LEFT})
    assert made.status_code == 201, made.text
    assert (made.json()["over_api"], made.json()["zones"], made.json()["masks"]) == (True, LEFT, LEFT)
    stack.until(lambda: is_live(stack, "door"))

    stack = serve(SECRETS)
    stack.until(lambda: stack.service.cameras()["door"].processed >= 3)
    assert stack.service.cameras()["door"].faces == 0, "the face is outside the zone"
    changed = stack.client("admin").patch("/api/v1/cameras/door", json={"zones": WHOLE, "masks": []})
    assert changed.json()["zones"] == WHOLE, "and the login stayed, though nobody sent it"
    stack.until(lambda: stack.service.cameras()["door"].faces)

    stack = serve(SECRETS)
    stack.until(lambda: stack.service.cameras()["door"].faces)
    file = tmp_path / "cameras.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"s3cr" not in path.read_bytes(), path


def test_a_password_is_written_down_encrypted_or_not_at_all(serve, tmp_path: Path) -> None:
    with_password = NOWHERE | {"username": "me", "password": "hunter2-secret"}
    in_url = NOWHERE | {"url": "rtsp://me:hunter2-secret@127.0.0.1:9/x"}
    in_query = NOWHERE | {"url": "rtsp://127.0.0.1:9/user=me&password=hunter2-secret&channel=1"}
    stack = serve(HERE)
    for camera in (with_password, in_url, in_query):
        answer = stack.client("admin").post("/api/v1/cameras", json=camera)
        assert (answer.status_code, "serve.encryption_keys" in answer.text) == (422, True)
        assert "hunter2" not in answer.text
    answer = stack.client("admin").post("/api/v1/cameras", json=in_url | {"keep": False})
    assert answer.status_code == 201
    assert stack.client("admin").post("/api/v1/cameras/inner/pause").status_code == 200
    assert serve(HERE).service.cameras() == {}, "it was to last until the service ended"

    stack = serve(HERE, keys=[KEY])
    for number, camera in enumerate((with_password, in_url, in_query)):
        named = camera | {"name": f"camera {number}"}
        assert stack.client("admin").post("/api/v1/cameras", json=named).status_code == 201
    newer = new_key()
    for keys in ([KEY], [newer, KEY], [newer]):
        stack = serve(HERE, keys=keys)
        assert sorted(stack.service.cameras()) == ["camera 0", "camera 1", "camera 2"]
        assert {lane.plan.address.url for lane in stack.service._lanes.values()} == {
            "rtsp://me:hunter2-secret@127.0.0.1:9/x",
            "rtsp://127.0.0.1:9/user=me&password=hunter2-secret&channel=1",
        }
    stack.close()
    assert not (tmp_path / "cameras.json").exists()
    assert b"hunter2" not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    for keys in ([], [KEY]):
        (tmp_path / "spool.db").unlink(missing_ok=True)
        with pytest.raises(ConfigError, match=r"cameras\.json\.enc|none of the encryption keys"):
            serve(HERE, keys=keys)


def test_keys_that_come_later_seal_what_lay_open(serve, tmp_path: Path) -> None:
    stack = serve(HERE)
    assert stack.client("admin").post("/api/v1/cameras", json=NOWHERE).status_code == 201
    stack = serve(HERE, keys=[KEY])
    assert list(stack.service.cameras()) == ["inner"]
    assert not (tmp_path / "cameras.json").exists()


def test_another_url_is_not_given_the_old_password(serve) -> None:
    stack = serve(HERE, keys=[KEY])
    admin = stack.client("admin")
    admin.post("/api/v1/cameras", json=NOWHERE | {"username": "me", "password": "hunter2"})
    assert admin.patch("/api/v1/cameras/inner", json={"hz": 2}).json()["hz"] == 2
    url = stack.service._lane("inner").plan.address.url
    assert url == "rtsp://me:hunter2@127.0.0.1:9/x"
    assert admin.patch("/api/v1/cameras/inner", json={"url": "rtsp://127.0.0.1:10/y"}).status_code == 200
    assert stack.service._lane("inner").plan.address.url == "rtsp://127.0.0.1:10/y"
    for wrong in (
        {"url": "http://127.0.0.1/x"},
        {"zones": [[[0, 0], [1, 1]]]},
        {"name": "other"},
        {"hz": -1},
    ):
        assert admin.patch("/api/v1/cameras/inner", json=wrong).status_code == 422
    assert admin.patch("/api/v1/cameras/inner", json={"url": "rtsp://10.0.0.1/x"}).status_code == 422
    assert stack.service._lane("inner").plan.address.url == "rtsp://127.0.0.1:10/y"
    assert admin.patch("/api/v1/cameras/none", json={}).status_code == 404


def test_a_sub_stream_over_the_api_is_paired_and_so_after_a_restart(
    serve, rtsp, moving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", PASSWORD)
    server = rtsp(user="watcher", password=PASSWORD)
    film_in_large = film(tmp_path / "large.mp4", width=640, height=480)
    for mount, clip in (("main", film_in_large), ("sub", moving)):
        server.publish(mount, clip)
    server.start()
    stack = serve(SECRETS)
    camera = {"name": "door", "url": server.url("main"), "username": "watcher", "secret": "door"}
    sub_stream = {"detect_url": server.url("sub"), "pair_tolerance_ms": 500, "pair_frames": 12}
    made = stack.client("admin").post("/api/v1/cameras", json=camera | sub_stream)
    assert made.status_code == 201, made.text
    assert made.json()["sub_stream"]
    for _ in range(2):
        stack.until(lambda: is_live(stack, "door"))  # noqa: B023
        status = stack.until(lambda: stack.service.cameras()["door"].processed) and stack.service.cameras()  # noqa: B023
        assert (status["door"].status.width, status["door"].status.height) == (640, 480)
        pairing = stack.service._lane("door").plan.pairing
        assert (pairing.tolerance_s, pairing.frames) == (0.5, 12)
        stack = serve(SECRETS)
    gone = stack.client("admin").patch("/api/v1/cameras/door", json={"detect_url": None})
    assert not gone.json()["sub_stream"]
    stack.until(lambda: is_live(stack, "door"))
    assert b"s3cr" not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("sub_stream", "told"),
    [
        ("rtsp://10.9.0.1/sub", "allowed networks"),
        ("rtsp://[::ffff:10.9.0.1]/sub", "allowed networks"),
        ("rtsp://other:login@127.0.0.1/sub", "without a login"),
        ("http://127.0.0.1/sub.m3u8", "not valid"),
        ("file:///etc/passwd", "not valid"),
        ("/srv/drop/", "not valid"),
        ("rtsp://127.0.0.1:9/user=me&password=hunter2&channel=1", "serve.encryption_keys"),
    ],
)
def test_a_sub_stream_is_under_the_rules_of_the_main_one(serve, sub_stream: str, told: str) -> None:
    stack = serve(HERE)
    admin = stack.client("admin")
    assert admin.post("/api/v1/cameras", json=NOWHERE).status_code == 201
    for answer in (
        admin.post("/api/v1/cameras", json=NOWHERE | {"name": "other", "detect_url": sub_stream}),
        admin.patch("/api/v1/cameras/inner", json={"detect_url": sub_stream}),
    ):
        assert answer.status_code == 422
        assert told in answer.text
        assert "hunter2" not in answer.text
    assert list(stack.service.cameras()) == ["inner"]
    assert stack.service._lane("inner").plan.sub is None


def test_another_sub_stream_is_not_given_the_old_password(serve) -> None:
    stack = serve(HERE, keys=[KEY])
    admin = stack.client("admin")
    login = {"username": "me", "password": "hunter2"}
    first, second = "rtsp://127.0.0.1:9/sub", "rtsp://127.0.0.1:10/sub"
    assert admin.post("/api/v1/cameras", json=NOWHERE | login | {"detect_url": first}).status_code == 201

    def urls() -> tuple[str, str | None]:
        plan = stack.service._lane("inner").plan
        return plan.address.url, plan.sub and plan.sub.url

    with_login = ("rtsp://me:hunter2@127.0.0.1:9/x", "rtsp://me:hunter2@127.0.0.1:9/sub")
    assert urls() == with_login
    assert admin.patch("/api/v1/cameras/inner", json={"hz": 2, "detect_url": first}).status_code == 200
    assert urls() == with_login
    refused = admin.patch("/api/v1/cameras/inner", json={"detect_url": second})
    assert (refused.status_code, "password or the secret again" in refused.text) == (422, True)
    assert urls() == with_login
    again = {"detect_url": second, "password": "hunter3"}
    assert admin.patch("/api/v1/cameras/inner", json=again).status_code == 200
    assert urls() == ("rtsp://me:hunter3@127.0.0.1:9/x", "rtsp://me:hunter3@127.0.0.1:10/sub")
    stack = serve(HERE, keys=[KEY])
    assert urls()[1] == "rtsp://me:hunter3@127.0.0.1:10/sub"


def test_what_is_paused_stays_so_until_it_is_resumed(serve, clip: Path) -> None:
    config = HERE + camera_toml("gate", clip)
    stack = serve(config)
    stack.client("admin").post("/api/v1/cameras", json=NOWHERE)
    for name in ("gate", "inner"):
        assert stack.client("admin").post(f"/api/v1/cameras/{name}/pause").json()["state"] == "stopped"
    stack = serve(config)
    assert {name: state(stack, name) for name in stack.service.cameras()} == dict.fromkeys(
        ("gate", "inner"), State.STOPPED
    )
    stack.path.write_text(HERE + camera_toml("gate", clip, hz=3))
    assert stack.client("admin").post("/api/v1/reload").json()["changed"] == ["gate"]
    assert state(stack, "gate") is State.STOPPED
    assert stack.client("admin").post("/api/v1/cameras/gate/resume").status_code == 200
    stack.until(lambda: is_live(stack, "gate"))
    stack = serve(config)
    stack.until(lambda: is_live(stack, "gate"))
    assert state(stack, "inner") is State.STOPPED


def test_what_is_removed_stays_away_until_it_is_resumed(serve, clip: Path) -> None:
    config = HERE + camera_toml("gate", clip) + camera_toml("yard", clip)
    stack = serve(config)
    stack.client("admin").post("/api/v1/cameras", json=NOWHERE)
    for name in ("gate", "inner"):
        assert stack.client("admin").delete(f"/api/v1/cameras/{name}").status_code == 204
    stack = serve(config)
    admin = stack.client("admin")
    assert list(stack.service.cameras()) == ["yard"]
    done = admin.post("/api/v1/reload").json()
    assert (done["unchanged"], done["added"], done["removed_before"]) == (["yard"], [], ["gate"])
    assert admin.post("/api/v1/cameras", json=NOWHERE | {"name": "gate"}).status_code == 409
    assert admin.post("/api/v1/cameras/inner/resume").status_code == 404
    assert admin.post("/api/v1/cameras/gate/resume").status_code == 200
    stack.until(lambda: is_live(stack, "gate"))
    assert sorted(serve(config).service.cameras()) == ["gate", "yard"]


def test_the_configuration_comes_first_and_a_reload_keeps_the_others(serve, clip: Path) -> None:
    stack = serve(HERE)
    admin = stack.client("admin")
    for name in ("gate", "inner"):
        admin.post("/api/v1/cameras", json=NOWHERE | {"name": name})
    stack.path.write_text(HERE + camera_toml("gate", clip))
    before = stack.service.cameras()["inner"].status
    done = admin.post("/api/v1/reload").json()
    assert (done["changed"], done["removed"], done["restart_needed"]) == (["gate"], [], [])
    stack.until(lambda: is_live(stack, "gate"))
    shown = {camera["name"]: camera["over_api"] for camera in admin.get("/api/v1/cameras").json()}
    assert shown == {"gate": False, "inner": True}
    assert stack.service.cameras()["inner"].status.since_s >= before.since_s
    assert admin.patch("/api/v1/cameras/gate", json={"hz": 1}).status_code == 409
    stack.path.write_text(HERE)
    assert admin.post("/api/v1/reload").json()["removed"] == ["gate"]
    assert list(serve(HERE).service.cameras()) == ["inner"], "the one that gave way does not come back"


def test_one_that_cannot_be_served_now_waits_and_does_not_hold_up_the_others(serve, clip: Path) -> None:
    stack = serve(HERE)
    assert stack.client("admin").post("/api/v1/cameras", json=NOWHERE).status_code == 201
    stack = serve(camera_toml("gate", clip))
    assert list(stack.service.cameras()) == ["gate"], "its network is not allowed any more"
    assert sorted(serve(HERE + camera_toml("gate", clip)).service.cameras()) == ["gate", "inner"]


def test_a_change_that_cannot_be_kept_is_not_made(serve, clip: Path, tmp_path: Path) -> None:
    stack = serve(HERE + camera_toml("gate", clip))
    (tmp_path / "cameras.json.part").mkdir()  # in the way of what is written first
    admin = stack.client("admin")
    assert admin.post("/api/v1/cameras", json=NOWHERE).status_code == 503
    assert admin.delete("/api/v1/cameras/gate").status_code == 503
    assert list(stack.service.cameras()) == ["gate"]
    (tmp_path / "cameras.json.part").rmdir()
    assert admin.post("/api/v1/cameras", json=NOWHERE).status_code == 201


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"added": [{"name": "x"}]}', "\0"])
def test_a_file_that_is_not_ours_is_told(serve, tmp_path: Path, text: str) -> None:
    serve(HERE)
    (tmp_path / "cameras.json").write_text(text)
    with pytest.raises(ConfigError, match=r"cameras\.json"):
        serve(HERE)


def test_what_is_kept_is_short(serve, tmp_path: Path) -> None:
    stack = serve(HERE)
    stack.client("admin").post("/api/v1/cameras", json=NOWHERE)
    kept = json.loads((tmp_path / "cameras.json").read_text())
    assert kept == {"added": [NOWHERE | {"place": "127.0.0.1"}]}
