"""What early shots cost, and what diverse ones bring: one detection and scoring of each clip, many policies.

    python benchmarks/selection.py

Every clip of the shared videos that holds faces is detected, tracked and scored once, with the shipped
models; what the selector was told is then played to selectors of other policies. Writes
benchmarks/results/selection.{json,md}. The figures are of what was chosen, so the machine does not matter.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from facesieve.build import build
from facesieve.config import parse_config
from facesieve.stream.decode.sources import open_source
from facesieve.stream.gate import gate
from facesieve.stream.pipeline import Pipeline
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.pose import head_pose
from facesieve.stream.selection import TopKSelector
from facesieve.stream.types import (
    BestShot,
    Crop,
    Quality,
    Refusal,
    Rejection,
    ShotRevision,
    TrackEnd,
    TrackResult,
    Why,
)
from facesieve.trackers.bytetrack import ByteTrack

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
RESULTS = HERE / "results"
BASE = SelectionPolicy(min_detection=0.5 - 1e-6, min_quality=0.05)
CONFIG = {"components": {"enabled": False}, "selection": {"skip_hopeless": False}}
Told = TrackResult | ShotRevision


class Recorder:
    """A selector that keeps nothing but what it was told. Implements Selector."""

    def __init__(self) -> None:
        self.calls: list[Callable[[TopKSelector], Sequence[Told]]] = []

    def reject(self, track: int, pts_s: float, refusal: Refusal) -> None:
        self.calls.append(lambda selector: selector.reject(track, pts_s, refusal) or ())

    def admit(self, crop: Crop) -> Rejection | None:  # noqa: ARG002 - as the port has it
        return None

    def wants(self, crop: Crop, bound: float) -> bool:  # noqa: ARG002 - as the port has it
        return True

    def wants_components(self, crop: Crop, quality: Quality) -> bool:  # noqa: ARG002 - as the port has it
        return False

    def offer(self, crop: Crop, quality: Quality) -> Rejection | None:
        def again(selector: TopKSelector) -> Sequence[Told]:
            if selector.admit(crop) is None:
                selector.offer(crop, quality)
            return ()

        self.calls.append(again)
        return None

    def advance(self, pts_s: float) -> Sequence[Told]:
        self.calls.append(lambda selector: selector.advance(pts_s))
        return ()

    def end(self, track: int, why: TrackEnd) -> TrackResult | None:
        def again(selector: TopKSelector) -> Sequence[Told]:
            result = selector.end(track, why)
            return () if result is None else (result,)

        self.calls.append(again)
        return None


@dataclass(frozen=True, slots=True)
class Life:
    """What was told of one track."""

    result: TrackResult
    early: tuple[ShotRevision, ...]


def record(clips: Sequence[Path]) -> list[Recorder]:
    """What a selector is told of each clip."""
    recorders = []
    with closing(build(parse_config(CONFIG, "benchmark"))) as built:
        for clip in clips:
            recorder = Recorder()
            pipeline = Pipeline(
                detector=built.detector,
                new_tracker=functools.partial(ByteTrack, high_score=0.5, new_score=0.5, low_score=0.3),
                scorer=built.scorer,
                new_selector=lambda source, stills, recorder=recorder: recorder,
                gate=functools.partial(gate, policy=BASE),
                margin=None,
            )
            with closing(open_source(str(clip))) as source:
                list(pipeline.run(source))
            recorders.append(recorder)
    return recorders


def play(recorders: Sequence[Recorder], policy: SelectionPolicy) -> list[Life]:
    """The tracks that a policy keeps something of."""
    lives = []
    for recorder in recorders:
        selector = TopKSelector(policy, source="clip")
        told = [event for call in recorder.calls for event in call(selector)]
        early = [event for event in told if isinstance(event, ShotRevision)]
        for result in (event for event in told if isinstance(event, TrackResult) and event.shots):
            own = tuple(r for r in early if r.track == result.summary.track)
            lives.append(Life(result, own))
    return lives


def worth(shot: BestShot) -> float:
    return shot.quality.calibrated or 0.0


def early_figures(lives: Sequence[Life]) -> dict[str, Any]:
    """Of the first early shot of each track: how soon, and how much better the best in the end was."""
    first = [(life, life.early[0]) for life in lives if life.early]
    waits = [told.pts_s - life.result.summary.first_pts_s for life, told in first]
    gains = [worth(life.result.shots[0]) - worth(told.shot) for life, told in first]
    last = [worth(life.result.shots[0]) - worth(life.early[-1].shot) for life, _ in first]
    ends = [life.result.summary.last_pts_s - life.result.summary.first_pts_s for life in lives]
    return {
        "tracks": len(lives),
        "told_early": len(first),
        "quick": sum(told.why is Why.QUICK for _, told in first),
        "deadline": sum(told.why is Why.DEADLINE for _, told in first),
        "median_wait_s": round(median(waits), 2),
        "median_length_s": round(median(ends), 2),
        "revisions_a_track": round(fmean(len(life.early) for life in lives), 2),
        "mean_quality_lost_by_the_first": round(fmean(gains), 3),
        "mean_quality_lost_by_the_last": round(fmean(last), 3),
    }


def diverse_figures(lives: Sequence[Life]) -> dict[str, Any]:
    """Of tracks with two shots or more: how good they are and how far apart, by pairs within a track."""
    many = [life.result.shots for life in lives if len(life.result.shots) > 1]
    pairs = [pair for shots in many for pair in combinations(shots, 2)]
    angles, cosines, apart = [], [], []
    for one, other in pairs:
        poses = head_pose(np.stack([one.crop.landmarks, other.crop.landmarks]))[:, :2]
        angles.append(float(np.linalg.norm(poses[0] - poses[1])))
        assert one.quality.embedding is not None
        assert other.quality.embedding is not None
        cosines.append(float(one.quality.embedding @ other.quality.embedding))
        apart.append(abs(one.crop.pts_s - other.crop.pts_s))
    return {
        "tracks": len(many),
        "mean_quality": round(fmean(worth(shot) for shots in many for shot in shots), 3),
        "mean_angle_apart_deg": round(fmean(angles), 1),
        "mean_cosine": round(fmean(cosines), 3),
        "median_apart_s": round(median(apart), 2),
    }


def main() -> None:
    videos = SHARED / "videos"
    clips = sorted(p for p in [*videos.glob("*.m*"), *videos.glob("asl/*.mkv")] if p.stem != "no_face")
    recorders = record(clips)

    def policy(**changes: Any) -> list[Life]:
        return play(recorders, SelectionPolicy(min_detection=0.5 - 1e-6, min_quality=0.05, **changes))

    early = {emit: early_figures(policy(emit=emit)) for emit in ("timeliness", "realtime")}
    diverse = {
        kind if kind == "none" else f"{kind} {weight:g}": diverse_figures(
            policy(diversity=kind, diversity_weight=weight)
        )
        for kind in ("none", "time", "pose", "embedding")
        for weight in ((0.2,) if kind == "none" else (0.1, 0.2, 0.4))
    }
    result = {
        "clips": [str(clip.relative_to(videos)) for clip in clips],
        "early": early,
        "diversity": diverse,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "selection.json").write_text(json.dumps(result, indent=2) + "\n")
    text = page(result)
    (RESULTS / "selection.md").write_text(text)
    print(text)


def page(result: dict[str, Any]) -> str:
    """Markdown tables: a column a policy."""
    parts = [
        f"# Early and diverse shots\n\n`python benchmarks/selection.py`, {len(result['clips'])} clips.\n"
    ]
    for title in ("early", "diversity"):
        table = result[title]
        rows = list(next(iter(table.values())))
        parts.append(f"| {title} | " + " | ".join(table) + " |\n|---|" + "---|" * len(table))
        parts += [
            f"| {row.replace('_', ' ')} | " + " | ".join(str(column[row]) for column in table.values()) + " |"
            for row in rows
        ]
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
