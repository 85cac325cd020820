"""Components and profiles from the configuration to results."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from facesieve.build import build
from facesieve.config import Config, parse_config
from facesieve.engines.zoo.store import Store
from facesieve.score import score_paths, write_table
from facesieve.stream.components import COMPONENTS
from facesieve.stream.decode.sources import open_source
from facesieve.stream.errors import ConfigError, WeightsUnavailable
from facesieve.stream.types import Rejection, TrackResult


@pytest.fixture(scope="module")
def sieve(shared: Path) -> Callable[[dict[str, object]], TrackResult]:
    """The one track of the sample clip under a configuration."""
    try:
        Store().path("centerface"), Store().path("face-mesh")
    except WeightsUnavailable as missing:
        pytest.skip(str(missing))

    results: dict[str, TrackResult] = {}

    def run(table: dict[str, object]) -> TrackResult:
        if str(table) in results:
            return results[str(table)]
        config = parse_config({"identity": {"enabled": False}, **table}, "test")
        with closing(build(config)) as built:
            source = open_source(str(shared / "videos/WolfgangLanger_Pexels.mp4"))
            (results[str(table)],) = built.pipeline.run(source)
        return results[str(table)]

    return run


def test_shots_carry_components_unless_switched_off(
    sieve: Callable[[dict[str, object]], TrackResult],
) -> None:
    shots = sieve({}).shots
    assert len(shots) == 3
    assert all(
        set(COMPONENTS) - {"background_uniformity"} <= shot.quality.components.keys() for shot in shots
    )
    assert not any(shot.quality.components for shot in sieve({"components": {"enabled": False}}).shots)


def test_a_profile_mends_what_the_score_does_not_see(
    sieve: Callable[[dict[str, object]], TrackResult],
) -> None:
    """The score likes this woman calm, with her eyes closed."""
    free = sieve({})
    assert min(shot.quality.components["eyes_open"] for shot in free.shots) < 20
    asked = sieve({"selection": {"profile": "surveillance"}, "components": {"enabled": False}})
    assert len(asked.shots) == 3
    assert min(shot.quality.components["eyes_open"] for shot in asked.shots) > 50
    assert asked.summary.rejected[Rejection.UNFIT] >= 5
    assert asked.summary.failed["eyes_open"] >= 5


def test_an_unknown_profile() -> None:
    with pytest.raises(ConfigError, match="no such profile; shipped are surveillance"):
        build(
            Config().model_copy(update={"selection": Config().selection.model_copy(update={"profile": "x"})})
        )


def test_score_adds_columns(sieve: object, shared: Path) -> None:
    photo = next((shared / "data/lfw-train/images").iterdir())
    config = parse_config({"scorer": {"kind": "analytical"}, "identity": {"enabled": False}}, "test")
    for components in (False, True):
        table = io.StringIO()
        write_table(list(score_paths([photo], config, components=components)), table)
        (row, *_) = csv.DictReader(io.StringIO(table.getvalue()))
        assert ("eyes_open" in row) == components
    assert list(row)[-3:] == ["yaw_deg", "pitch_deg", "roll_deg"]
    assert 0 <= float(row["head_size"]) <= 100


def test_a_profile_that_prefers(sieve: Callable[[dict[str, object]], TrackResult], tmp_path: Path) -> None:
    """Nobody in the clip has so open eyes: refused, no shot is left; preferred, the score's own choice."""
    (tmp_path / "wide.toml").write_text("[eyes_open]\nmin = 100\n[eyes_visible]\nmin = 1\n")
    selection = {"profile": str(tmp_path / "wide.toml")}
    components = {"enabled": False}
    asked = sieve({"selection": selection, "components": components})
    assert asked.shots == ()
    preferred = sieve({"selection": {**selection, "prefer_fit": True}, "components": components})
    best = [shot.crop.pts_s for shot in preferred.shots]
    assert best == [s.crop.pts_s for s in sieve({"selection": {"skip_hopeless": False}}).shots]
    assert {shot.unfit for shot in preferred.shots} == {("eyes_open",)}
    seen, rejected = preferred.summary.frames_seen, preferred.summary.rejected
    assert sum(rejected.values()) + 3 == seen
    assert rejected[Rejection.UNFIT] == asked.summary.rejected[Rejection.UNFIT] - 3
