"""Camera addresses: which are allowed, and how they are shown without their secrets."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ..decode.names import printable
from ..errors import ConfigError

Transport = Literal["rtsp", "http", "rtmp", "v4l2", "file", "folder"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SCHEMES: dict[str, Transport] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "http": "http",
    "https": "http",
    "rtmp": "rtmp",
    "rtmps": "rtmp",
    "v4l2": "v4l2",
    "file": "file",
}
# udev's names for a camera stay its own; its number goes to whoever comes first.
_DEVICE = re.compile(r"/dev/video\d{1,3}|/dev/v4l/by-(?:id|path)/[\w#+.:=@\\-]+-video-index\d+")
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a camera is.

    transport: how it is reached. url: what FFmpeg opens, with credentials, so never to be shown; a path for
    v4l2, file and folder. shown: the same without credentials, query and fragment. host: None where it is a
    path.
    """

    transport: Transport
    url: str = field(repr=False)
    shown: str
    host: str | None
    port: int | None
    _secrets: tuple[str, ...] = field(default=(), repr=False)

    def redacted(self, text: str) -> str:
        """Text of FFmpeg or of a peer, free of this address's secrets and of control characters."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return printable(text)


def camera_address(url: str, *, username: str | None = None, password: str | None = None) -> Address:
    """The address in a configuration: a URL, a V4L2 device (is_device), the path of a file, or that of a
    folder (one that is there, or a path that ends in a slash).

    Credentials stand in the URL or beside it; those beside it win. Raises ConfigError, which shows no secret.
    """
    if is_device(url):
        return Address("v4l2", url, url, None, None)
    if "://" not in url:
        return _local("file", url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        user, secret = parts.username, parts.password
    except ValueError as error:
        raise ConfigError("a camera's url cannot be parsed: expected scheme://host:port/path") from error
    transport = _SCHEMES.get(parts.scheme.lower())
    if transport is None:
        raise ConfigError(
            f"a camera's url has the scheme {printable(parts.scheme)!r}: expected one of "
            f"{', '.join(sorted(_SCHEMES))}"
        )
    if transport in ("v4l2", "file"):
        return _local(transport, unquote(parts.path))
    if not host or re.search(r"[\s\x00-\x1f]", url):
        raise ConfigError("a camera's url needs a host and no blanks or control characters")
    user = username if username is not None else None if user is None else unquote(user)
    secret = password if password is not None else None if secret is None else unquote(secret)
    port = port or _PORTS[parts.scheme.lower()]
    place = f"[{host}]" if ":" in host else host
    login = (
        ""
        if user is None
        else quote(user, safe="") + ("" if secret is None else f":{quote(secret, safe='')}")
    )
    netloc = f"{login}@{place}:{port}" if login else f"{place}:{port}"
    whole = urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))
    shown = urlunsplit((parts.scheme, f"{place}:{port}", parts.path, "", ""))
    hidden = {whole, netloc, login, quote(secret, safe="") if secret else "", secret or "", parts.query}
    return Address(
        transport,
        whole,
        printable(shown),
        host,
        port,
        tuple(sorted((h for h in hidden if len(h) > 2), key=len, reverse=True)),
    )


def is_device(path: str) -> bool:
    """Whether a path is a V4L2 device's: `/dev/videoN`, or udev's name for it, in `/dev/v4l/by-id/`
    (`…-video-indexN`) or `by-path/`."""
    return _DEVICE.fullmatch(path) is not None


def _local(transport: Transport, path: str) -> Address:
    if transport == "v4l2" and not is_device(path):
        raise ConfigError(
            f"expected v4l2:///dev/videoN or v4l2:///dev/v4l/by-id/…-video-indexN, got {printable(path)!r}"
        )
    if path.endswith("/") or (path and Path(path).is_dir()):
        return Address("folder", path, printable(path), None, None)
    return Address(transport, path, printable(path), None, None)


_SECRET = re.compile(
    r"(?:^|[?&;/])[^=&;/?]*(?:pass|pwd|token|secret|key|auth|sign)[^=&;/?]*=[^&;/?]", re.IGNORECASE
)


def without_login(url: str) -> tuple[str, str | None, str | None]:
    """A URL without its credentials, and these: name and password, None where absent. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        user, password = parts.username, parts.password
    except ValueError as error:
        raise ConfigError("a camera's url cannot be parsed: expected scheme://host:port/path") from error
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    return bare, user and unquote(user), password and unquote(password)


def tells_a_secret(url: str) -> bool:
    """Whether a path or query seems to hold one, by the names of its parameters: `/user=x&password=y`."""
    parts = urlsplit(url)
    return _SECRET.search(f"{parts.path}?{parts.query}") is not None


def allow_host(address: Address, networks: Sequence[Network], known: str | None = None) -> str:
    """Refuse an address that points outside the networks: for addresses that come over the API.

    Every address that the name resolves to must lie in one of them. Local devices and files are always
    refused. known: the IP address that the host had, in place of a name that cannot be resolved now. Returns
    one of the IP addresses. Raises ConfigError.
    """
    if address.host is None:
        raise ConfigError(f"{address.shown}: devices and files may be named in the configuration only")
    try:
        answers = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        places = sorted({str(answer[4][0]) for answer in answers})
    except (OSError, UnicodeError) as error:  # UnicodeError: no name that DNS could hold
        if known is None:
            raise ConfigError(f"{address.shown}: its host cannot be resolved ({error})") from error
        places = [known]
    for place in places:
        ip = ipaddress.ip_address(place.partition("%")[0])
        mapped = getattr(ip, "ipv4_mapped", None)
        if not any((mapped or ip) in network for network in networks):
            raise ConfigError(
                f"{address.shown}: its host lies outside the allowed networks "
                f"(serve.camera_networks: {', '.join(map(str, networks)) or 'none'})"
            )
    return places[0]


def resolved(address: Address, networks: Sequence[Network], known: str | None = None) -> tuple[Address, str]:
    """The same address by its IP, which allow_host has seen: its name cannot come to point elsewhere later;
    and that IP.

    With TLS the name stays, as certificates are of names, and nobody else's server has one for it. Raises
    ConfigError as allow_host does.
    """
    place = allow_host(address, networks, known)
    parts = urlsplit(address.url)
    if parts.scheme.lower() in ("rtsps", "rtmps"):
        return address, place
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    netloc = f"{login}{f'[{place}]' if ':' in place else place}:{address.port}"
    return replace(address, url=urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))), place
