"""Figures by hand on a few faces, and against the plain definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.fiqa import edc
from facesieve.fiqa.evaluate import comparisons
from facesieve.fiqa.evaluate.comparisons import compare, mated_similarity, upper_quantile
from facesieve.fiqa.evaluate.datasets import Dataset, FaceImage, PairList, Templates
from facesieve.fiqa.evaluate.figures import as_faces, judge_figures, rank_agreement, ranks, template_figures
from facesieve.fiqa.selection import oracle_quality, tracks_of


def dataset(people: list[str], videos: list[str], **parts: PairList | Templates) -> Dataset:
    files = tuple(f"{i}.jpg" for i in range(len(people)))
    images = tuple(FaceImage(b"") for _ in files)
    return Dataset("tiny", "faces.csv", files, images, np.array(people), np.array(videos), **parts)


def at_degrees(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane: similarities are cosines of differences."""
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1).astype(np.float32)


def crowd(
    seed: int, people: int = 30, videos: int = 3, frames: int = 4
) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """People with noisy frames; the noise is what a perfect quality score would tell."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), videos * frames)
    noise = rng.uniform(0.1, 1.2, len(who))
    vectors = rng.normal(size=(people, 16))[who] + noise[:, None] * rng.normal(size=(len(who), 16))
    clips = [f"p{i // (videos * frames)}/v{i // frames}" for i in range(len(who))]
    return dataset([f"p{w}" for w in who], clips), vectors.astype(np.float32), -noise


@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=60),
    st.floats(0.01, 0.99),
)
def test_upper_quantile_is_numpys(values: list[float], share: float) -> None:
    enough = int(np.ceil((1 - share) * len(values))) + 2
    highest = np.sort(values)[max(len(values) - enough, 0) :]
    assert upper_quantile(highest, len(values), share) == pytest.approx(np.quantile(values, share), abs=1e-12)


@pytest.mark.parametrize("block", [7, 50, 1024])
@pytest.mark.parametrize("fmr", [1e-3, 0.1, 0.9])
def test_blocks_give_the_plain_definition(monkeypatch: pytest.MonkeyPatch, block: int, fmr: float) -> None:
    monkeypatch.setattr(comparisons, "BLOCK", block)
    people, vectors, _ = crowd(0)
    found = compare(vectors, people, fmr)
    plain = edc.verification(vectors, people.identities, people.videos, fmr)
    assert found.threshold == pytest.approx(plain.threshold, abs=1e-12)
    order = np.lexsort((found.second, found.first))
    assert found.first[order].tolist() == plain.first.tolist()
    assert found.second[order].tolist() == plain.second.tolist()
    assert (np.diff(found.first) >= 0).all()  # ties of quality are broken by file order
    np.testing.assert_allclose(found.similarities[order], plain.similarities, atol=1e-12)


def test_published_pairs_decide_alone() -> None:
    """Genuine 0–1 (10°), 2–3 (80°); impostors 0–2 (60°) and 1–3 (30°): at FMR .5 the threshold lies between
    cos 60° and cos 30°, so 2–3 fails."""
    pairs = PairList(np.array([0, 2, 0, 1]), np.array([1, 3, 2, 3]), np.array([True, True, False, False]))
    people = dataset(["a", "a", "b", "b"], ["1", "2", "3", "4"], pairs=pairs)
    found = compare(at_degrees(0, 10, 60, -20), people, 0.5)
    assert found.threshold == pytest.approx((np.cos(np.pi / 3) + np.cos(np.pi / 6)) / 2)
    assert found.errors.tolist() == [False, True]
    figures = judge_figures(
        people, at_degrees(0, 10, 60, -20), {"good": np.array([2.0, 2.0, 1.0, 3.0])}, 0.5, 5
    )
    good = figures.methods["good"]
    assert good.curve[:, 1].tolist() == [0.5, 0.0]
    assert good.areas[1.0].value == pytest.approx(0.5)
    assert good.selection is None
    assert figures.fnmr == 0.5


def test_sets_without_a_kind_of_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="expected pairs of one person and of different people"):
        compare(at_degrees(0, 10), dataset(["a", "b"], ["1", "2"]), 0.1)


def test_oracle_is_the_mean_similarity_to_other_videos() -> None:
    people, vectors, _ = crowd(1)
    pairs = compare(vectors, people, 1e-2)
    expected = oracle_quality(vectors, tracks_of(people.identities, people.videos))
    np.testing.assert_allclose(mated_similarity(pairs, len(people)), expected, atol=1e-12)


def test_a_score_that_tells_the_noise_beats_chance() -> None:
    people, vectors, quality = crowd(2)
    unknown = np.where(np.arange(len(quality)) % 7 == 0, -np.inf, quality)
    figures = judge_figures(people, vectors, {"noise": quality, "gaps": unknown}, 0.05, 50)
    noise, chance, oracle = (figures.methods[name] for name in ("noise", "random", "oracle"))
    assert oracle.areas[0.3].value < noise.areas[0.3].value < 0.9 < chance.areas[0.3].value < 1.1
    assert noise.areas[0.3].low <= noise.areas[0.3].value <= noise.areas[0.3].high
    assert noise.selection is not None
    assert oracle.selection is not None
    assert 0.3 < noise.selection.gap_closed.value < 1.05
    assert oracle.selection.gap_closed.value == pytest.approx(1.0)
    assert figures.random_fnmr is not None
    assert noise.selection.fnmr.value < figures.random_fnmr
    assert figures.methods["gaps"].areas[0.3].value < 1.0
    assert noise.curve[0].tolist() == pytest.approx([0.0, figures.fnmr])


def test_ranks_leave_unscored_faces_no_weight() -> None:
    assert ranks(np.array([3.0, -np.inf, 5.0, 4.0])).tolist() == [0.25, 0.0, 0.75, 0.5]


def test_spearman() -> None:
    a, rising, falling = np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 40]), np.array([4.0, 3, 2, 1])
    table = rank_agreement({"a": a, "rising": rising, "falling": falling, "flat": np.zeros(4)})
    assert table["a"]["rising"] == pytest.approx(1.0)
    assert table["a"]["falling"] == pytest.approx(-1.0)
    assert np.isnan(table["a"]["flat"])
    part = np.array([1.0, 2, 3, -np.inf])
    assert rank_agreement({"a": falling, "part": part})["a"]["part"] == pytest.approx(-1.0)


def test_templates_by_hand() -> None:
    """Template 0 holds a good frame at 0° and a bad one at 90°; its mate lies at 5°, strangers at 120°, 125°.

    The plain mean of template 0 points to 45°: 40° from the mate, 75° from the stranger. The good frame alone
    is 5° from its mate. With a stranger of template 0 at 60° (impostor pair 0–3), the plain mean is 15° from
    that stranger, nearer than from its mate: an error; weighting by quality cures it.
    """
    rows = (np.array([0, 1]), np.array([2]), np.array([3]))
    pairs = PairList(np.array([0, 0]), np.array([1, 2]), np.array([True, False]))
    media = np.array([1, 2, 3, 4])
    vectors = at_degrees(0, 90, 5, 60)
    quality = {"good": np.array([3.0, -np.inf, 1.0, 2.0]), "bad": np.array([1.0, 5.0, 2.0, 3.0])}
    found = template_figures(vectors, Templates(rows, media, pairs), quality, 0.5)
    assert found.plain == 1.0
    assert found.weighted == {"good": 0.0, "bad": 1.0}
    assert found.best["good"] == {1: 0.0, 3: 1.0, 5: 1.0}
    assert found.best["bad"] == {1: 1.0, 3: 1.0, 5: 1.0}


def test_faces_of_one_medium_count_as_one() -> None:
    """Nine frames of a clip at 90° and a photograph at 0°: the mean lies at 45°, 40° from the mate at 5°."""
    rows = (np.arange(10), np.array([10]), np.array([11]))
    pairs = PairList(np.array([0, 0]), np.array([1, 2]), np.array([True, False]))
    vectors = at_degrees(0, *[90] * 9, 5, 93)
    apart = template_figures(vectors, Templates(rows, np.arange(12), pairs), {}, 0.5)
    joined = template_figures(vectors, Templates(rows, np.array([1, *[2] * 9, 3, 4]), pairs), {}, 0.5)
    assert apart.plain == 1.0
    assert joined.plain == 0.0


def test_sets_of_templates_compare_templates_only() -> None:
    """Templates (0°, 20°), (12°), (70°), (85°): the first two are one person, as are the last two; media are
    apart, so template 0 points to 10°. Genuine: 2° and 15°; impostors 58° to 75°."""
    rows = (np.array([0, 1]), np.array([2]), np.array([3]), np.array([4]))
    pairs = PairList(np.array([0, 2, 0, 1]), np.array([1, 3, 2, 3]), np.array([True, True, False, False]))
    people = dataset(["a", "a", "a", "b", "b"], ["1", "2", "3", "4", "5"])
    people = replace(people, templates=Templates(rows, np.arange(5), pairs), by_template=True)
    quality = {"q": np.array([5.0, 1.0, 4.0, -np.inf, 2.0])}
    figures = judge_figures(people, at_degrees(0, 20, 12, 70, 85), quality, 0.5, 5)
    assert figures.genuine == 2
    expected = (np.cos(np.radians(60)) + np.cos(np.radians(73))) / 2
    assert figures.threshold == pytest.approx(expected, abs=1e-6)
    _, means, scores = as_faces(people, people.templates, at_degrees(0, 20, 12, 70, 85), quality)
    assert scores["q"].tolist() == [3.0, 4.0, -np.inf, 2.0]
    assert np.degrees(np.arctan2(*means[0][::-1])) == pytest.approx(10.0, abs=1e-4)
    assert figures.templates is not None
    assert figures.templates.plain == 0.0


def test_no_gap_where_the_oracle_is_no_better() -> None:
    """Every frame of a person is the same: there is nothing to choose."""
    people = dataset(["a"] * 4 + ["b"] * 4, ["1", "1", "2", "2", "3", "3", "4", "4"])
    figures = judge_figures(people, at_degrees(*[0] * 4, *[50] * 4), {"q": np.arange(8.0)}, 0.5, 5)
    selection = figures.methods["q"].selection
    assert selection is not None
    assert np.isnan(selection.gap_closed.value)
    assert np.isnan(figures.methods["q"].areas[0.3].value)
    assert selection.fnmr.value == figures.random_fnmr == figures.oracle_fnmr == 0.0
