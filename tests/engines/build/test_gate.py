from __future__ import annotations

import numpy as np
import pytest

from facesieve.engines.build import gate
from facesieve.engines.build.gate import Chips, fidelity, require
from facesieve.stream.errors import ConfigError, FacesieveError, GateFailed

TRACKS = np.repeat([f"v{i:02d}" for i in range(20)], 5)


def test_same_scores_are_perfect() -> None:
    scores = np.random.default_rng(1).standard_normal(100)
    found = fidelity(scores, scores, TRACKS, np.ones(100))
    assert (found.spearman, found.same_best, found.kept_best) == (pytest.approx(1), 1, 1)
    assert (found.tracks, found.largest_change, found.cosine_least) == (20, 0, 1)
    for precision in ("fp16", "bf16", "int8"):
        require(found, precision, "m")


def test_a_replacement_counts_only_within_the_margin() -> None:
    original = np.tile([0.0, 1.0, 2.0, 3.0, 10.0], 20)
    original[[3, 8]] = 9.9, 8.0  # the second best of two tracks: close behind, and far behind
    compiled = original.copy()
    compiled[[3, 8]] = 11.0
    found = fidelity(original, compiled, TRACKS, margin=0.1)
    assert found.same_best == 18 / 20
    assert found.kept_best == 19 / 20
    assert found.largest_change == pytest.approx(3.0)
    assert fidelity(original, compiled, TRACKS, margin=0.0).kept_best == 18 / 20


def test_tracks_of_one_frame_decide_nothing() -> None:
    scores = np.arange(6.0)
    found = fidelity(scores, scores, np.array(["a", "a", "b", "c", "d", "e"]))
    assert (found.chips, found.tracks) == (6, 1)


@pytest.mark.parametrize(
    ("noise", "passes"),
    [(0.002, {"fp16", "bf16", "int8"}), (0.1, {"int8"}), (0.5, set())],
)
def test_thresholds_by_precision(noise: float, passes: set[str]) -> None:
    generator = np.random.default_rng(5)
    # Tracks whose frames lie apart, so that the noise shows in the ranks before it shows in the picks.
    original = np.tile([-2.0, -1.0, 0.0, 1.0, 2.0], 20) + generator.uniform(-0.3, 0.3, 100)
    found = fidelity(original, original + noise * generator.standard_normal(100), TRACKS)
    for precision in gate.THRESHOLDS:
        if precision in passes:
            require(found, precision, "m")
        else:
            with pytest.raises(
                GateFailed, match=r"m: does not choose .*Spearman 0\.\d+ \(expected ≥ 0\.\d+\)"
            ):
                require(found, precision, "m")


def test_picks_alone_can_fail_it() -> None:
    original = np.tile([0.0, 1.0, 2.0, 3.0, 3.2], 20) + np.repeat(np.arange(20.0) * 10, 5)
    compiled = original.copy()
    compiled[3::5] += 0.5
    found = fidelity(original, compiled, TRACKS, margin=0.001)
    assert found.spearman > 0.999
    assert found.kept_best == 0
    with pytest.raises(GateFailed, match=r"best frame kept in 0\.00% of 20 tracks"):
        require(found, "int8", "m")


def test_a_score_that_is_no_number_never_passes() -> None:
    scores = np.arange(100.0)
    with pytest.raises(GateFailed):
        require(fidelity(scores, np.full(100, np.nan), TRACKS), "int8", "m")


def test_gate_failed_has_its_exit_code() -> None:
    assert GateFailed.exit_code == 35
    codes = [
        kind.exit_code for kind in _below(FacesieveError) if kind.__module__ == FacesieveError.__module__
    ]
    assert len(codes) == len(set(codes))


def _below(kind: type[FacesieveError]) -> list[type[FacesieveError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _below(child))]


@pytest.mark.parametrize(
    ("chips", "tracks", "eyes"),
    [
        (np.zeros((2, 112, 112, 3), np.float32), 2, 2),
        (np.zeros((2, 100, 112, 3), np.uint8), 2, 2),
        (np.zeros((2, 112, 112, 3), np.uint8), 1, 2),
        (np.zeros((2, 112, 112, 3), np.uint8), 2, 3),
    ],
)
def test_chips_of_another_shape_are_refused(chips: np.ndarray, tracks: int, eyes: int) -> None:
    with pytest.raises(ConfigError, match="expected chips"):
        Chips(chips, np.array(["v"] * tracks), np.zeros(eyes, np.float32))
