"""The service's configuration: the example states every setting, and mistakes are told without secrets."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

from facesieve.serve_config import (
    CameraTable,
    FolderTable,
    KafkaTable,
    MqttTable,
    Secret,
    ServeConfig,
    ServeTable,
    WebhookTable,
    parse_serve_config,
    read_serve_config,
)
from facesieve.serve_plan import camera_plan
from facesieve.stream.errors import ConfigError
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import Detections, Frame

EXAMPLE = Path(__file__).parent.parent / "configs" / "cameras.toml"


def test_the_example_is_read_and_states_every_setting_with_its_default() -> None:
    config = read_serve_config(EXAMPLE)
    text, stated = EXAMPLE.read_text(), tomllib.loads(EXAMPLE.read_text())
    for name in ServeTable.model_fields:
        assert f"\n{name} =" in text or f"\n[[serve.{name}]]" in text, f"[serve] {name}"
    for name, field in ServeTable.model_fields.items():
        if not isinstance(field.default, tuple):
            assert getattr(config.serve, name) == field.get_default(call_default_factory=True), (
                f"[serve] {name}"
            )
    for kind, table in ((CameraTable, stated["camera"][0]), *zip(
        (WebhookTable, MqttTable, KafkaTable, FolderTable), stated["sink"], strict=True
    )):  # fmt: skip
        defaults = {name: field for name, field in kind.model_fields.items() if not field.is_required()}
        for name, field in defaults.items():
            if name in table and field.default is not None and name not in ("settings", "kind"):
                assert table[name] == field.default, f"{kind.__name__}.{name}"


def test_early_shots_are_on_unless_the_file_says_otherwise() -> None:
    assert parse_serve_config({}, "x").selection.emit == "realtime"
    assert parse_serve_config({"selection": {"top_k": 1}}, "x").selection.emit == "realtime"
    assert parse_serve_config({"selection": {"emit": "quality"}}, "x").selection.emit == "quality"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"camera": [{"name": "a", "url": "rtsp://h/x", "hzz": 3}]}, "did you mean `hz`"),
        ({"camera": [{"name": "../a", "url": "rtsp://h/x"}]}, "camera.0.name"),
        ({"camera": [{"name": "a", "url": "x"}, {"name": "a", "url": "y"}]}, "twice"),
        ({"sink": [{"kind": "mqtt", "name": "q", "host": "h", "prot": 1}]}, "did you mean `port`"),
        ({"sink": [{"kind": "pigeon", "name": "q"}]}, "sink.0"),
        ({"sink": [{"kind": "webhook", "name": "q"}]}, "url or url_secret"),
        (
            {"camera": [{"name": "a", "url": "rtsp://h/x", "password": {"env": "A", "file": "b"}}]},
            "one of them",
        ),
        ({"srve": {}}, "did you mean `serve`"),
        (
            {"camera": [{"name": "a", "url": "x", "masks": [[[0, 0], [1, 1], [1, 0], [0, 1]]]}]},
            r"camera\.0\.masks\.0.: expected a polygon that does not cross itself",
        ),
        ({"camera": [{"name": "a", "url": "x", "zones": [[[0, 0], [1, 1.5], [1, 0]]]}]}, "0 to 1, got"),
    ],
)
def test_mistakes_are_named(table: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_serve_config(table, "cameras.toml")


def test_zones_and_masks_reach_the_camera() -> None:
    left = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
    table = {"camera": [{"name": "a", "url": "rtsp://h/x", "zones": [left], "masks": [left]}]}
    config = parse_serve_config(table, "cameras.toml")
    areas = camera_plan(config.camera[0], config).areas
    found = Detections(
        np.array([[10, 10, 20, 20], [80, 10, 90, 20]], np.float32),
        np.ones(2, np.float32),
        np.zeros((2, 5, 2), np.float32),
    )
    frame = Frame("a", 0, 0.0, None, ArrayPicture(np.zeros((50, 100, 3), np.uint8)))
    assert areas.attend(frame, found).tolist() == [False, False]
    assert areas.hide(frame.picture).region(10, 10, 11, 11).tolist() == [[[128, 128, 128]]]


def test_a_mistake_beside_a_secret_does_not_show_it() -> None:
    cameras = [{"name": "a", "url": "rtsp://u:s3cret@h/x"}, {"name": "a", "url": "rtsp://u:s3cret@h/y"}]
    with pytest.raises(ConfigError) as told:
        parse_serve_config({"camera": cameras}, "cameras.toml")
    assert "s3cret" not in str(told.value)
    with pytest.raises(ConfigError) as told:
        parse_serve_config({"camera": [{"name": "a", "url": 7}]}, "cameras.toml")
    assert "camera.0.url" in str(told.value)


@pytest.mark.parametrize(
    "table",
    [
        {"camera": [{"name": "a", "url": "rtsp://h/x", "password": "s3cret"}]},
        {"camera": [{"name": "a", "url": "rtsp://h/x", "password": {"value": "s3cret"}}]},
        {"serve": {"token": [{"name": "a", "secret": "s3cret"}]}},
        {"serve": {"encryption_keys": ["s3cret"]}},
        {"serve": {"camera_secrets": {"gate": "s3cret"}}},
        {"sink": [{"kind": "webhook", "name": "w", "url": "https://h/", "secret": "s3cret"}]},
        {"sink": [{"kind": "mqtt", "name": "m", "host": "h", "password": "s3cret"}]},
    ],
)
def test_a_secret_in_the_file_itself_is_refused_without_being_shown(table: dict) -> None:
    with pytest.raises(ConfigError, match=r"expected \{ env|unknown key") as told:
        parse_serve_config(table, "cameras.toml")
    assert "s3cret" not in str(told.value)


def test_a_network_with_host_bits_is_told_in_words() -> None:
    with pytest.raises(ConfigError) as told:
        parse_serve_config({"serve": {"camera_networks": ["10.0.0.1/8"]}}, "cameras.toml")
    assert str(told.value) == (
        "cameras.toml: `serve.camera_networks`: expected networks such as 10.1.0.0/16: "
        "10.0.0.1/8 has host bits set"
    )


class TestSecrets:
    def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GATE", "pa:ss")
        camera = CameraTable(name="gate", url="rtsp://h/x", username="u", password=Secret(env="GATE"))
        plan = camera_plan(camera, ServeConfig())
        assert plan.address.url == "rtsp://u:pa%3Ass@h:554/x"
        assert "pa:ss" not in repr(plan)
        assert "pa%3Ass" not in repr(plan)

    def test_one_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE"):
            Secret(env="NOT_SET_ANYWHERE").read("camera 'gate': password")

    def test_a_file_must_be_its_owners_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text("hidden\n")
        path.chmod(0o644)
        with pytest.raises(ConfigError, match="chmod 600"):
            Secret(file=path).read("x")
        path.chmod(0o600)
        assert Secret(file=path).read("x") == "hidden"
        os.unlink(path)
        with pytest.raises(ConfigError, match="cannot be read"):
            Secret(file=path).read("x")
