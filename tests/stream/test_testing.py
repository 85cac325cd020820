"""The doubles keep the promises of the ports they stand in for."""

import numpy as np
import pytest

from facesieve.stream.ports import Clock, Detector, FrameSource, Picture, QualityScorer, Sink
from facesieve.stream.testing import (
    ArrayPicture,
    ListSink,
    ListSource,
    ManualClock,
    ScriptedDetector,
    ScriptedScorer,
)
from facesieve.stream.types import Crop, Detections, Quality, TrackEnd, TrackResult, TrackSummary


def picture(height: int = 30, width: int = 40) -> ArrayPicture:
    return ArrayPicture(np.random.default_rng(1).integers(1, 256, (height, width, 3), np.uint8))


def crop(score: float) -> Crop:
    points = np.zeros((5, 2), np.float32)
    chip = np.zeros((112, 112, 3), np.uint8)
    return Crop(1, 0, 0.0, None, chip, None, (0, 0), np.zeros(4, np.float32), points, score, 40.0, 0.0)


def test_they_fit_the_ports() -> None:
    fits_picture: Picture = picture()
    fits_source: FrameSource = ListSource([])
    fits_detector: Detector = ScriptedDetector([])
    fits_scorer: QualityScorer = ScriptedScorer(lambda crop: Quality(0.0, "scripted"))
    fits_sink: Sink = ListSink()
    fits_clock: Clock = ManualClock()
    assert None not in (fits_picture, fits_source, fits_detector, fits_scorer, fits_sink, fits_clock)


def test_region_inside_is_the_pixels_themselves() -> None:
    whole = picture().region(0, 0, 40, 30)
    assert np.array_equal(picture().region(5, 7, 20, 19), whole[7:19, 5:20])


def test_region_over_the_edge_is_black_outside_and_exact_inside() -> None:
    whole = picture().region(0, 0, 40, 30)
    over = picture().region(-3, -2, 43, 36)
    assert over.shape == (38, 46, 3)
    assert np.array_equal(over[2:32, 3:43], whole)
    assert over.astype(int).sum() == whole.astype(int).sum()


def test_region_wholly_outside_is_black() -> None:
    assert not picture().region(100, 100, 110, 105).any()
    assert not picture().region(-10, 3, -2, 8).any()


@pytest.mark.parametrize("corners", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 5, 5, 9)])
def test_region_without_area_is_refused(corners: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="x0 < x1"):
        picture().region(*corners)


def test_shrinking_averages_and_order_swaps_the_channels() -> None:
    whole = picture().region(0, 0, 40, 30).astype(float)
    small = picture().scaled(20, 15)
    blocks = whole.reshape(15, 2, 20, 2, 3).mean((1, 3))
    assert small.shape == (15, 20, 3)
    assert np.abs(small - blocks).max() <= 0.5 + 1e-9
    assert np.array_equal(picture().scaled(20, 15, "bgr"), small[..., ::-1])


@pytest.mark.parametrize(("step", "shape"), [(1, (30, 40)), (4, (8, 10)), (7, (5, 6)), (50, (1, 1))])
def test_luma_takes_every_step_th_sample(step: int, shape: tuple[int, int]) -> None:
    assert picture().luma(step).shape == shape
    assert np.array_equal(picture().luma(step), picture().luma(1)[::step, ::step])


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_a_picture_must_be_rgb_bytes(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        ArrayPicture(bad)


def test_arrays_become_frames_in_time() -> None:
    source = ListSource([np.zeros((2, 3, 3), np.uint8)] * 3, fps=10.0, name="clip")
    frames = list(source)
    assert [(f.source, f.index, f.pts_s, f.wall_s) for f in frames] == [
        ("clip", 0, 0.0, None),
        ("clip", 1, 0.1, None),
        ("clip", 2, 0.2, None),
    ]
    assert source.duration_s == pytest.approx(0.3)
    with pytest.raises(RuntimeError, match="once"):
        iter(source)


def test_detections_come_by_frame_index() -> None:
    one = Detections(np.ones((1, 4), np.float32), np.ones(1, np.float32), np.ones((1, 5, 2), np.float32))
    frames = list(ListSource([np.zeros((2, 3, 3), np.uint8)] * 3))
    detector = ScriptedDetector({1: one})
    assert [len(detector.detect(frame)) for frame in frames] == [0, 1, 0]
    assert detector.seen == [0, 1, 2]


def test_scorer_applies_its_function_and_counts_batches() -> None:
    scorer = ScriptedScorer(lambda crop: Quality(2 * crop.detection_score, "double"))
    assert [q.score for q in scorer.score([crop(0.25), crop(0.5)])] == [0.5, 1.0]
    assert list(scorer.score([])) == []
    assert scorer.batches == [2, 0]


def test_sink_keeps_results_until_closed() -> None:
    summary = TrackSummary("clip", 1, None, 0.0, 1.0, 1, 0, 0, {}, TrackEnd.LOST)
    with ListSink() as sink:
        sink.write(TrackResult(summary, ()))
    assert [r.summary.track for r in sink.results] == [1]
    with pytest.raises(RuntimeError, match="close"):
        sink.write(TrackResult(summary, ()))


def test_the_clock_only_goes_forward() -> None:
    clock = ManualClock(5.0)
    clock.advance(0.5)
    assert clock.now_s() == 5.5
    with pytest.raises(ValueError, match="≥ 0"):
        clock.advance(-1.0)
