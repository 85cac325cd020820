"""What lies in deploy/ agrees with the product: configuration and ports (test_dashboard.py: metrics)."""

from __future__ import annotations

from pathlib import Path

from facesieve.serve_config import ServeTable, read_serve_config

DEPLOY = Path(__file__).parent.parent / "deploy"


def test_the_configuration_of_the_compose_file_is_one() -> None:
    config = read_serve_config(DEPLOY / "cameras.toml")
    assert config.serve.host == "0.0.0.0"  # noqa: S104  inside the container
    assert config.serve.token, "a host that others can reach needs a token"


def test_the_port_is_the_default_everywhere() -> None:
    port = str(ServeTable().port)
    for name in ("compose.yaml", "prometheus.yml", "Dockerfile.cpu", "Dockerfile.gpu"):
        assert port in (DEPLOY / name).read_text(), name
