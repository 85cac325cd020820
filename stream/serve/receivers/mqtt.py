"""MQTT 5, with a topic a camera."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any

from ...errors import ConfigError, EngineUnavailable
from ..delivery import DeliveryFailed, DeliveryRefused
from ..events import CameraState, Message
from .envelope import MEDIA_TYPE, cloud_event
from .tls import tls_context

_UNSAFE = re.compile(r"[+#/\x00-\x1f]")
_HEADER_BYTES = 64


class Mqtt:
    """Publishes each event with QoS 1 under PREFIX/CAMERA/KIND, or PREFIX/KIND if it is of no camera; returns
    once the broker has it.

    `PREFIX/CAMERA/camera_state` is retained, so that who subscribes late knows how every camera is.
    `PREFIX/status` is retained too: "online", and, by the last will, "offline" when this service dies.
    The client's own thread keeps the connection and comes back after an outage.
    """

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        prefix: str = "facesieve",
        client_id: str = "facesieve",
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        ca_file: str | None = None,
        timeout_s: float = 10.0,
        images: bool = True,
    ) -> None:
        try:
            import paho.mqtt.client as mqtt
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as missing:
            raise EngineUnavailable("MQTT needs `pip install 'facesieve[serve]'`") from missing
        if not prefix or "+" in prefix or "#" in prefix:
            raise ConfigError(f"expected an MQTT prefix without wildcards, got {prefix!r}")
        port = port or (8883 if tls else 1883)
        self._shown, self._prefix, self._timeout_s, self._images = f"{host}:{port}", prefix, timeout_s, images
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        client.max_queued_messages_set(16)  # the spool is the queue
        client.reconnect_delay_set(1, 60)
        client.will_set(f"{prefix}/status", "offline", qos=1, retain=True)
        self._client_id, self._why, self._most_bytes = client_id, "", math.inf
        client.on_connect, client.on_disconnect = self._greet, self._part
        if username is not None:
            client.username_pw_set(username, password)
        if tls:
            client.tls_set_context(tls_context(ca_file))
        client.connect_async(host, port, keepalive=30)
        client.loop_start()
        self._client = client

    def send(self, message: Message) -> None:
        """Publish it. Raises DeliveryFailed when the broker has not confirmed it in time, DeliveryRefused for
        one larger than it takes, at which it would hang up again and again."""
        if not self._client.is_connected():
            raise DeliveryFailed(f"the MQTT broker {self._shown} is not connected{self._why}")
        event = message.event
        camera = f"{_UNSAFE.sub('_', event.origin.camera)}/" if event.origin.camera else ""
        topic = f"{self._prefix}/{camera}{event.type}"
        body = cloud_event(message, images=self._images)
        if len(body) + len(topic) + _HEADER_BYTES > self._most_bytes:
            raise DeliveryRefused(
                f"the MQTT broker {self._shown} takes packets of {self._most_bytes:g} bytes, the event has "
                f"{len(body)}"
            )
        sent = self._client.publish(
            topic,
            body,
            qos=1,
            retain=isinstance(event, CameraState),
            properties=self._properties(),
        )
        try:
            sent.wait_for_publish(self._timeout_s)
        except (RuntimeError, ValueError) as error:
            raise DeliveryFailed(f"the MQTT broker {self._shown}: {error}") from None
        if not sent.is_published():
            raise DeliveryFailed(f"the MQTT broker {self._shown} did not confirm in {self._timeout_s:g} s")

    def close(self) -> None:
        """Say goodbye: a clean end sends no last will, so the status is set by hand."""
        if self._client.is_connected():
            gone = self._client.publish(f"{self._prefix}/status", "offline", qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):
                gone.wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _greet(self, client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self._why = f" ({reason})" if reason.is_failure else ""
        self._most_bytes = getattr(properties, "MaximumPacketSize", math.inf)
        if not reason.is_failure:
            client.publish(f"{self._prefix}/status", "online", qos=1, retain=True)

    def _part(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        """The broker seldom says why; the name is told, as a broker hangs up on one of two that share it."""
        if reason.is_failure and not self._why:
            cause = "broke" if str(reason) == "Unspecified error" else f"ended: {reason}"
            self._why = f" (the connection as client {self._client_id!r} {cause})"

    def _properties(self) -> Any:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        made: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        made.ContentType = MEDIA_TYPE
        return made
