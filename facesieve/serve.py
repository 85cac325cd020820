"""`facesieve serve`: from its configuration to a running service, and to its clean end."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2

from .build import Built, Sharing, build
from .serve_cameras import CameraFile
from .serve_config import (
    AnySink,
    FolderTable,
    KafkaTable,
    MqttTable,
    Secret,
    ServeConfig,
    WebhookTable,
)
from .serve_control import CameraControl
from .serve_memory import tidy_heaps
from .serve_people import LivePeople
from .serve_plan import camera_plan
from .serve_state import sole_user
from .serve_web import Watch, page, reserved
from .stream.errors import ConfigError
from .stream.ports import Clock
from .stream.sealing import Encrypting, Plain, Sealer
from .stream.serve.delivery import Delivery, Receiver
from .stream.serve.events import Message
from .stream.serve.following import Following
from .stream.serve.receivers.folder import EventFolder
from .stream.serve.receivers.kafka import Kafka
from .stream.serve.receivers.mqtt import Mqtt
from .stream.serve.receivers.webhook import Webhook
from .stream.serve.service import Service
from .stream.serve.shared import BatchingScorer, SerialAssessor
from .stream.serve.spool import Spool

_LOG = logging.getLogger("facesieve.serve")


class WallTime:
    """The machine's clock."""

    def now_s(self) -> float:
        """Unix seconds."""
        return time.time()


@dataclass(frozen=True, slots=True)
class Serving:
    """A running service and its parts."""

    config: ServeConfig
    built: Built
    service: Service
    control: CameraControl
    spool: Spool
    delivery: Delivery
    people: LivePeople | None
    following: Following | None


def _nobody(message: Message) -> None:
    """Nobody watches."""


@contextmanager
def serving(
    config: ServeConfig,
    *,
    clock: Clock | None = None,
    watch: Callable[[Message], None] = _nobody,
    path: Path | None = None,
) -> Iterator[Serving]:
    """A service of the configuration's cameras and sinks, for as long as the block lasts.

    watch: told of every message, from many threads. path: of the configuration, to read it again.

    Networks are fetched and compiled first, so nothing is missed later. Leaving hangs up, ends the tracks,
    and gives the sinks stop_s to take what is there; the rest waits in the spool for the next start. Tracks
    that a crash of an earlier run cut short are ended first. Raises FacesieveError.
    """
    clock = clock or WallTime()
    boot = uuid.uuid4().hex[:12]
    for camera in config.camera:
        camera_plan(camera, config)  # what cannot be is told before networks are compiled
    with ExitStack() as stack:
        stack.enter_context(tidy_heaps())
        stack.enter_context(_one_thread_each())
        stack.enter_context(sole_user(config.serve.state))
        seal = sealer(config.serve.encryption_keys)
        file = CameraFile(config.serve.state, seal)
        receivers: dict[str, Receiver] = {}
        for table in config.sink:
            receivers[table.name] = receiver = _named_receiver(table, clock, seal)
            stack.callback(receiver.close)  # if it does not come to a delivery, which closes them, too
        most = config.serve.spool_mb << 20
        spool = stack.enter_context(
            Spool(config.serve.state / "spool.db", list(receivers), max_bytes=most, sealer=seal)
        )
        built = stack.enter_context(closing(build(config, sharing=_sharing(config))))
        scorer = built.scorer
        for part in (scorer, built.assessor):
            if isinstance(part, BatchingScorer | SerialAssessor):
                part.prepare()

        def emit(message: Message) -> None:
            spool.put(message, clock.now_s())
            watch(message)

        def on_cameras(number: int) -> None:
            if isinstance(scorer, BatchingScorer):
                scorer.cameras = number

        people = following = None
        if built.linking is not None:
            kept = LivePeople(config.identity, built.linking, config.serve.state, clock, seal)
            people = stack.enter_context(kept)
            following = stack.enter_context(Following(people, spool, boot=boot, clock=clock, watch=watch))
            following.try_now()  # before anything is sent: it may show who was deleted meanwhile
            following.start()
        found = spool.recover(boot, clock.now_s())
        if found:
            _LOG.warning("%d tracks that a crash cut short were ended", found)
        delivery = stack.enter_context(
            Delivery(spool, receivers, rng=random.Random(boot), grace_s=config.serve.stop_s / 2)
        )
        service = stack.enter_context(
            Service(
                built.pipeline,
                emit,
                clock=clock,
                boot=boot,
                rng=random.Random(boot),
                identify=None if people is None else people.identify,
                on_cameras=on_cameras,
                chips=config.serve.chips,
            )
        )
        control = CameraControl(service, config, path, file)
        control.begin()
        yield Serving(config, built, service, control, spool, delivery, people, following)


def serve(config: ServeConfig, stop: threading.Event, *, path: Path | None = None) -> None:
    """Run until stop is set. path: of the configuration; with it the page and the API are served. Raises
    FacesieveError when the service cannot begin."""
    if not config.camera and not config.serve.camera_networks:
        raise ConfigError("no camera is configured: add a [[camera]] table with name and url")
    clock = WallTime()
    with ExitStack() as stack:
        watch = None if path is None else Watch(config, clock)
        told = _nobody if watch is None else watch.message
        place = None if watch is None else stack.enter_context(closing(reserved(config)))
        running = stack.enter_context(serving(config, clock=clock, watch=told, path=path))
        if watch is not None and place is not None:
            stack.enter_context(page(running, watch, place))
        _LOG.info("serving %d cameras", len(running.service.cameras()))
        while not stop.wait(1.0):
            pass
        _LOG.info("stopping %d cameras", len(running.service.cameras()))


def _sharing(config: ServeConfig) -> Sharing:
    wanted = config.serve
    return Sharing(
        detectors=wanted.detectors or os.cpu_count() or 1,
        max_batch=wanted.max_batch,
        max_wait_s=wanted.max_wait_ms / 1000,
        blur_others=wanted.blur_others,
    )


def sealer(keys: Sequence[Secret]) -> Sealer:
    """What seals pictures and embeddings: the first key seals, all open. Raises ConfigError."""
    if not keys:
        return Plain()
    return Encrypting([key.read(f"serve.encryption_keys[{i}]") for i, key in enumerate(keys)])


def _named_receiver(table: AnySink, clock: Clock, seal: Sealer) -> Receiver:
    """Raises ConfigError that says of which sink."""
    try:
        return _receiver(table, clock, seal)
    except ConfigError as error:
        raise ConfigError(f"sink {table.name!r}: {error}") from error


def _receiver(table: AnySink, clock: Clock, seal: Sealer) -> Receiver:
    match table:
        case WebhookTable():
            return Webhook(
                table.url or _secret(table.url_secret, "url_secret") or "",
                secret=_secret(table.secret, "secret"),
                now_s=clock.now_s,
                timeout_s=table.timeout_s,
                images=table.images,
                ca_file=None if table.ca_file is None else str(table.ca_file),
            )
        case MqttTable():
            return Mqtt(
                table.host,
                table.port,
                prefix=table.prefix,
                client_id=table.client_id,
                username=table.username,
                password=_secret(table.password, "password"),
                tls=table.tls,
                ca_file=None if table.ca_file is None else str(table.ca_file),
                timeout_s=table.timeout_s,
                images=table.images,
            )
        case KafkaTable():
            secrets = {name: secret.read(name) for name, secret in table.secrets.items()}
            return Kafka(
                {**table.settings, **secrets},
                topic=table.topic,
                timeout_s=table.timeout_s,
                images=table.images,
            )
        case FolderTable():
            return EventFolder(table.path, sealer=seal, keep_days=table.keep_days, now_s=clock.now_s)


def _secret(secret: Secret | None, what: str) -> str | None:
    return None if secret is None else secret.read(what)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """OpenCV without threads of its own: the cameras' threads are enough."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
