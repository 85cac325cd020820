"""Shots that are told early, and windows: what holds of every sequence of events a track can give."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesieve.stream.errors import ConfigError
from facesieve.stream.policy import Emit, SelectionPolicy
from facesieve.stream.selection import TopKSelector
from facesieve.stream.types import (
    Crop,
    Quality,
    Refusal,
    Rejection,
    ShotRevision,
    TrackEnd,
    TrackResult,
    Why,
)

CHIP = np.zeros((112, 112, 3), np.uint8)
HZ = 8
Event = TrackResult | ShotRevision
Seen = tuple[int, float | None]
"""A frame's number and the calibrated score of the face in it, None where a gate refused it."""


def crop(pts_s: float, track: int = 1) -> Crop:
    box, points = np.zeros(4, np.float32), np.zeros((5, 2), np.float32)
    return Crop(track, 0, pts_s, None, CHIP, None, (0, 0), box, points, 0.9, 40.0, 0.0)


def quality(score: float) -> Quality:
    """Raw scores are a tenth of the calibrated ones, so that neither is taken for the other."""
    return Quality(score / 10, "test", score)


def events(seen: Sequence[Seen], policy: SelectionPolicy, slack: float | None = None) -> list[Event]:
    """All that is told of one track, in order. slack: of the bounds that decide what is scored."""
    selector = TopKSelector(policy, source="clip")
    told: list[Event] = []
    for frame, score in seen:
        if score is None:
            selector.reject(1, frame / HZ, Refusal(Rejection.SMALL))
        elif slack is None or selector.wants(crop(frame / HZ), (score + slack) / 10):
            selector.offer(crop(frame / HZ), quality(score))
        told += selector.advance(frame / HZ)
    result = selector.end(1, TrackEnd.LOST)
    assert result is not None
    told.append(result)
    last = seen[-1][0] / HZ
    assert not selector.advance(last + 99)
    assert selector.end(1, TrackEnd.SHUTDOWN) is None
    return told


SCORES = st.one_of(st.none(), st.integers(0, 20).map(lambda i: i / 20))
TRACKS = st.lists(st.tuples(st.integers(0, 200), SCORES), min_size=1, max_size=60).map(
    lambda seen: sorted(dict(seen).items())
)
POLICIES = st.builds(
    SelectionPolicy,
    top_k=st.integers(1, 3),
    min_gap_s=st.sampled_from([0.0, 0.25, 0.5]),
    min_hits=st.integers(1, 4),
    max_track_s=st.sampled_from([None, 0.1, 1.0, 5.0]),
    diversity=st.sampled_from(["none", "none", "time"]),
    emit=st.sampled_from(["quality", "timeliness", "realtime"]),
    quick_threshold=st.sampled_from([0.5, 0.8, 1.0]),
    max_wait_s=st.sampled_from([0.0, 0.5, 2.0]),
    silent_s=st.sampled_from([0.0, 0.3, 1.0]),
)


@settings(max_examples=200)
@given(TRACKS, POLICIES)
def test_what_holds_of_every_sequence_of_events(seen: list[Seen], policy: SelectionPolicy) -> None:
    told = events(seen, policy)
    results = [event for event in told if isinstance(event, TrackResult)]
    assert [r.summary.window for r in results] == list(range(len(results)))
    assert [r.summary.end for r in results] == [TrackEnd.WINDOW] * (len(results) - 1) + [TrackEnd.LOST]
    assert told[-1] is results[-1]
    for result in results:
        of_window = [e for e in told if isinstance(e, ShotRevision) and e.window == result.summary.window]
        check_revisions(of_window, policy, result)
        where = told.index(result)
        assert all(told.index(revision) < where for revision in of_window)
    check_windows(seen, policy, results)


def check_revisions(told: list[ShotRevision], policy: SelectionPolicy, result: TrackResult) -> None:
    """Numbered from 1, each better than the last and none better than what the end gives."""
    assert [r.revision for r in told] == list(range(1, len(told) + 1))
    scores = [r.shot.quality.score for r in told]
    assert all(a < b for a, b in pairwise(scores))
    times = [r.pts_s for r in told]
    assert all(r.shot.crop.pts_s <= r.pts_s for r in told)
    if policy.emit == "quality":
        assert not told
    elif policy.emit == "timeliness":
        assert len(told) <= 1
    else:
        assert {r.why for r in told} <= {Why.IMPROVED}
        assert all(round(b - a, 6) >= policy.silent_s for a, b in pairwise(times))
    if told and result.summary.end is not TrackEnd.LOST:
        assert result.shots[0].quality.score >= scores[-1]
    elif told:  # early shots waited for min_hits, so the track was no short one
        assert result.shots[0].quality.score >= scores[-1]
        assert Rejection.SHORT_TRACK not in result.summary.rejected


def check_windows(seen: list[Seen], policy: SelectionPolicy, results: list[TrackResult]) -> None:
    """Every detection lies in one window, none lasts too long, and shots of all windows keep the gap."""
    assert sum(r.summary.frames_seen for r in results) == len(seen)
    times = [frame / HZ for frame, _ in seen]
    at = 0
    for result in results:
        summary = result.summary
        own = times[at : at + summary.frames_seen]
        at += summary.frames_seen
        assert (own[0], own[-1]) == (summary.first_pts_s, summary.last_pts_s)
        assert summary.kept + sum(summary.rejected.values()) == summary.frames_seen
        assert summary.kept == len(result.shots) <= policy.top_k
        if policy.max_track_s is not None:
            assert own[-1] - own[0] < policy.max_track_s
            assert at == len(times) or times[at] - own[0] >= policy.max_track_s
    assert policy.max_track_s is not None or len(results) == 1
    kept = sorted(shot.crop.pts_s for result in results for shot in result.shots)
    assert all(b - a >= policy.min_gap_s for a, b in pairwise(kept))


@settings(max_examples=150)
@given(TRACKS, POLICIES, st.sampled_from([0.0, 0.1, 1.0]))
def test_a_sound_bound_changes_nothing_that_is_told(
    seen: list[Seen], policy: SelectionPolicy, slack: float
) -> None:
    def facts(event: Event) -> tuple[object, ...]:
        if isinstance(event, ShotRevision):
            shot = event.shot
            return event.window, event.revision, event.pts_s, event.why, shot.crop.pts_s, shot.quality.score
        summary = event.summary
        shots = [(shot.crop.pts_s, shot.quality.score) for shot in event.shots]
        # A weak face that comes to nothing anyway may be counted as outscored, its score unknown.
        gone = sum(n for reason, n in summary.rejected.items() if reason is not Rejection.SMALL)
        return summary.window, summary.end, summary.frames_seen, gone, shots

    policy = replace(policy, min_score=0.03)
    bounded = events(seen, policy, slack)
    assert [facts(e) for e in bounded] == [facts(e) for e in events(seen, policy)]
    scored = sum(e.summary.frames_scored for e in bounded if isinstance(e, TrackResult))
    assert scored <= sum(score is not None for _, score in seen)


def told_at(scores: Sequence[float | None], **settings: object) -> list[tuple[float, float, Why]]:
    """(told, calibrated score, why) of each revision of a track that is seen four times a second."""
    policy = SelectionPolicy(min_hits=1, **settings)  # type: ignore[arg-type]
    seen = [(2 * i, score) for i, score in enumerate(scores)]
    revisions = [event for event in events(seen, policy) if isinstance(event, ShotRevision)]
    return [(r.pts_s, r.shot.quality.calibrated or 0.0, r.why) for r in revisions]


@pytest.mark.parametrize(
    ("emit", "scores", "told"),
    [
        ("timeliness", [0.2, 0.7, 0.9], [(0.25, 0.7, Why.QUICK)]),
        ("timeliness", [0.2, 0.3, 0.1, 0.2, 0.3, 0.9], [(1.0, 0.3, Why.DEADLINE)]),
        ("timeliness", [0.2, 0.3], []),  # it ended before its time was up: the end tells all
        ("timeliness", [None, None, None, None, None, 0.3, 0.9], [(1.25, 0.3, Why.DEADLINE)]),
        ("realtime", [0.2, 0.1, 0.3], [(0.0, 0.2, Why.IMPROVED), (0.5, 0.3, Why.IMPROVED)]),
        # Better ones within the silent time wait for its end, and only the best of them is told.
        ("realtime", [0.2, 0.3, 0.1, 0.1], [(0.0, 0.2, Why.IMPROVED), (0.5, 0.3, Why.IMPROVED)]),
        ("realtime", [0.2, 0.3], [(0.0, 0.2, Why.IMPROVED)]),
        ("quality", [0.2, 0.9, 1.0], []),
    ],
)
def test_when_a_shot_is_told(
    emit: Emit, scores: list[float | None], told: list[tuple[float, float, Why]]
) -> None:
    assert told_at(scores, emit=emit, quick_threshold=0.6, max_wait_s=1.0, silent_s=0.5) == told


def test_an_early_shot_waits_until_the_track_is_long_enough() -> None:
    policy = SelectionPolicy(min_hits=3, min_track_s=0.5, emit="realtime")
    told = events([(0, 0.9), (1, 0.5), (2, 0.4), (4, 0.3)], policy)
    (revision,) = [event for event in told if isinstance(event, ShotRevision)]
    assert (revision.pts_s, revision.shot.crop.pts_s) == (0.5, 0.0)


def test_every_window_begins_anew() -> None:
    policy = SelectionPolicy(min_hits=1, emit="realtime", silent_s=0.0, max_track_s=1.0)
    told = events([(0, 0.9), (4, 0.95), (8, 0.2), (12, 0.3)], policy)
    kinds = [(e.window, e.revision) if isinstance(e, ShotRevision) else e.summary.end for e in told]
    assert kinds == [(0, 1), (0, 2), TrackEnd.WINDOW, (1, 1), (1, 2), TrackEnd.LOST]


def test_a_short_rest_of_a_long_track_is_kept() -> None:
    policy = SelectionPolicy(min_hits=3, max_track_s=1.0)
    results = events([(0, 0.5), (2, 0.6), (4, 0.7), (9, 0.4)], policy)
    assert [len(r.shots) for r in results if isinstance(r, TrackResult)] == [1, 1]


def test_pictures_tell_nothing_early() -> None:
    selector = TopKSelector(SelectionPolicy(emit="realtime"), source="folder", stills=True)
    selector.offer(crop(0.0), quality(0.9))
    assert not selector.advance(0.0)


def test_early_shots_come_by_track_and_say_whose_they_are() -> None:
    selector = TopKSelector(SelectionPolicy(emit="realtime", min_hits=1), source="clip")
    for track in (7, 3):
        selector.offer(crop(0.0, track), quality(0.9))
    told = selector.advance(0.0)
    assert [(e.source, e.track) for e in told if isinstance(e, ShotRevision)] == [("clip", 3), ("clip", 7)]


def test_a_quick_shot_needs_a_calibration() -> None:
    selector = TopKSelector(SelectionPolicy(emit="timeliness"), source="clip")
    with pytest.raises(ConfigError, match=r"emit = 'timeliness' needs a scorer with .* 'bare' has none"):
        selector.offer(crop(0.0), Quality(0.9, "bare"))


def test_tracks_that_ended_are_remembered_in_bounded_memory() -> None:
    selector = TopKSelector(SelectionPolicy(), source="clip")
    for track in range(5000):
        selector.reject(track, track / 8, Refusal(Rejection.SMALL))
        selector.end(track, TrackEnd.LOST)
    assert len(selector._ended) <= 1024
    with pytest.raises(ValueError, match="track 4000 of 'clip' has ended"):
        selector.reject(4000, 9e9, Refusal(Rejection.SMALL))


@pytest.mark.parametrize(
    ("policy", "calibrated", "marked"),
    [
        (SelectionPolicy(enrol_min_quality=0.6), 0.6, True),
        (SelectionPolicy(enrol_min_quality=0.6), 0.59, False),
        (SelectionPolicy(enrol_min_quality=0.6), None, False),
        (SelectionPolicy(), 1.0, False),
    ],
)
def test_shots_fit_to_enrol_are_marked(
    policy: SelectionPolicy, calibrated: float | None, marked: bool
) -> None:
    selector = TopKSelector(replace(policy, min_hits=1), source="clip")
    selector.offer(crop(0.0), Quality(0.1, "test", calibrated))
    assert [shot.enrol for shot in selector.peek(1)] == [marked]


def fit(components: dict[str, float]) -> tuple[str, ...]:
    return tuple(sorted(name for name, value in components.items() if value < 50))


@pytest.mark.parametrize(
    ("components", "why", "failed"),
    [
        ({"sharpness": 60.0, "face_occlusion_prevention": 70.0}, None, {}),
        ({"sharpness": 60.0, "face_occlusion_prevention": 69.0}, Rejection.OCCLUDED, {}),
        ({"sharpness": 40.0, "face_occlusion_prevention": 70.0}, Rejection.UNFIT, {"sharpness": 1}),
    ],
)
def test_components_decide(
    components: dict[str, float], why: Rejection | None, failed: dict[str, int]
) -> None:
    policy = SelectionPolicy(min_hits=1, max_occlusion=0.3, fit=fit)
    selector = TopKSelector(policy, source="clip")
    scored = Quality(0.5, "test")
    assert selector.wants_components(crop(0.0), scored)
    measured = replace(scored, components=components)
    assert not selector.wants_components(crop(0.0), measured)
    assert selector.offer(crop(0.0), measured) is why
    result = selector.end(1, TrackEnd.LOST)
    assert result is not None
    assert dict(result.summary.rejected) == ({why: 1} if why else {})
    assert dict(result.summary.failed) == failed


def test_components_are_wanted_only_of_what_could_become_a_shot() -> None:
    selector = TopKSelector(
        SelectionPolicy(top_k=1, min_hits=1, max_occlusion=0.3, min_score=0.2), source="c"
    )
    clear = {"face_occlusion_prevention": 100.0}
    assert not selector.wants_components(crop(0.0), Quality(0.1, "test"))
    selector.offer(crop(0.0), Quality(0.5, "test", components=clear))
    assert not selector.wants_components(crop(2.0), Quality(0.4, "test"))
    assert selector.offer(crop(2.0), Quality(0.4, "test")) is None
    assert selector.wants_components(crop(2.1), Quality(0.6, "test"))
    with pytest.raises(ConfigError, match=r"max_occlusion = 0.3 needs the component"):
        selector.offer(crop(2.1), Quality(0.6, "test"))
    result = selector.end(1, TrackEnd.LOST)
    assert result is not None
    assert [shot.crop.pts_s for shot in result.shots] == [0.0]
    assert dict(result.summary.rejected) == {Rejection.OUTSCORED: 1}


JUDGED = st.lists(
    st.tuples(st.integers(0, 80), st.integers(0, 9), st.booleans()), min_size=1, max_size=60
).map(lambda seen: sorted({frame: (frame, score, clear) for frame, score, clear in seen}.values()))


@given(JUDGED, st.integers(1, 3), st.sampled_from([0.0, 0.5, 1.0]))
def test_measuring_few_gives_the_shots_of_measuring_all(
    seen: list[tuple[int, int, bool]], k: int, gap_s: float
) -> None:
    policy = SelectionPolicy(top_k=k, min_gap_s=gap_s, min_hits=1, max_occlusion=0.3)
    selector, plain = (
        TopKSelector(policy, source="a"),
        TopKSelector(replace(policy, max_occlusion=None), source="b"),
    )
    for frame, score, clear in seen:
        made, scored = crop(frame / HZ), Quality(float(score), "test")
        if selector.wants_components(made, scored):
            scored = replace(scored, components={"face_occlusion_prevention": 100.0 * clear})
        selector.offer(made, scored)
        if clear:
            plain.offer(made, scored)
    kept = [[(shot.crop.pts_s, shot.quality.score) for shot in s.peek(1)] for s in (selector, plain)]
    assert kept[0] == kept[1]


@given(JUDGED, st.integers(1, 3), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([None, 2.0]))
def test_the_best_of_the_unfit_are_kept_where_nothing_is_fit(
    seen: list[tuple[int, int, bool]], k: int, gap_s: float, window_s: float | None
) -> None:
    """As if there were no profile where nothing is fit, and as if there were no such option elsewhere."""
    wishing = SelectionPolicy(
        top_k=k, min_gap_s=gap_s, min_hits=1, max_track_s=window_s, fit=fit, prefer_fit=True
    )
    strict, free = replace(wishing, prefer_fit=False), replace(wishing, prefer_fit=False, fit=None)
    told: list[list[TrackResult]] = []
    for policy in (wishing, strict, free):
        selector, results = TopKSelector(policy, source="a"), list[TrackResult]()
        for frame, score, clear in seen:
            measured = {"sharpness": 100.0 * clear, "eyes_open": 50.0 + 50 * clear}
            selector.offer(crop(frame / HZ), Quality(float(score), "test", components=measured))
            results += [e for e in selector.advance(frame / HZ) if isinstance(e, TrackResult)]
            assert selector.held <= 3 * k - 2
        end = selector.end(1, TrackEnd.LOST)
        assert end is not None
        told.append([*results, end])

    before_s = -99.0
    for mine, with_profile, without in zip(*told, strict=True):
        summary = mine.summary
        assert summary.kept + sum(summary.rejected.values()) == summary.frames_seen
        times = [[(s.crop.pts_s, s.quality.score) for s in r.shots] for r in (mine, with_profile, without)]
        unfit = [shot.unfit for shot in mine.shots]
        if any(unfit):
            assert unfit == [("sharpness",)] * len(unfit)
            assert times[1] == []
            assert all(shot.reason.endswith("; none was fit") and not shot.enrol for shot in mine.shots)
            assert summary.failed.get("sharpness", 0) == summary.rejected.get(Rejection.UNFIT, 0)
        if before_s == -99.0:  # a later window keeps its distance to shots that the others may not have
            assert times[0] == (times[1] or times[2])
        before_s = max((shot.crop.pts_s for shot in mine.shots), default=before_s)


def test_what_is_covered_is_not_kept_for_want_of_better() -> None:
    policy = SelectionPolicy(min_hits=1, max_occlusion=0.3, fit=fit, prefer_fit=True)
    selector = TopKSelector(policy, source="clip")
    covered = {"sharpness": 90.0, "face_occlusion_prevention": 10.0}
    assert selector.offer(crop(0.0), Quality(0.5, "test", components=covered)) is Rejection.OCCLUDED
    blurred = {"sharpness": 40.0, "face_occlusion_prevention": 90.0}
    assert selector.offer(crop(1.0), Quality(0.4, "test", components=blurred)) is Rejection.UNFIT
    assert [(shot.crop.pts_s, shot.unfit) for shot in selector.peek(1)] == [(1.0, ("sharpness",))]


def test_nothing_unfit_is_told_early() -> None:
    policy = SelectionPolicy(min_hits=1, emit="realtime", silent_s=0.0, fit=fit, prefer_fit=True)
    selector = TopKSelector(policy, source="clip")
    told = []
    for at, sharpness in ((0.0, 40.0), (1.0, 60.0)):
        selector.offer(crop(at), Quality(0.5 - at / 10, "test", components={"sharpness": sharpness}))
        told += [event.pts_s for event in selector.advance(at)]
    assert told == [1.0]


def test_preferring_needs_a_profile() -> None:
    with pytest.raises(ConfigError, match=r"selection.prefer_fit: expected a selection.profile"):
        SelectionPolicy(prefer_fit=True)
