"""The figures of a validation on small cases worked out by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.stats import spearmanr

from facesieve.engines.build.ranks import spearman
from facesieve.fiqa.selection import Interval
from facesieve.fiqa.validate.figures import Agreement, Recognition, Regret, agreement, recognition, regret
from facesieve.fiqa.validate.plots import regret_plot
from facesieve.fiqa.validate.sample import Sample, draw, seen_together
from facesieve.fiqa.validate.verdict import Thresholds, judge
from facesieve.stream.sinks.candidates import CandidateRecord


def record(track: int, frame: int, score: float | None = 0.5, rank: int = 0) -> CandidateRecord:
    return CandidateRecord.model_validate(
        {
            "schema": "facesieve.candidate/1",
            "track": track,
            "frame_index": frame,
            "pts_s": frame / 10,
            "score": score,
            "eye_distance_px": 30.0,
            "rank": rank,
            "rejected": None if rank else "outscored",
        }
    )


def sample(
    tracks: list[int], ranks: list[int], student: list[float] | None = None, **other: object
) -> Sample:
    n = len(tracks)
    fields = {
        "rows": np.arange(n),
        "tracks": np.array(tracks),
        "frames": np.arange(n) * 10,
        "times_s": np.arange(n, dtype=np.float64),
        "student": np.array(student if student is not None else range(n), np.float64),
        "ranks": np.array(ranks),
        "weights": np.ones(n),
    }
    return Sample(**{**fields, **other})  # type: ignore[arg-type]


class TestSample:
    RECORDS = tuple(
        record(t, f, 0.1 * f, rank=int(f == 3)) for t, n in ((1, 30), (2, 5), (9, 12)) for f in range(n)
    )

    def test_all_kept_are_in_it_and_the_rest_is_spread_evenly(self) -> None:
        drawn = draw(self.RECORDS, 14, seed=0)
        assert drawn.tracks[drawn.ranks == 1].tolist() == [1, 2, 9]
        others = drawn.tracks[drawn.ranks == 0].tolist()
        assert {t: others.count(t) for t in (1, 2, 9)} == {1: 5, 2: 4, 9: 5}
        assert (np.diff(drawn.rows) > 0).all()

    def test_weights_stand_for_all_candidates(self) -> None:
        drawn = draw(self.RECORDS, 14, seed=0)
        for track, size in ((1, 30), (2, 5), (9, 12)):
            assert drawn.weights[drawn.tracks == track].sum() == pytest.approx(size)

    def test_a_seed_gives_one_sample_and_another_seed_another(self) -> None:
        rows = draw(self.RECORDS, 9, seed=1).rows.tolist()
        assert rows == draw(self.RECORDS, 9, seed=1).rows.tolist()
        assert rows != draw(self.RECORDS, 9, seed=2).rows.tolist()

    def test_more_than_there_are_is_all_of_them(self) -> None:
        assert len(draw(self.RECORDS, 10_000, seed=0)) == len(self.RECORDS)

    def test_only_some_tracks(self) -> None:
        assert len(np.unique(draw(self.RECORDS, 100, seed=0, tracks=2).tracks)) == 2

    def test_what_has_no_score_is_left_out(self) -> None:
        assert draw([record(1, 0, None), record(1, 1)], 5, seed=0).frames.tolist() == [1]

    def test_an_empty_run_is_an_empty_sample(self) -> None:
        assert len(draw([], 5, seed=0)) == 0

    def test_seen_together(self) -> None:
        assert seen_together([record(1, 0), record(2, 0), record(3, 1), record(1, 1)]) == {(1, 2), (1, 3)}


class TestAgreement:
    def test_agrees_with_scipy_ties_and_all(self) -> None:
        rng = np.random.default_rng(0)
        a, b = rng.integers(0, 8, 50), rng.normal(size=50)
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)

    def test_a_monotone_teacher_agrees_wholly(self) -> None:
        drawn = sample([0] * 6 + [1] * 6, [1] + [0] * 5 + [1] + [0] * 5)
        found = agreement(drawn, np.exp(drawn.student), seed=0)
        assert found.overall is not None
        assert found.within is not None
        assert (found.overall.value, found.within.value) == (pytest.approx(1), pytest.approx(1))
        assert found.resampled == "faces"

    def test_tracks_of_two_levels_agree_overall_and_not_within(self) -> None:
        tracks = np.repeat(np.arange(6), 6)
        teacher = np.tile(np.arange(6.0), 6) + 100 * tracks
        drawn = sample(tracks.tolist(), [0] * 36, (-np.tile(np.arange(6.0), 6) + 100 * tracks).tolist())
        found = agreement(drawn, teacher, seed=0)
        assert found.overall is not None
        assert found.within is not None
        assert found.overall.value > 0.9
        assert found.within.value == pytest.approx(-1)
        assert found.resampled == "tracks"

    def test_the_interval_holds_the_truth_about_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(3)
        hits = 0
        for trial in range(8):
            x = rng.normal(size=60)
            y = 0.7 * x + np.sqrt(1 - 0.49) * rng.normal(size=60)
            overall = agreement(sample([0] * 60, [0] * 60, x.tolist()), y, seed=trial).overall
            assert overall is not None
            hits += overall.low <= 6 / np.pi * np.arcsin(0.35) <= overall.high
        assert hits >= 6

    @pytest.mark.parametrize("teacher", [np.arange(4.0), np.ones(20)])
    def test_too_few_faces_or_no_spread_tell_nothing(self, teacher: np.ndarray) -> None:
        assert agreement(sample([0] * len(teacher), [0] * len(teacher)), teacher, seed=0).overall is None


class TestRegret:
    def test_worked_out_by_hand(self) -> None:
        # track 0 kept .6 of .2 .6 .9 (best .9, mean 1.7/3); track 1 kept its best; track 2 kept nothing
        drawn = sample([0, 0, 0, 1, 1, 2], [0, 1, 0, 1, 0, 0])
        found = regret(drawn, np.array([0.2, 0.6, 0.9, 0.8, 0.4, 1.0]), seed=0)
        assert found is not None
        assert found.tracks.tolist() == [0, 1]
        np.testing.assert_allclose(found.regrets, [0.3, 0.0])
        assert found.mean.value == pytest.approx(0.15)
        assert found.share is not None
        assert found.share.value == pytest.approx(0.3 / (0.9 - 1.7 / 3 + 0.2))
        assert (found.kept_rows.tolist(), found.best_rows.tolist()) == ([1, 3], [2, 3])

    def test_chance_counts_what_a_drawn_face_stands_for(self) -> None:
        drawn = sample([0, 0], [1, 0], weights=np.array([1.0, 9.0]))
        found = regret(drawn, np.array([0.5, 1.0]), seed=0)
        assert found is not None
        assert found.share is not None
        assert found.share.value == pytest.approx(0.5 / (1 - 0.95))

    def test_of_a_track_in_windows_the_best_windows_shot_counts(self) -> None:
        drawn = sample([0, 0, 0], [1, 1, 0], student=[0.4, 0.7, 0.1])
        found = regret(drawn, np.array([0.2, 0.6, 0.9]), seed=0)
        assert found is not None
        assert found.kept_rows.tolist() == [1]

    def test_nothing_kept_or_nothing_beside_it_is_no_regret(self) -> None:
        assert regret(sample([0, 0, 1], [0, 0, 1]), np.arange(3.0), seed=0) is None


def towards(*angles_deg: float) -> np.ndarray:
    radians = np.deg2rad(angles_deg)
    return np.stack([np.cos(radians), np.sin(radians)], 1)


class TestRecognition:
    def test_errors_worked_out_by_hand(self) -> None:
        # track 0 at 0° (kept), 10°, 80°; a comparison fails beyond 45°
        drawn = sample([0, 0, 0], [1, 0, 0])
        found = recognition(drawn, towards(0, 10, 80), frozenset(), {}, fmr=0.1, threshold=0.7071, seed=0)
        assert isinstance(found, Recognition)
        assert found.kept.value == pytest.approx(1 / 2)
        assert found.chance.value == pytest.approx(4 / 6)
        assert found.rise.value == pytest.approx(1 / 2 - 4 / 6)

    def test_frames_that_are_near_in_time_are_not_compared(self) -> None:
        drawn = sample([0, 0, 0], [1, 0, 0], times_s=np.array([0.0, 0.4, 2.0]))
        found = recognition(drawn, towards(0, 10, 80), frozenset(), {}, fmr=0.1, threshold=0.7071, seed=0)
        assert isinstance(found, Recognition)
        assert found.kept.value == 1.0
        assert len(found.mated) == 2

    def test_the_threshold_is_the_quantile_of_people_seen_together(self) -> None:
        drawn = sample([0] * 10 + [1] * 10 + [2] * 10, ([1] + [0] * 9) * 3)
        embeddings = np.random.default_rng(0).normal(size=(30, 8))
        found = recognition(drawn, embeddings, frozenset({(0, 1)}), {}, fmr=0.1, threshold=None, seed=0)
        assert isinstance(found, Recognition)
        assert len(found.impostor) == 100
        assert (found.impostor >= found.threshold).mean() == pytest.approx(0.1)

    def test_a_threshold_wants_as_many_impostors_as_its_rate(self) -> None:
        drawn = sample([0] * 10 + [1] * 10, ([1] + [0] * 9) * 2)
        embeddings = np.random.default_rng(0).normal(size=(20, 8))
        found = recognition(drawn, embeddings, frozenset({(0, 1)}), {}, fmr=1e-3, threshold=None, seed=0)
        assert isinstance(found, str)
        assert found.startswith("100 comparisons of people seen together, 1000 make a threshold at FMR 0.001")

    def test_tracks_of_one_identity_are_mated(self) -> None:
        drawn = sample([0, 1], [1, 1])
        found = recognition(drawn, towards(0, 80), frozenset(), {0: 5, 1: 5}, fmr=0.1, threshold=0.7, seed=0)
        assert isinstance(found, Recognition)
        assert (found.kept.value, found.tracks) == (1.0, 2)

    def test_without_company_it_is_not_told(self) -> None:
        found = recognition(
            sample([0, 0], [1, 0]), towards(0, 1), frozenset(), {}, fmr=0.1, threshold=None, seed=0
        )
        assert isinstance(found, str)
        assert "0 comparisons of people seen together" in found

    def test_without_faces_apart_it_is_not_told(self) -> None:
        found = recognition(
            sample([0, 1], [1, 1]), towards(0, 1), frozenset(), {}, fmr=0.1, threshold=0.5, seed=0
        )
        assert found == "no track with a kept shot and other faces 0.5 s away from it"


class TestVerdict:
    def one(self, rho: float, share: float) -> tuple:
        drawn = sample([0, 0], [1, 0], weights=np.array([1.0, 1.0]))
        found = regret(drawn, np.array([0.5, 0.5 + share]), seed=0)
        return Agreement(Interval(rho, 0, 1), None, "faces", 2), found

    def test_all_met_passes(self) -> None:
        agreed, _ = self.one(0.5, 0)
        none = regret(sample([0, 0], [1, 0]), np.array([1.0, 0.5]), seed=0)
        verdict = judge(agreed, none, "alone", Thresholds())
        assert verdict.passed
        assert (
            verdict.line
            == "PASS: spearman 0.500 ≥ 0.2; regret 0.000 ≤ 0.9; recognition error not told (alone)"
        )

    def test_what_falls_short_is_named(self) -> None:
        verdict = judge(*self.one(0.1, 0.4), "alone", Thresholds())
        assert not verdict.passed
        assert verdict.line == "FAIL: spearman 0.100 < 0.2; regret 2.000 > 0.9"

    def test_what_cannot_be_told_fails(self) -> None:
        verdict = judge(Agreement(None, None, "faces", 1), None, "alone", Thresholds())
        assert verdict.line == (
            "FAIL: spearman cannot be told: too few faces; regret cannot be told: too few faces"
        )


@pytest.mark.parametrize("tracks", [1, 2, 5])
def test_tracks_are_counted_in_whole_numbers(tracks: int) -> None:
    rows = np.arange(tracks)
    svg = regret_plot(Regret(Interval(25.0, 25.0, 25.0), None, rows, np.full(tracks, 25.0), rows, rows))
    ticks = re.findall(r">\s*(?:<!-- )?([0-9.]+)(?: -->)?\s*<", svg)
    assert "1" in ticks
    assert not [tick for tick in ticks if "." in tick]
