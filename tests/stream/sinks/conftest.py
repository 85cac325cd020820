"""Track results made of drawn pictures: what a sink does with them does not depend on what they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest

from facesieve.stream.types import (
    BestShot,
    Crop,
    Quality,
    Rejection,
    ScorePoint,
    TrackEnd,
    TrackResult,
    TrackSummary,
)


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 RGB: a smooth colour field with a drawn head, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (4, 3, 3), np.uint8)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    tone = tuple(int(v) for v in rng.integers(120, 230, 3))
    cv2.ellipse(field, (width // 2, height // 2), (width // 4, height // 3), 0, 0, 360, tone, -1)
    return field


def shot(track: int, rank: int, pts_s: float, score: float, source: str, wall_s: float | None) -> BestShot:
    landmarks = np.array([[40, 50], [72, 50], [56, 70], [44, 90], [70, 90]], np.float32)
    crop = Crop(
        track=track,
        frame_index=round(pts_s * 25),
        pts_s=pts_s,
        wall_s=wall_s,
        chip=picture(100 * track + rank, 112, 112),
        portrait=picture(100 * track + rank, 250, 200),
        portrait_origin=(10 * track, 5),
        box=np.array([10.1, 20.2, 110.3, 145.4], np.float32),
        landmarks=landmarks + np.float32(track / 3),
        detection_score=0.987654321,
        eye_distance_px=32.0,
        truncated=0.0,
    )
    parts = {"sharpness": score, "pose": 0.5, "exposure": 1.0}
    unit = np.full(4, 0.5, np.float32)
    return BestShot(source, crop, Quality(score, "drawn-1", None, parts, unit), rank, f"rank {rank}")


def drawn_result(
    track: int,
    scores: Sequence[float] = (0.8, 0.6),
    *,
    start_s: float = 0.0,
    source: str = "lobby.mp4",
    wall_s: float | None = None,
    identity: int | None = None,
) -> TrackResult:
    """A track seen 20 times, 0.1 s apart, with a shot kept for each score."""
    shots = tuple(
        shot(track, rank, start_s + 0.4 * rank, score, source, wall_s) for rank, score in enumerate(scores, 1)
    )
    kept = {round(s.crop.pts_s, 6): s.quality.score for s in shots}
    times = [round(start_s + 0.1 * i, 6) for i in range(20)]
    timeline = tuple(
        ScorePoint(t, kept.get(t, 0.1 + 0.02 * i), None if t in kept else Rejection.OUTSCORED)
        for i, t in enumerate(times)
    )
    left = 20 - len(shots)
    rejected = {Rejection.OUTSCORED: left - 5, Rejection.SMALL: 5}
    summary = TrackSummary(
        source, track, identity, times[0], times[-1], 20, 15, len(shots), rejected, TrackEnd.LOST, timeline
    )
    return TrackResult(summary, shots)


@pytest.fixture
def make_result() -> Callable[..., TrackResult]:
    """drawn_result, for tests."""
    return drawn_result
