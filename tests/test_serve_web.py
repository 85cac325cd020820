"""What of the page's configuration is refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesieve.serve import WallTime
from facesieve.serve_config import parse_serve_config
from facesieve.serve_web import Watch
from facesieve.stream.errors import ConfigError


def watch(**serve: object) -> Watch:
    return Watch(parse_serve_config({"serve": serve}, "cameras.toml"), WallTime())


def token(path: Path, secret: str) -> dict[str, object]:
    path.write_text(secret)
    path.chmod(0o600)
    return {"name": path.name, "secret": {"file": str(path)}}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
def test_others_are_served_with_tokens_only(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[\[serve\.token\]\]"):
        watch(host=host)
    assert len(watch(host=host, token=[token(tmp_path / "operator", "0123456789abcdef")]).tokens) == 1


def test_tokens_are_read_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE"):
        watch(token=[{"name": "a", "secret": {"env": "NOT_SET_ANYWHERE"}}])
    with pytest.raises(ConfigError, match="16 characters") as told:
        watch(token=[token(tmp_path / "short", "hunter2")])
    assert "hunter2" not in str(told.value)


def test_tokens_have_names_of_their_own(tmp_path: Path) -> None:
    one = token(tmp_path / "a", "0123456789abcdef")
    with pytest.raises(ConfigError, match="twice"):
        watch(token=[one, one])


def test_networks_are_networks() -> None:
    with pytest.raises(ConfigError, match="camera_networks"):
        watch(camera_networks=["10.0.0.1/8"])
