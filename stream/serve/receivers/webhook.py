"""HTTP POST of CloudEvents, signed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from ...errors import ConfigError, EngineUnavailable
from ..delivery import DeliveryFailed, DeliveryRefused
from ..events import Message
from .envelope import MEDIA_TYPE, cloud_event
from .tls import tls_context

SIGNATURE = "X-Facesieve-Signature"
_NEVER = {400, 404, 405, 406, 410, 411, 413, 414, 415, 422, 431}
"""Answers that the same request will get again. Others (401, 403, 408, 425, 429, 5xx …) may pass."""


class Webhook:
    """Posts each event to a URL; 2xx means taken.

    url: http or https; redirects are not followed. secret: signs each request, see signature. timeout_s: for
    connecting and for each read and write. now_s: Unix seconds. images: send the pictures along.
    Certificates are verified; ca_file: a PEM file of authorities besides the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | None,
        now_s: Callable[[], float],
        timeout_s: float = 10.0,
        images: bool = True,
        ca_file: str | None = None,
    ) -> None:
        try:
            import httpx
        except ImportError as missing:
            raise EngineUnavailable("webhooks need `pip install 'facesieve[serve]'`") from missing
        try:
            parts = httpx.URL(url)
        except httpx.InvalidURL:  # whose message may show a part of it
            raise ConfigError("a webhook's url cannot be parsed: expected https://host/path") from None
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ConfigError("a webhook's url must begin with http:// or https:// and a host")
        # Without its path, which is the secret of many a webhook.
        self._shown = f"{parts.scheme}://{parts.netloc.decode('ascii').rpartition('@')[2]}"
        self._errors = httpx.HTTPError
        self._url, self._secret, self._now_s, self._images = url, secret, now_s, images
        self._client = httpx.Client(timeout=timeout_s, verify=tls_context(ca_file), follow_redirects=False)

    def send(self, message: Message) -> None:
        """Post it. Raises DeliveryFailed, or DeliveryRefused for an answer that will stay the same."""
        body = cloud_event(message, images=self._images)
        headers = {"Content-Type": MEDIA_TYPE}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, body, round(self._now_s()))
        try:
            answer = self._client.post(self._url, content=body, headers=headers)
        except self._errors as error:
            raise DeliveryFailed(f"{self._shown}: {type(error).__name__}") from None
        if answer.is_success:
            return
        failed = DeliveryRefused if answer.status_code in _NEVER else DeliveryFailed
        raise failed(f"{self._shown} answered {answer.status_code}")

    def close(self) -> None:
        """Hang up."""
        self._client.close()


def signature(secret: str, body: bytes, unix_s: int) -> str:
    """`t=TIME,v1=HEX`: HMAC-SHA256 with the secret over `TIME.BODY`. Receivers compute it again, compare in
    constant time, and refuse times long past."""
    signed = hmac.new(secret.encode(), f"{unix_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={unix_s},v1={signed}"
