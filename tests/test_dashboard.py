"""The Grafana dashboard asks for metrics that the service has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from live_servers import film
from prometheus_client.parser import text_string_to_metric_families
from web_stack import WebStack, camera_toml

from facesieve.stream.serve.receivers.folder import EventFolder

DASHBOARD = Path(__file__).parent.parent / "deploy" / "grafana" / "facesieve.json"


def test_every_query_names_metrics_and_labels_of_the_service(tmp_path: Path) -> None:
    clip = film(tmp_path / "moving.mp4", seconds=2)
    files = {"files": EventFolder(tmp_path / "events")}
    stack = WebStack(tmp_path, camera_toml("gate", clip), receivers=files)
    try:
        stack.until(lambda: stack.service.cameras()["gate"].quality)
        text = stack.client("read").get("/metrics").text
    finally:
        stack.close()
    families = list(text_string_to_metric_families(text))
    known = {sample.name for family in families for sample in family.samples}
    queries = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]
    assert queries
    for query in queries:
        for name in re.findall(r"\b(?:facesieve|process)_\w+", re.sub(r'"[^"]*"', "", query)):
            if name not in known:
                pytest.fail(f"{query}: the service has no {name}")
