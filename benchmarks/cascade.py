"""What the bound on scores saves and costs: every shared film with and without it, by the whole pipeline.

    python benchmarks/cascade.py [--videos FOLDER] [--scorer X.onnx]

Writes benchmarks/results/cascade.json and cascade.md. A track's regret is how much lower its best shot (or
the mean of its shots) scores than when every face is scored; a shot that is missing counts as the least score
that would have been kept.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facesieve.build import Built, build
from facesieve.config import Config, parse_config
from facesieve.engines.models.students import OnnxScorer
from facesieve.stream.decode.sources import open_source
from facesieve.stream.pipeline import Progress
from facesieve.stream.types import TrackResult

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
RESULTS = HERE / "results"


def shots(built: Built, film: Path, hz: float) -> tuple[Progress, dict[int, TrackResult]]:
    """One run: what it did, and every track's result."""
    progress = Progress()
    source = open_source(str(film), threads=1, max_pixels=2**26, image_fps=None, hz=hz)
    with closing(source):
        results = {r.summary.track: r for r in built.pipeline.run(source, progress=progress)}
    return progress, results


def regrets(
    whole: Mapping[int, TrackResult], frugal: Mapping[int, TrackResult], least: tuple[float, float]
) -> list[dict[str, float]]:
    """A row for each track that has shots when every face is scored. least: raw and calibrated score."""
    if whole.keys() != frugal.keys():
        raise SystemExit(f"the runs saw different tracks: {sorted(whole)} and {sorted(frugal)}")
    rows = []
    for track, result in whole.items():
        before, after = _scores(result), _scores(frugal[track])
        if not before:
            continue
        missing = max(0, len(before) - len(after))
        after += [least] * missing
        best = [a - b for a, b in zip(before[0], after[0], strict=True)]
        mean = np.mean(before, 0) - np.mean(after[: len(before)], 0)
        rows.append(
            {
                "best_raw": best[0], "best_calibrated": best[1], "same_best": float(best[0] == 0),
                "mean_raw": float(mean[0]), "mean_calibrated": float(mean[1]), "missing": missing,
            }
        )  # fmt: skip
    return rows


def _scores(result: TrackResult) -> list[tuple[float, float]]:
    return [(s.quality.score, s.quality.calibrated or 0.0) for s in result.shots]


def measure(films: list[Path], config: Config) -> dict[str, Any]:
    all_config = config.model_copy(
        update={"selection": config.selection.model_copy(update={"skip_hopeless": False})}
    )
    report: dict[str, Any] = {"films": {}}
    with closing(build(config)) as frugal, closing(build(all_config)) as whole:
        if not any(model.task == "bound" for model in frugal.models):
            raise SystemExit("this configuration has no bound: nothing to measure")
        least = _least(whole, config)
        for film in films:
            done, every = shots(whole, film, config.detector.hz)
            seldom, few = shots(frugal, film, config.detector.hz)
            report["films"][film.stem] = {
                "candidates": done.scored,
                "scored": seldom.scored,
                "tracks": regrets(every, few, least),
            }
        report["models"] = {m.name: m.sha256 for m in frugal.models}
    return report


def _least(built: Built, config: Config) -> tuple[float, float]:
    """Raw and calibrated score of the worst shot that would be kept."""
    probability = config.selection.min_quality or 0.0
    calibration = built.scorer.calibration if isinstance(built.scorer, OnnxScorer) else None
    raw = calibration.least_raw(probability) if calibration is not None else -math.inf
    return (raw if math.isfinite(raw) else -3.0), probability


def summary(films: Mapping[str, Any]) -> dict[str, float]:
    """Over all tracks of some films."""
    tracks = [track for film in films.values() for track in film["tracks"]]
    candidates, scored = (sum(film[key] for film in films.values()) for key in ("candidates", "scored"))
    found: dict[str, float] = {"candidates": candidates, "scored": scored, "tracks": len(tracks)}
    found["saved"] = 1 - scored / candidates if candidates else 0.0
    found["missing"] = sum(track["missing"] for track in tracks)
    found["same_best"] = float(np.mean([t["same_best"] for t in tracks])) if tracks else 1.0
    for key in ("best_raw", "best_calibrated", "mean_raw", "mean_calibrated"):
        values = [track[key] for track in tracks] or [0.0]
        found[key], found[f"{key}_max"] = float(np.mean(values)), float(np.max(values))
    return found


def table(report: Mapping[str, Any]) -> str:
    lines = [
        f"{report['machine']}. Raw scores of {report['scorer']} span about −4 to 1; calibrated ones 0 to 1.",
        "",
        "| film | faces that pass the gates | scored | calls saved | tracks | same best shot | regret of the "
        "best shot: raw, mean (max) | calibrated | regret of the shots' mean: raw | calibrated |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in report["rows"].items():
        cells = [
            name, f"{row['candidates']}", f"{row['scored']}", f"**{row['saved']:.0%}**", f"{row['tracks']}",
            f"{row['same_best']:.0%}",
            *(f"{row[k]:.4f} ({row[f'{k}_max']:.3f})"
              for k in ("best_raw", "best_calibrated", "mean_raw", "mean_calibrated")),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, default=SHARED / "videos")
    parser.add_argument("--scorer", type=Path, help="a network of one's own, its bound beside it")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    table_of = {"scorer": {"weights": str(arguments.scorer)}} if arguments.scorer else {}
    table_of |= {"engine": {"precision": "bf16"}} if arguments.scorer else {}
    config = parse_config(table_of, "benchmark")
    films = sorted(p for p in arguments.videos.rglob("*") if p.suffix in (".mp4", ".mov", ".mkv"))
    report = measure(films, config)
    clips = {n: f for n, f in report["films"].items() if (arguments.videos / "asl" / f"{n}.mkv").exists()}
    rows = {n: summary({n: f}) for n, f in report["films"].items() if n not in clips}
    if clips:
        rows[f"asl, {len(clips)} clips"] = summary(clips)
    rows["all"] = summary(report["films"])
    report |= {
        "rows": rows,
        "scorer": next(name for name in report["models"] if "bound" not in name and name != "centerface"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "cascade.json").write_text(json.dumps(report, indent=1) + "\n")
    (arguments.results / "cascade.md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
