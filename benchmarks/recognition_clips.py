"""The asl clips through the real pipeline: every face of each clip's longest track, and what was kept."""

from __future__ import annotations

import csv
import json
import threading
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from recognition_policies import Videos

from facesieve.config import Config, parse_config
from facesieve.job import output_folders, run_sources
from facesieve.stream.sinks.boxes import read_boxes
from facesieve.stream.sinks.candidates import read_candidates
from facesieve.stream.sinks.records import read_shots


def clip_videos(shared: Path, work: Path) -> tuple[Videos, dict[str, float]]:
    """The clips' faces, and how many frames the pipeline decoded and embedded of a clip, on average.

    All frames: every scored face of a run that detects on every frame. Kept: the shots of a run with the
    default configuration. Both are made anew below `work`.
    """
    table = list(csv.DictReader((shared / "videos" / "asl" / "people.csv").open(encoding="utf-8")))
    clips = [str(shared / "videos" / "asl" / f"{row['clip']}.mkv") for row in table]
    every = parse_config(
        {"detector": {"hz": 0.0}, "output": {"keep_candidates": True, "boxes": True}}, "benchmark"
    )
    whole, usual = _run(clips, work / "every-frame", every), _run(clips, work / "default", Config())
    chips, eyes, heights, rows, shots = [], [], [], [], []
    decoded = []
    for pool, product in zip(whole, usual, strict=True):
        first = sum(map(len, chips))
        found = _pool(pool)
        kept = _kept(product)
        chips += [found[0], kept[0]]
        eyes += [found[1], kept[1]]
        heights += [found[2], np.zeros(len(kept[0]), np.float32)]
        rows.append(np.arange(first, first + len(found[0])))
        shots.append(np.arange(first + len(found[0]), first + len(found[0]) + len(kept[0])))
        decoded.append(json.loads((pool / "run.json").read_text())["counts"]["frames"])
    _, persons = np.unique([row["person"] for row in table], return_inverse=True)
    videos = Videos(
        np.concatenate(chips),
        np.concatenate(eyes),
        np.concatenate(heights),
        tuple(rows),
        persons,
        tuple(shots),
    )
    counts = {
        "clips": len(clips),
        "decoded": float(np.mean(decoded)),
        "faces": float(np.mean([*map(len, rows)])),
    }
    return videos, counts


def _run(clips: list[str], out: Path, config: Config) -> list[Path]:
    outcomes = run_sources(
        clips,
        out,
        config,
        overwrite=True,
        stop=threading.Event(),
        watch=lambda *_: None,
        on_result=lambda *_: None,
    )
    assert all(outcome.exit_code == 0 for outcome in outcomes)
    return output_folders(clips, out)


def _longest(folder: Path) -> int:
    """The track that was seen most: passers-by are not labelled."""
    seen: Counter[int] = Counter()
    for line in (folder / "tracks.jsonl").read_text().splitlines():
        track = json.loads(line)
        seen[track["track"]] += track["frames_seen"]
    return seen.most_common(1)[0][0]


def _pool(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chips, eye distances and box heights of all scored faces of the longest track."""
    track, heights = _longest(folder), {}
    for frame in read_boxes(folder):
        for of, box in zip(frame.tracks, frame.boxes, strict=True):
            heights[frame.frame_index, of] = box[3] - box[1]
    kept = read_candidates(folder)
    mine = [i for i, record in enumerate(kept.records) if record.track == track]
    records = [kept.records[i] for i in mine]
    return (
        kept.chips(mine),
        np.array([record.eye_distance_px for record in records], np.float32),
        np.array([heights[record.frame_index, track] for record in records], np.float32),
    )


def _kept(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Chips and eye distances of the longest track's shots, best first."""
    track = _longest(folder)
    shots = sorted((s for s in read_shots(folder / "shots.jsonl") if s.track == track), key=lambda s: s.rank)
    chips = [cv2.imread(str(folder / shot.chip))[..., ::-1] for shot in shots]
    return np.stack(chips), np.array([shot.eye_distance_px for shot in shots], np.float32)
