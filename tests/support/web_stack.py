"""The page and the API over a service, on a port of its own: films as cameras, a scripted face in them."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from patience import PATIENCE_S, until

from facesieve.serve_cameras import CameraFile
from facesieve.serve_config import read_serve_config
from facesieve.serve_control import CameraControl
from facesieve.stream.errors import NoFrames
from facesieve.stream.identity.database import SqliteDatabase
from facesieve.stream.identity.edits import settle
from facesieve.stream.identity.rows import ShotRow, TrackRow
from facesieve.stream.identity.sql import SqlStore
from facesieve.stream.pipeline import Pipeline
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.sealing import Encrypting, Plain
from facesieve.stream.selection import TopKSelector
from facesieve.stream.serve.delivery import Delivery, Receiver
from facesieve.stream.serve.events import Message
from facesieve.stream.serve.following import Following
from facesieve.stream.serve.service import Service
from facesieve.stream.serve.shared import BatchingScorer, SharedDetector
from facesieve.stream.serve.spool import Spool
from facesieve.stream.serve.web.app import bare_app, make_app
from facesieve.stream.serve.web.audit import Audit
from facesieve.stream.serve.web.auth import Allowance, Sessions, Token, Tokens
from facesieve.stream.serve.web.live import LiveFeed
from facesieve.stream.serve.web.parts import Limits, Web
from facesieve.stream.serve.web.people import People
from facesieve.stream.serve.web.server import HttpServer, bound
from facesieve.stream.serve.web.trends import Trends
from facesieve.stream.sinks.encode import png
from facesieve.stream.testing import ScriptedScorer
from facesieve.stream.types import F32, Detections, Frame, Quality
from facesieve.trackers.bytetrack import ByteTrack

SECRETS = {"read": "read-0123456789abcdef", "admin": "admin-0123456789abcdef"}
DIMENSION = 8


class Wall:
    def now_s(self) -> float:
        return time.time()


class OneFace:
    """A face that stands still for a second and a half, then is gone for one, and so on."""

    name = "one face"

    def detect(self, frame: Frame) -> Detections:
        if frame.pts_s % 2.5 > 1.5:
            return Detections.empty()
        points = np.array([[[120, 90], [160, 90], [140, 110], [125, 130], [155, 130]]], np.float32)
        return Detections(np.array([[100, 60, 180, 150]], np.float32), np.array([0.9], np.float32), points)

    def close(self) -> None: ...


class ByFirstByte:
    """Whose face it is stands in the picture's third byte."""

    def find(self, data: bytes) -> F32 | None:
        if not data.startswith(b"\xff\xd8"):
            raise NoFrames("the picture: not an image that FFmpeg can read")
        return unit(data[2]) if len(data) > 2 and data[2] < DIMENSION else None


def unit(axis: int) -> F32:
    return np.eye(DIMENSION, dtype=np.float32)[axis]


class WebStack:
    """Started with its cameras; close ends all of it. config: TOML of [serve] and [[camera]] tables."""

    def __init__(
        self,
        folder: Path,
        config: str,
        *,
        tokens: bool = True,
        people: bool = False,
        limits: Limits | None = None,
        receivers: Mapping[str, Receiver] | None = None,
        keys: Sequence[str] = (),
        boot: str = "b00t",
    ) -> None:
        sealer = Encrypting(keys) if keys else Plain()
        self.folder, self.path, self.store_path = folder, folder / "cameras.toml", folder / "identities.db"
        self.path.write_text(config)
        settings, cameras = read_serve_config(self.path), CameraFile(folder, sealer)
        self._stack = ExitStack()
        stack, clock = self._stack, Wall()
        receivers = receivers or {}
        self.spool = stack.enter_context(Spool(folder / "spool.db", list(receivers), sealer=sealer))
        self.feed, self.trends = LiveFeed(), Trends()
        self.store = self._people() if people else None
        self.following = None
        if people:
            self.following = stack.enter_context(
                Following(self, self.spool, boot=boot, clock=clock, watch=self._watch)
            )
            self.following.catch_up()
            self.following.start()
        delivery = stack.enter_context(Delivery(self.spool, receivers, rng=random.Random(0), grace_s=0.5))
        policy = SelectionPolicy(min_hits=1, min_face_px=20, emit="realtime", silent_s=0.0)
        scorer = BatchingScorer(ScriptedScorer(lambda crop: Quality(float(crop.chip.mean()) / 255, "mean")))
        stack.callback(scorer.close)
        pipeline = Pipeline(
            detector=SharedDetector([OneFace()]),
            new_tracker=lambda: ByteTrack(lost_s=0.5),
            scorer=scorer,
            new_selector=lambda source, stills: TopKSelector(policy, source=source, stills=stills),
            hz=0.0,
            ahead=False,
        )
        self.service = stack.enter_context(
            Service(pipeline, self._emit, clock=clock, boot=boot, rng=random.Random(0))
        )
        self.control = CameraControl(self.service, settings, self.path, cameras)
        self.control.begin()
        self.audit_path = folder / "audit.jsonl"
        audit = Audit(self.audit_path, clock.now_s)
        stack.callback(audit.close)
        known = [Token.of(f"{scope}er", scope, secret) for scope, secret in SECRETS.items()]  # type: ignore[arg-type]
        now_s = time.monotonic
        self.web = Web(
            service=self.service,
            spool=self.spool,
            delivery=delivery,
            feed=self.feed,
            trends=self.trends,
            control=self.control,
            people=People(self) if people else None,
            following=self.following,
            finder=ByFirstByte() if people else None,
            tokens=Tokens(known if tokens else []),
            sessions=Sessions(3600, now_s),
            audit=audit,
            limits=limits or Limits(*(Allowance(1000, 1000, now_s) for _ in range(3))),
            engine={"engine": "none", "precision": "fp32"},
            stopping=threading.Event(),
            version="0",
        )
        self.routes = bare_app(self.web).routes
        server = stack.enter_context(HttpServer(make_app(self.web), bound("127.0.0.1", 0)))
        stack.callback(self.feed.close)
        stack.callback(self.web.stopping.set)
        self.url = f"http://127.0.0.1:{server.port}"

    def client(self, scope: str | None = None, **options: Any) -> httpx.Client:
        headers = {} if scope is None else {"Authorization": f"Bearer {SECRETS[scope]}"}
        made = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S, **options)
        self._stack.callback(made.close)
        return made

    def audit(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.audit_path.read_text().splitlines()]

    def until(self, done: Callable[[], Any]) -> Any:
        return until(done, self.service.cameras)

    def in_store(self, work: Callable[[SqlStore], Any]) -> Any:
        return self._worker.submit(work, self._store).result()

    def refresh(self, store: SqlStore) -> None: ...

    def sweep(self, store: SqlStore) -> int:
        kept = {Path(t.out, t.folder, s.chip) for t in store.tracks() for s in store.shots(t.row)}
        gone = [path for path in (self.folder / "people").rglob("*.png") if path not in kept]
        for path in gone:
            path.unlink()
        return len(gone)

    def close(self) -> None:
        self._stack.close()

    def _emit(self, message: Message) -> None:
        self.spool.put(message, time.time())
        self._watch(message)

    def _watch(self, message: Message) -> None:
        self.feed.publish(message)
        self.trends.message(message, time.time())

    def _people(self) -> SqlStore:
        """Two people, if nobody is there: one with two tracks, one with one, each with a picture."""
        self._worker = ThreadPoolExecutor(1)
        self._stack.callback(self._worker.shutdown)
        self._store = self._worker.submit(lambda: SqlStore(SqliteDatabase(self.store_path))).result()
        self._stack.callback(lambda: self._worker.submit(self._store.close).result())

        def fill(store: SqlStore) -> None:
            if store.embedder() is not None:
                return
            store.bind("scripted", DIMENSION)
            with store.transaction():
                source, generation = store.source("live:b00t/gate/1", "gate")
                folder = "people/gate/b00t-1"
                store.add_results(str(self.folder), folder)
                for track, axis in ((1, 0), (2, 0), (3, 1)):
                    chip = f"shots/{track}/1.png"
                    path = self.folder / folder / chip
                    path.parent.mkdir(parents=True)
                    path.write_bytes(png(np.full((112, 112, 3), 40 * track, np.uint8)))
                    identity = axis + 1
                    if track != 2:
                        assert store.new_identity() == identity
                        store.put_identity(identity, linkable=True, total=np.zeros(0))
                    shot = ShotRow(0, 1, 1.0, 0.5, 0.5, chip, None, unit(axis))
                    row = TrackRow(
                        0, source, "gate", generation, track, identity, 10.0 * track, 10.0 * track + 1,
                        5, 0.5, unit(axis), str(self.folder), folder, 1000.0 + track,
                    )  # fmt: skip
                    store.put_track(replace(row), [shot])
                for identity in (1, 2):
                    settle(store, identity)

        self._worker.submit(fill, self._store).result()
        return self._store


def camera_toml(name: str, film: Path, **settings: Any) -> str:
    rest = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    return f'[[camera]]\nname = "{name}"\nurl = {json.dumps(str(film))}\nloop = true\n{rest}'
