"""Events to real receivers: an HTTP server that fails, a killed Mosquitto, librdkafka's mock cluster."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S, until
from ports import free_port

from facesieve.stream.sealing import Encrypting, Plain, Sealer, new_key
from facesieve.stream.serve.delivery import Delivery, DeliveryFailed, DeliveryRefused
from facesieve.stream.serve.events import Message, Moment, Origin, ShotFacts, TrackEnded, parse_event
from facesieve.stream.serve.forget import deletions
from facesieve.stream.serve.narrator import camera_state
from facesieve.stream.serve.reader import CameraStatus, State
from facesieve.stream.serve.receivers.folder import EventFolder
from facesieve.stream.serve.receivers.kafka import Kafka
from facesieve.stream.serve.receivers.mqtt import Mqtt
from facesieve.stream.serve.receivers.webhook import SIGNATURE, Webhook
from facesieve.stream.serve.spool import Spool

AT = Moment(pts_s=1.0, wall_s=1_700_000_000.0, monotonic_s=1.0)
SECRET = "shared with the receiver"  # noqa: S105


def ended(track: int, identity: int | None = None) -> Message:
    facts = ShotFacts(
        rank=1, pts_s=1.0, wall_s=1000.0, score=0.5, calibrated=None, model="m", enrol=False,
        box=(0, 0, 9, 9), eye_distance_px=9, detection_score=0.9, components={}, reason="best",
        image="1.jpg", chip=None,
    )  # fmt: skip
    event = TrackEnded(
        id=f"b1/gate 1/1/{track}/0/ended", origin=Origin(camera="gate 1", boot="b1", session=1), at=AT,
        track=track, window=0, final=True, end="lost", first_pts_s=0, last_pts_s=1, frames_seen=5,
        rejected={}, identity=identity, shots=(facts,),
    )  # fmt: skip
    return Message(event, {"1.jpg": b"\xff\xd8 face"})


def state(number: int, name: State = State.LIVE) -> Message:
    status = CameraStatus("gate 1", name, 1_700_000_000.0)
    return camera_state(status, "b1", number, degraded=False, monotonic_s=1.0)


def deleted(identity: int, track: int) -> Message:
    (message,) = deletions(identity, (), {("b1", "gate 1", 1, track)}, "b1", AT)
    return message


class Site:
    """An HTTP server that answers what it is told to."""

    def __init__(self, at: int) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int | None] = []  # a status, or None: silence for as long as it lasts
        self.closing = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = site.answers.pop(0) if site.answers else 204
                if answer is None:
                    site.closing.wait(PATIENCE_S)
                    return
                if answer < 300:
                    site.got.append((dict(self.headers), body))
                self.send_response(answer)
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", at), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site() -> Iterator[Callable[[int], Site]]:
    made: list[Site] = []

    def make(at: int) -> Site:
        made.append(Site(at))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool.db", ["out"]) as made:
        yield made


def hook(at: int, **options: Any) -> Webhook:
    options = {"secret": SECRET, "now_s": time.time, "timeout_s": PATIENCE_S} | options
    return Webhook(f"http://127.0.0.1:{at}/events?token=t0ken", **options)


class TestWebhook:
    def test_a_signed_cloud_event_with_its_picture(self, site) -> None:
        at = free_port()
        receiver = site(at)
        sender = hook(at)
        sender.send(ended(3))
        sender.close()
        headers, body = receiver.got[0]
        whole = json.loads(body)
        assert whole["specversion"] == "1.0"
        assert (whole["id"], whole["type"]) == ("b1/gate 1/1/3/0/ended", "facesieve.track_ended")
        assert whole["source"] == "/facesieve/cameras/gate%201"
        images = whole["data"].pop("images")
        assert base64.b64decode(images["1.jpg"]) == b"\xff\xd8 face"
        assert parse_event(json.dumps(whole["data"])) == ended(3).event
        when, _, signed = headers[SIGNATURE].partition(",v1=")
        stamp = when.removeprefix("t=")
        right = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(signed, right)
        assert headers["Content-Type"] == "application/cloudevents+json"

    @pytest.mark.parametrize(
        ("answer", "kind"), [(503, DeliveryFailed), (429, DeliveryFailed), (302, DeliveryFailed),
                             (400, DeliveryRefused), (413, DeliveryRefused), (None, DeliveryFailed)],
    )  # fmt: skip
    def test_what_an_answer_means(self, site, answer: int | None, kind: type) -> None:
        at = free_port()
        site(at).answers = [answer]
        sender = hook(at, timeout_s=1.0 if answer is None else PATIENCE_S)
        with pytest.raises(kind) as told:
            sender.send(ended(1))
        assert "t0ken" not in str(told.value)
        assert "/events" not in str(told.value), "a path may be a secret, too"
        sender.close()

    def test_a_receiver_that_fails_stalls_and_restarts_gets_everything_once(self, site, spool) -> None:
        at = free_port()
        first = site(at)
        first.answers = [500, None, 503]
        with Delivery(spool, {"out": hook(at, timeout_s=2.0)}, rng=random.Random(0)) as delivery:
            for i in range(6):
                spool.put(ended(i), 0.0)
            until(lambda: len(first.got) >= 3)
            first.close()
            for i in range(6, 10):
                spool.put(ended(i), 0.0)
            until(lambda: delivery.reports()["out"].failing)
            second = site(at)
            until(lambda: delivery.reports()["out"].sent >= 10)
        ids = [json.loads(body)["id"] for _, body in first.got + second.got]
        assert list(dict.fromkeys(ids)) == [f"b1/gate 1/1/{i}/0/ended" for i in range(10)]
        assert spool.report().events == 0

    def test_what_is_refused_is_passed_over(self, site, spool) -> None:
        at = free_port()
        receiver = site(at)
        receiver.answers = [400]
        with Delivery(spool, {"out": hook(at)}, rng=random.Random(0)) as delivery:
            spool.put(ended(1), 0.0)
            spool.put(ended(2), 0.0)
            until(lambda: delivery.reports()["out"].sent >= 1)
            assert delivery.reports()["out"].refused == 1
        assert [json.loads(body)["data"]["track"] for _, body in receiver.got] == [2]

    def test_closing_keeps_what_could_not_be_sent(self, spool) -> None:
        delivery = Delivery(spool, {"out": hook(free_port())}, rng=random.Random(0))
        spool.put(ended(1), 0.0)
        until(lambda: delivery.reports()["out"].failing)
        delivery.close()  # returns, though there is something to send
        assert spool.report().waiting == {"out": 1}


class Mosquitto:
    """Debian's broker on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/\nuser root\n"
        )
        self._kept = folder / "mosquitto.db"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None
        self._process = subprocess.Popen(
            [program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        until(answers)

    def configure(self, line: str) -> None:
        """From its next start on."""
        with self._config.open("a") as file:
            file.write(line + "\n")

    def keep(self) -> None:
        """Have it write down who has subscribed, which else it does every half hour."""
        assert self._process is not None
        self._kept.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        until(self._kept.exists)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    if shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        if os.environ.get("FACESIEVE_REQUIRE_ALL"):
            pytest.fail("mosquitto (Debian package) is missing and FACESIEVE_REQUIRE_ALL is set")
        pytest.skip("mosquitto (Debian package) is missing")
    broker = Mosquitto(tmp_path)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


class Listener:
    """Subscribes to everything under facesieve/; the broker keeps for it what comes while it is away."""

    def __init__(self, at: int, name: str = "listener") -> None:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        stays: Any = Properties(PacketTypes.CONNECT)
        stays.SessionExpiryInterval = 3600
        subscribed = threading.Event()
        self.got: list[tuple[str, bytes, bool]] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *rest: client.subscribe("facesieve/#", qos=1)
        self.client.on_subscribe = lambda *rest: subscribed.set()
        self.client.on_message = lambda client, data, m: self.got.append((m.topic, m.payload, m.retain))
        self.client.connect_async("127.0.0.1", at, clean_start=False, properties=stays)
        self.client.loop_start()
        assert subscribed.wait(PATIENCE_S)

    def ids(self) -> list[str]:
        return [json.loads(body)["id"] for topic, body, _ in self.got if topic != "facesieve/status"]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class TestMqtt:
    def test_topics_retained_state_and_last_words(self, mosquitto: Mosquitto) -> None:
        listener = Listener(mosquitto.port)
        sender = Mqtt("127.0.0.1", mosquitto.port)
        until(lambda: ("facesieve/status", b"online", False) in listener.got)
        sender.send(state(1))
        sender.send(ended(4))
        until(lambda: len(listener.ids()) == 2)
        topics = [topic for topic, _, _ in listener.got]
        assert topics[-2:] == ["facesieve/gate 1/camera_state", "facesieve/gate 1/track_ended"]
        sender.send(deleted(7, 4))
        until(lambda: "facesieve/identity_deleted" in [topic for topic, _, _ in listener.got])
        late = Listener(mosquitto.port, "late")
        until(lambda: len(late.got) >= 2)
        assert {(topic, kept) for topic, _, kept in late.got} == {
            ("facesieve/gate 1/camera_state", True),
            ("facesieve/status", True),
        }
        sender.close()
        until(lambda: listener.got[-1][:2] == ("facesieve/status", b"offline"))
        late.close()
        listener.close()

    def test_a_broker_that_hangs_up_says_why(self, mosquitto: Mosquitto) -> None:
        senders = [Mqtt("127.0.0.1", mosquitto.port, client_id="same", timeout_s=0.1) for _ in range(2)]

        def told() -> bool:
            """Each takes the other's place, for a second at a time."""
            for sender in senders:
                try:
                    sender.send(state(1))
                except DeliveryFailed as failed:
                    if "(the connection as client 'same' " in str(failed):
                        return True
            return False

        until(told)
        for sender in senders:
            sender.close()

    def test_a_broker_that_lets_nobody_in_says_so(self, mosquitto: Mosquitto) -> None:
        mosquitto.kill()
        mosquitto.configure("allow_anonymous false")
        mosquitto.start()
        sender = Mqtt("127.0.0.1", mosquitto.port, timeout_s=0.1)

        def told() -> bool:
            try:
                sender.send(state(1))
            except DeliveryFailed as failed:
                return str(failed).endswith("is not connected (Not authorized)")
            return False

        until(told)
        sender.close()

    def test_an_event_that_the_broker_is_too_small_for_is_refused_and_holds_nothing_up(
        self, mosquitto: Mosquitto
    ) -> None:
        mosquitto.kill()
        mosquitto.configure("max_packet_size 2000")
        mosquitto.start()
        sender = Mqtt("127.0.0.1", mosquitto.port)
        until(sender._client.is_connected)
        until(lambda: sender._most_bytes == 2000)
        large = Message(ended(1).event, {"1.jpg": bytes(4000)})
        with pytest.raises(DeliveryRefused, match="takes packets of 2000 bytes"):
            sender.send(large)
        sender.send(state(1))
        sender.close()

    def test_a_service_that_dies_leaves_its_last_will(self, mosquitto: Mosquitto) -> None:
        listener = Listener(mosquitto.port)
        sender = Mqtt("127.0.0.1", mosquitto.port)
        until(sender._client.is_connected)
        sender._client.socket().shutdown(socket.SHUT_RDWR)  # as a killed process leaves it
        until(lambda: ("facesieve/status", b"offline") in [(t, b) for t, b, _ in listener.got])
        sender.close()
        listener.close()

    def test_a_killed_broker_loses_nothing(self, mosquitto: Mosquitto, spool: Spool) -> None:
        listener = Listener(mosquitto.port)
        sender = Mqtt("127.0.0.1", mosquitto.port, timeout_s=2.0)
        until(sender._client.is_connected)
        with Delivery(spool, {"out": sender}, rng=random.Random(0)) as delivery:
            for i in range(5):
                spool.put(ended(i), 0.0)
            until(lambda: len(listener.ids()) >= 5)
            mosquitto.keep()
            mosquitto.kill()
            for i in range(5, 10):
                spool.put(ended(i), 0.0)
            until(lambda: delivery.reports()["out"].failing)
            mosquitto.start()
            until(listener.client.is_connected)
            until(lambda: len(set(listener.ids())) >= 10)
            until(lambda: spool.report().events == 0)
        assert set(listener.ids()) == {f"b1/gate 1/1/{i}/0/ended" for i in range(10)}
        listener.close()


class TestKafka:
    def test_keys_and_bodies_on_librdkafkas_mock_cluster(self) -> None:
        from confluent_kafka import Consumer

        sender = Kafka({"test.mock.num.brokers": "3"}, topic="faces")
        sender.send(ended(1))
        sender.send(ended(2, identity=7))
        sender.send(state(1))
        brokers = sender._producer.list_topics(timeout=PATIENCE_S).brokers.values()
        consumer = Consumer(
            {
                "bootstrap.servers": ",".join(f"{b.host}:{b.port}" for b in brokers),
                "group.id": "test",
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe(["faces"])
        got: list[Any] = []

        def poll() -> bool:
            record = consumer.poll(0.5)
            if record is not None and record.error() is None:
                got.append(record)
            return len(got) >= 3

        until(poll)
        consumer.close()
        sender.close()
        assert {record.key() for record in got} == {b"camera-gate 1", b"identity-7"}
        ids = {json.loads(record.value())["id"] for record in got}
        assert ids == {ended(1).event.id, ended(2).event.id, state(1).event.id}

    def test_nobody_there(self) -> None:
        sender = Kafka({"bootstrap.servers": f"127.0.0.1:{free_port()}", "log_level": "0"}, timeout_s=1.0)
        with pytest.raises(DeliveryFailed):
            sender.send(ended(1))
        sender.close()


def read_sealed_lines(path: Path, sealer: Sealer, strange: list[bytes]) -> list[bytes]:
    lines = path.read_bytes().splitlines()
    assert all(lines.count(line) <= 1 for line in strange)
    return [sealer.open(line) for line in lines if line not in strange]


class TestEventFolder:
    def test_a_line_an_event_and_its_pictures_beside(self, tmp_path: Path) -> None:
        out = tmp_path / "events"
        folder = EventFolder(out)
        folder.send(ended(1))
        folder.send(state(1))
        lines = [json.loads(line) for line in (out / "2023-11-14.jsonl").read_text().splitlines()]
        assert [line["type"] for line in lines] == ["track_ended", "camera_state"]
        picture = out / lines[0]["images"]["1.jpg"]
        assert picture.read_bytes() == b"\xff\xd8 face"
        assert picture.stat().st_mode & 0o077 == 0
        assert "gate" not in picture.name

    @pytest.mark.parametrize("sealer", [Plain(), Encrypting([new_key()])], ids=["open", "sealed"])
    def test_who_was_deleted_leaves_lines_and_pictures_of_all_days(
        self, tmp_path: Path, sealer: Sealer
    ) -> None:
        out, outside = tmp_path / "events", tmp_path / "mine.jpg"
        outside.write_bytes(b"not of the folder")
        folder = EventFolder(out, sealer=sealer)
        yesterday = AT.model_copy(update={"wall_s": 1_699_900_000.0})
        before = ended(4, identity=7)
        folder.send(Message(before.event.model_copy(update={"at": yesterday}), before.images))
        folder.send(ended(5, identity=7))
        folder.send(ended(6, identity=8))
        folder.send(state(1))
        kept = out / f"2023-11-13.jsonl{sealer.suffix}"
        hostile = sealer.open(kept.read_bytes().splitlines()[0]).replace(b"images/2023-11-13/", b"../")
        strange = [sealer.seal(hostile), sealer.seal(b"[1]"), b"no line of ours"]
        with kept.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in strange))
        untouched = {path: path.read_bytes() for path in (out / "images").rglob("*.jpg*")}
        folder.send(deleted(7, 4))
        lines = [
            json.loads(line)
            for path in (kept, out / f"2023-11-14.jsonl{sealer.suffix}")
            for line in read_sealed_lines(path, sealer, strange[1:])
        ]
        ends = [line for line in lines if line["type"] == "track_ended"]
        assert [(e["track"], e["identity"], len(e["shots"]), len(e["images"])) for e in ends] == [
            (4, None, 0, 0), (4, None, 0, 0), (5, None, 0, 0), (6, 8, 1, 1),
        ]  # fmt: skip
        assert lines[-1]["type"] == "identity_deleted"
        left = {path: path.read_bytes() for path in (out / "images").rglob("*.jpg*")}
        assert len(left) == 1
        assert left.items() <= untouched.items()
        assert outside.exists()
        assert kept.stat().st_mode & 0o077 == 0
        folder.send(deleted(7, 4))  # sent again, as after a crash
        assert {path: path.read_bytes() for path in (out / "images").rglob("*.jpg*")} == left

    def test_a_folder_that_cannot_be_written_keeps_the_event_waiting(self, tmp_path: Path) -> None:
        folder = EventFolder(tmp_path / "events")
        shutil.rmtree(tmp_path / "events")
        (tmp_path / "events").write_text("in the way")
        with pytest.raises(DeliveryFailed):
            folder.send(ended(1))

    def test_old_days_go_also_after_the_clock_was_set_back(self, tmp_path: Path) -> None:
        now_s, days = 1_700_000_000.0, ("2023-10-01", "2023-11-14")
        folder = EventFolder(tmp_path, keep_days=3, now_s=lambda: now_s)
        now_s += 5 * 86_400
        folder.send(state(1))
        now_s -= 5 * 86_400
        (tmp_path / f"{days[0]}.jsonl").write_text("{}\n")
        folder.send(state(2))
        assert sorted(path.stem for path in tmp_path.glob("*.jsonl")) == [days[1]]
