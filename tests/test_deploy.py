"""What lies in deploy/ agrees with the product: configuration, metrics, ports."""

from __future__ import annotations

import json
import re
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


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    source = Path(__file__).parent.parent / "stream" / "serve" / "web"
    known = "\n".join(path.read_text() for path in source.rglob("*.py"))
    panels = json.loads((DEPLOY / "grafana" / "facesieve.json").read_text())["panels"]
    asked = {m for p in panels for t in p["targets"] for m in re.findall(r"facesieve_(\w+)", t["expr"])}
    assert len(asked) >= 8
    for metric in asked:
        name = metric.removesuffix("_bucket").removesuffix("_total")
        assert re.search(rf"[\"'](facesieve_)?{name}[\"'_]", known), metric
