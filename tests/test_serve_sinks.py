"""What of a sink's configuration is refused before networks are compiled, and how that is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from facesieve.serve import serving
from facesieve.serve_config import parse_serve_config
from facesieve.stream.errors import ConfigError


@pytest.mark.parametrize(
    ("sink", "told"),
    [
        ({"url": "ftp://h/x"}, "url must begin with http"),
        ({"url": "https://h:port/s3cret"}, "url cannot be parsed: expected https://host/path"),
        ({"url": "https://h/x", "ca_file": "/none.pem"}, "ca_file: '/none.pem' cannot be read: No such file"),
        ({"url": "https://h/x", "secret": {"env": "NOT_SET"}}, "secret: the environment variable NOT_SET"),
        ({"url_secret": {"env": "NOT_SET"}}, "url_secret: the environment variable NOT_SET"),
        ({"kind": "mqtt", "host": "h", "tls": True, "ca_file": "{empty}"}, "ca_file: expected certificates"),
        ({"kind": "mqtt", "host": "h", "prefix": "a/#"}, "expected an MQTT prefix without wildcards"),
    ],
)
def test_a_sink_that_cannot_be_is_named(tmp_path: Path, sink: dict[str, Any], told: str) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    sink = {key: str(empty) if value == "{empty}" else value for key, value in sink.items()}
    table = {
        "serve": {"state": str(tmp_path / "state")},
        "sink": [{"kind": "webhook", "name": "door", **sink}],
    }
    config = parse_serve_config(table, "cameras.toml")
    with pytest.raises(ConfigError) as error, serving(config):
        pass
    assert str(error.value).startswith("sink 'door': ")
    assert told in str(error.value)
    assert "s3cret" not in str(error.value)
