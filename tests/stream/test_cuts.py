from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from facesieve.stream.cuts import SceneCuts

Look = tuple[float, np.ndarray]
# Seen by eye in a contact sheet of every frame: frames 20, 82 and 211 are the first of a new shot.
HAMILTON_CUTS_S = [1.5193, 3.5880, 7.8922]


def strided(path: Path) -> Iterator[Look]:
    """(PTS, luma of about 120 columns) of every frame."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma = frame.to_ndarray(format="gray")
            step = -(-luma.shape[1] // 120)
            assert frame.time is not None
            yield float(frame.time), np.ascontiguousarray(luma[::step, ::step])


def at(looks: list[Look], rate: float | None, phase_s: float = 0.0) -> list[Look]:
    """Every look, or about `rate` a second from phase_s on."""
    if rate is None:
        return looks
    kept, due = [], looks[0][0] + phase_s
    for pts, luma in looks:
        if pts >= due - 1e-6:
            kept.append((pts, luma))
            due = pts + 1 / rate
    return kept


def cuts(looks: list[Look]) -> list[float]:
    detector = SceneCuts()
    return [pts for pts, luma in looks if detector.is_cut(luma, pts)]


@pytest.fixture(scope="module")
def hamilton(shared: Path) -> list[Look]:
    return list(strided(shared / "videos" / "short_hamilton_clip.mp4"))


@pytest.fixture(scope="module")
def asl(shared: Path) -> tuple[list[Look], list[float]]:
    """The clips joined end to end: one room, the people change. Also the time of each join."""
    looks: list[Look] = []
    joins: list[float] = []
    start = 0.0
    for path in sorted((shared / "videos" / "asl").glob("*.mkv")):
        clip = list(strided(path))
        joins.append(start + clip[0][0])
        looks += [(start + pts, luma) for pts, luma in clip]
        start = looks[-1][0] + 1 / 30
    return looks, joins[1:]


def test_every_frame_of_hamilton(hamilton: list[Look]) -> None:
    assert cuts(hamilton) == pytest.approx(HAMILTON_CUTS_S, abs=1e-3)


@pytest.mark.parametrize("rate", [8, 10, 15])
@pytest.mark.parametrize("phase_s", [0.0, 1 / 30, 2 / 30, 3 / 30])
def test_hamilton_some_times_a_second(hamilton: list[Look], rate: int, phase_s: float) -> None:
    """Each cut at the first look after it. A head thrown across half the picture at 2.4 s may count too."""
    looks = at(hamilton, rate, phase_s)
    due = [min(pts for pts, _ in looks if pts > cut - 1e-3) for cut in HAMILTON_CUTS_S]
    got = cuts(looks)
    assert set(due) <= set(got)
    assert all(2.38 < extra < 2.56 for extra in set(got) - set(due))


@pytest.mark.parametrize(
    ("rate", "phase_s"), [(None, 0), (15, 0), (8, 0), (8, 1 / 30), (8, 2 / 30), (8, 0.1), (6, 0)]
)
def test_every_join_and_nothing_else(
    asl: tuple[list[Look], list[float]], rate: float | None, phase_s: float
) -> None:
    looks = at(asl[0], rate, phase_s)
    due = [min(pts for pts, _ in looks if pts > join - 1e-3) for join in asl[1]]
    assert cuts(looks) == due


@pytest.mark.parametrize("rate", [None, 15, 8, 6])
@pytest.mark.parametrize(
    "name",
    ["walking_crowd_1080p.mp4", "carphone_pristine.mp4", "single_face.mp4", "WolfgangLanger_Pexels.mp4"],
)
def test_one_shot_has_no_cut(shared: Path, name: str, rate: float | None) -> None:
    assert cuts(at(list(strided(shared / "videos" / name)), rate)) == []


@pytest.mark.parametrize(("name", "cut_s"), [("face_noface.mov", 2.40), ("noface_face.mov", 3.95)])
def test_cut_through_black(shared: Path, name: str, cut_s: float) -> None:
    got = cuts(at(list(strided(shared / "videos" / name)), 8))
    assert len(got) == 1
    assert cut_s <= got[0] < cut_s + 0.2


def scene(seed: int) -> np.ndarray:
    """A made-up picture with structure at several scales, (68, 240) float."""
    rng = np.random.default_rng(seed)
    layers = [
        np.kron(rng.normal(0, 25, (-(-68 // n), -(-240 // n))), np.ones((n, n)))[:68, :240]
        for n in (34, 12, 4)
    ]
    return np.asarray(120 + sum(layers))


def shown(picture: np.ndarray, rng: np.random.Generator, noise: float = 4.0) -> np.ndarray:
    return np.clip(picture[:, :120] + rng.normal(0, noise, (68, 120)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("rate", [8, 30])
def test_noise_exposure_pan_and_flash_are_no_cuts(rate: int) -> None:
    rng, still = np.random.default_rng(0), scene(1)
    steps = range(3 * rate)
    noisy = [(k / rate, shown(still, rng, 12.0)) for k in steps]
    exposed = [(k / rate, shown(still * (1 + 0.4 * (k >= rate)), rng)) for k in steps]
    panned = [(k / rate, shown(np.roll(still, -round(40 * k / rate), 1), rng)) for k in steps]
    flashed = [(k / rate, shown(still + 170 * (k == rate), rng)) for k in steps]
    for looks in (noisy, exposed, panned, flashed):
        assert cuts(looks) == []


@pytest.mark.parametrize("rate", [8, 30])
def test_cut_to_a_bright_scene_is_found_within_the_time_of_a_flash(rate: int) -> None:
    rng = np.random.default_rng(0)
    looks = [(k / rate, shown(scene(1) if k < rate else scene(2) + 90, rng)) for k in range(3 * rate)]
    got = cuts(looks)
    assert len(got) == 1
    assert 1.0 <= got[0] <= 1.0 + 0.3 + 1 / rate


def test_is_cheap() -> None:
    rng, detector = np.random.default_rng(0), SceneCuts()
    looks = [(k / 30, shown(scene(1), rng)) for k in range(300)]
    spent = []
    for pts, luma in looks:
        start = time.thread_time()
        detector.is_cut(luma, pts)
        spent.append(time.thread_time() - start)
    # The fastest tenth: what it costs when no other process has the core. A frame of 30 a second lasts 33 ms.
    assert float(np.percentile(spent, 10)) < 1e-3


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), np.zeros((0, 4), np.uint8)]
)
def test_other_than_luma_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected luma"):
        SceneCuts().is_cut(wrong, 0.0)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="expected change"):
        SceneCuts(standout=0.5)
