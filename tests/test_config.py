"""The configuration: defaults, the shipped files, and what a wrong key is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from facesieve.config import ByteTrackConfig, Config, OCSortConfig, YuNetConfig, parse_config, read_config
from facesieve.stream.errors import ConfigError

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("run*.toml"))


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").touch()
    assert read_config(tmp_path / "empty.toml") == Config()


def test_a_table_without_kind_is_the_default_kind() -> None:
    assert parse_config({"tracker": {"lost_s": 2.0}}, "test").tracker == ByteTrackConfig(lost_s=2.0)


def test_kinds_choose_the_type() -> None:
    config = parse_config({"tracker": {"kind": "ocsort"}, "detector": {"kind": "yunet", "hz": 0}}, "test")
    assert config.tracker == OCSortConfig()
    assert config.detector == YuNetConfig(hz=0)


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Config().selection.top_k = 5  # type: ignore[misc]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_files_hold(path: Path) -> None:
    assert isinstance(read_config(path), Config)


def test_run_toml_states_the_defaults() -> None:
    run = next(path for path in CONFIGS if path.name == "run.toml")
    assert read_config(run) == Config()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"detectr": {}}, "unknown key `detectr`; did you mean `detector`?"),
        ({"selection": {"zzz": 1}}, "unknown key `selection.zzz`; known here: diversity"),
        ({"detector": {"kind": "yunet", "min_scor": 1}}, "`detector.min_scor`; did you mean `min_score`?"),
        ({"detector": {"hz": -1}}, "`detector.hz`: input should be greater than or equal to 0, got -1"),
        ({"selection": 3}, "`selection`: expected a table, got 3"),
        ({"detector": []}, "`detector`: expected a table"),
        ({"detector": {"kind": "yunett"}}, "`detector.kind`: expected centerface, yunet, "),
        ({"detector": {"kind": "yunett"}}, "got 'yunett'; did you mean `yunet`?"),
        ({"selection": {"top_k": "3"}}, "`selection.top_k`: expected a whole number, got '3'"),
        ({"selection": {"top_k": True}}, "`selection.top_k`: expected a whole number, got True"),
        ({"detector": {"hz": "8"}}, "`detector.hz`: expected a number, got '8'"),
        ({"selection": {"prefer_fit": "yes"}}, "`selection.prefer_fit`: expected true or false, got 'yes'"),
        ({"selection": {"min_face_px": float("inf")}}, "`selection.min_face_px`: expected a finite number"),
        ({"selection": {"min_score": float("nan")}}, "`selection.min_score`: expected a finite number"),
        ({"scorer": {"weights": 3}}, "`scorer.weights`: expected a path, as text, got 3"),
        ({"scorer": {"weights": ""}}, "`scorer.weights`: expected a path, got an empty one"),
        ({"identity": {"store": ""}}, "`identity.store`: "),
    ],
)
def test_errors_name_the_key_and_the_nearest_known(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(table, "mine.toml")
    assert str(refused.value).startswith("mine.toml: ")
    assert message in str(refused.value)


def test_a_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: no such configuration file"):
        read_config(Path("nowhere.toml"))


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the configuration cannot be read: Is a directory"):
        read_config(tmp_path)


def test_a_whole_number_will_do_for_any(tmp_path: Path) -> None:
    assert parse_config({"detector": {"hz": 4}}, "test").detector.hz == 4.0


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(tmp_path / "binary.toml")
