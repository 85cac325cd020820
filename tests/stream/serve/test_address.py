"""Addresses: what is accepted, and that no secret is ever shown."""

from __future__ import annotations

import ipaddress

import pytest

from facesieve.stream.errors import ConfigError
from facesieve.stream.serve.address import allow_host, camera_address

BY_ID = "/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920_1234ABCD-video-index0"
BY_PATH = "/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1.2:1.0-video-index0"


@pytest.mark.parametrize(
    ("url", "transport", "shown"),
    [
        ("rtsp://cam.lan/stream", "rtsp", "rtsp://cam.lan:554/stream"),
        ("rtsps://cam.lan:9000/", "rtsp", "rtsps://cam.lan:9000/"),
        ("http://[::1]:80/a.m3u8?token=t0ken", "http", "http://[::1]:80/a.m3u8"),
        ("https://cam.lan/live#part", "http", "https://cam.lan:443/live"),
        ("rtmp://u:p4ss@cam.lan/live", "rtmp", "rtmp://cam.lan:1935/live"),
        ("/dev/video0", "v4l2", "/dev/video0"),
        ("v4l2:///dev/video12", "v4l2", "/dev/video12"),
        (BY_ID, "v4l2", BY_ID),
        (f"v4l2://{BY_ID}", "v4l2", BY_ID),
        (BY_PATH, "v4l2", BY_PATH),
        ("/srv/door.mp4", "file", "/srv/door.mp4"),
        ("file:///srv/a%20b.mp4", "file", "/srv/a b.mp4"),
    ],
)
def test_what_a_camera_may_be(url: str, transport: str, shown: str) -> None:
    address = camera_address(url)
    assert (address.transport, address.shown) == (transport, shown)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://cam.lan/x",
        "concat://a|b",
        "rtsp:///nohost",
        "rtsp://cam.lan:99999/x",
        "rtsp://cam lan/x",
        "rtsp://cam.lan/x\ny",
        "v4l2:///etc/passwd",
        "v4l2:///dev/v4l/by-id/../../sda",
        "v4l2:///dev/v4l/by-id/x/y-video-index0",
    ],
)
def test_what_it_may_not_be(url: str) -> None:
    with pytest.raises(ConfigError):
        camera_address(url)


def test_credentials_are_quoted_for_ffmpeg_and_hidden_from_everyone_else() -> None:
    address = camera_address(
        "rtsp://old:gone@cam.lan/x?auth=qu3ry",
        username="us/er",
        password="p@ss:w%rd",  # noqa: S106
    )
    assert address.url == "rtsp://us%2Fer:p%40ss%3Aw%25rd@cam.lan:554/x?auth=qu3ry"
    told = f"{address!r} {address.redacted(f'cannot open {address.url}: bad p@ss:w%rd, auth=qu3ry')}"
    for secret in ("p@ss:w%rd", "p%40ss", "qu3ry", "gone"):
        assert secret not in told
    assert "cannot open" in told


def test_a_bad_url_does_not_show_its_password() -> None:
    with pytest.raises(ConfigError) as told:
        camera_address("rtsp://user:s3cret@cam.lan:port/x")
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "networks", "allowed"),
    [
        ("rtsp://127.0.0.1/x", ["127.0.0.0/8"], True),
        ("rtsp://127.0.0.1/x", ["10.0.0.0/8"], False),
        ("http://169.254.169.254/latest/meta-data", ["10.0.0.0/8", "192.168.0.0/16"], False),
        ("rtsp://[::ffff:127.0.0.1]/x", ["10.0.0.0/8"], False),
        ("rtsp://[::ffff:10.0.0.9]/x", ["10.0.0.0/8"], True),
        ("http://2130706433/x", ["10.0.0.0/8"], False),
        ("rtsp://localhost/x", [], False),
        ("/etc/passwd", ["0.0.0.0/0"], False),
        ("/dev/video0", ["0.0.0.0/0"], False),
    ],
)
def test_addresses_from_outside_stay_in_the_allowed_networks(
    url: str, networks: list[str], allowed: bool
) -> None:
    places = [ipaddress.ip_network(network) for network in networks]
    if allowed:
        allow_host(camera_address(url), places)
    else:
        with pytest.raises(ConfigError):
            allow_host(camera_address(url), places)
