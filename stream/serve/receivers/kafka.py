"""Kafka, through librdkafka."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ConfigError, EngineUnavailable
from ..delivery import DeliveryFailed, DeliveryRefused
from ..events import IdentityDeleted, IdentityUpdated, Message, TrackEnded
from .envelope import MEDIA_TYPE, cloud_event


class Kafka:
    """Produces each event to one topic, idempotently, and returns once all in-sync replicas have it.

    The key is the identity where the event has one, else the camera: what concerns one person, or one camera,
    stays in order in one partition. settings: librdkafka's own (`bootstrap.servers`, `security.protocol` …).
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        topic: str = "facesieve",
        timeout_s: float = 10.0,
        images: bool = True,
    ) -> None:
        try:
            from confluent_kafka import KafkaError, KafkaException, Producer
        except ImportError as missing:
            raise EngineUnavailable("Kafka needs `pip install 'facesieve[kafka]'`") from missing
        self._topic, self._timeout_s, self._images = topic, timeout_s, images
        self._too_large, self._failed = KafkaError.MSG_SIZE_TOO_LARGE, KafkaException
        whole: dict[str, Any] = {
            "client.id": "facesieve",
            **settings,
            "enable.idempotence": True,
            "message.timeout.ms": round(timeout_s * 1000),
        }
        try:
            self._producer = Producer(whole)
        except (KafkaException, ValueError, TypeError) as error:
            raise ConfigError(f"the Kafka settings are refused: {error}") from error

    def send(self, message: Message) -> None:
        """Produce it. Raises DeliveryFailed, or DeliveryRefused for one too large for the broker."""
        told: list[Any] = []
        try:
            self._producer.produce(
                self._topic,
                key=_key(message),
                value=cloud_event(message, images=self._images),
                headers={"content-type": MEDIA_TYPE},
                on_delivery=lambda error, sent: told.append(error),
            )
        except (self._failed, BufferError) as error:
            raise self._why(error) from None
        self._producer.flush(self._timeout_s + 1)
        if not told:
            raise DeliveryFailed("the Kafka brokers did not confirm in time")
        if told[0] is not None:
            raise self._why(self._failed(told[0]))

    def close(self) -> None:
        """Hang up; nothing is under way, as send waits."""
        self._producer.flush(1)

    def _why(self, error: Exception) -> DeliveryFailed | DeliveryRefused:
        cause = error.args[0] if error.args else error
        code = cause.code() if hasattr(cause, "code") else None
        kind = DeliveryRefused if code == self._too_large else DeliveryFailed
        return kind(f"Kafka: {cause.str() if hasattr(cause, 'str') else cause}")


def _key(message: Message) -> str:
    event = message.event
    if isinstance(event, IdentityUpdated | IdentityDeleted):
        return f"identity-{event.identity}"
    if isinstance(event, TrackEnded) and event.identity is not None:
        return f"identity-{event.identity}"
    return f"camera-{event.origin.camera}"
