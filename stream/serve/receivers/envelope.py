"""Events as CloudEvents 1.0 in JSON (structured mode), the form in which HTTP, MQTT and Kafka carry them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from ..events import Message

MEDIA_TYPE = "application/cloudevents+json"


def cloud_event(message: Message, *, images: bool = True) -> bytes:
    """One UTF-8 JSON object: `data` is the event, with its pictures in `data.images` by name, as base64 JPEG.

    images: False leaves them out. `id` is the same whenever the event is sent again: receivers that must not
    count an event twice go by `source` and `id`.
    """
    event = message.event
    data: dict[str, Any] = event.model_dump(mode="json")
    if images and message.images:
        data["images"] = {name: base64.b64encode(jpeg).decode() for name, jpeg in message.images.items()}
    camera = event.origin.camera
    whole = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/facesieve/cameras/{quote(camera, safe='')}" if camera else "/facesieve",
        "type": f"facesieve.{event.type}",
        "datacontenttype": "application/json",
        "dataschema": "urn:facesieve:event:1",
        "data": data,
    }
    if event.at.wall_s is not None:
        whole["time"] = datetime.fromtimestamp(event.at.wall_s, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps(whole, separators=(",", ":"), allow_nan=False).encode()
