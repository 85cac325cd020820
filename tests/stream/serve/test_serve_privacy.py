"""`facesieve serve` with all of privacy on, as its own process: killed, refused without its key, resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from patience import PATIENCE_S, until

from facesieve.stream.sealing import Encrypting, new_key, read_sealed

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def test_killed_and_started_again_with_its_key_and_never_without(tmp_path: Path, shared: Path) -> None:
    key, out, log = new_key(), tmp_path / "events", tmp_path / "log"
    config = tmp_path / "cameras.toml"
    config.write_text(
        f"""
        [serve]
        state = {json.dumps(str(tmp_path / "state"))}
        blur_others = true
        chips = true
        encryption_keys = [{{ env = "TEST_KEY" }}]
        [selection]
        silent_ms = 200
        [identity]
        enabled = true
        [[camera]]
        name = "desk"
        url = {json.dumps(str(shared / "videos" / "WolfgangLanger_Pexels.mp4"))}
        loop = true
        masks = [[[0, 0], [0.1, 0], [0.1, 1], [0, 1]]]
        [[sink]]
        kind = "folder"
        name = "files"
        path = {json.dumps(str(out))}
        keep_days = 1
        """
    )

    def start(secret: str | None) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if secret is not None:
            environment["TEST_KEY"] = secret
        command = [sys.executable, "-m", "facesieve", "serve", "--no-web", "--config", str(config)]
        with log.open("ab") as file:
            return subprocess.Popen(command, stderr=file, env=environment, cwd=tmp_path)

    def events() -> list[dict[str, Any]]:
        sealed = [read_sealed(path, Encrypting([key])) for path in out.glob("*.jsonl.enc")]
        return [json.loads(line) for data in sealed for line in data.splitlines()]

    def traces(folder: Path) -> list[Path]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        marks = (b"\xff\xd8\xff\xe0", b"\x89PNG", b"eye_distance_px")
        return [p for p in files if any(m in p.read_bytes() for m in marks)]

    process = start(key)
    try:
        until(lambda: any(event["type"] == "shot" for event in events()))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for secret, told in ((None, "TEST_KEY is not set"), (new_key(), "encrypted with another key")):
            refused = start(secret)
            assert refused.wait(PATIENCE_S) == 2
            assert told in log.read_text()
        process = start(key)
        until(lambda: any(e["type"] == "track_ended" and e["end"] == "crash" for e in events()))
        until(lambda: len({e["origin"]["boot"] for e in events() if e["type"] == "shot"}) == 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert key not in log.read_text()
    assert traces(out) == []
    assert traces(tmp_path / "state") == []
    told = [e for e in events() if e["type"] == "track_ended" and e["images"]]
    assert len({e["id"] for e in events()}) == len(events())
    assert told
    for event in told:
        for name, path in event["images"].items():
            data = read_sealed(out / path, Encrypting([key]))
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            assert image.shape == (112, 112, 3) or not name.endswith("_chip.jpg")
    assert list((tmp_path / "state" / "people").rglob("*.png.enc"))
