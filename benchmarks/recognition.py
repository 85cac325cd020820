"""What frame selection does for recognition: who is it, and is it anybody we know?

    python benchmarks/recognition.py [--out benchmarks/results]

One video of a person enrols (the mean of all its frames: the same gallery for every policy); each other video
is a search, with the frames that a policy picks of it. Some people are not enrolled: their videos are the
non-mated searches. Repeated over splits; the intervals resample people. Writes recognition.json and .md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from quality import DLIB, LIGHTQNET, ROOT, SHARED, STUDENT, laplacian, run_student
from recognition_clips import clip_videos
from recognition_policies import STUDENT_NAME, Policy, Videos, policies

from facesieve.engines.models.students import Calibration
from facesieve.engines.zoo.fetch import digest
from facesieve.fiqa.edc import unit
from facesieve.fiqa.embedders import DlibOnChips, MobileFaceNetFoamliu
from facesieve.fiqa.faces import aligned_chips, read_faces
from facesieve.fiqa.identification import Figures, identification, interval, joined, search
from facesieve.fiqa.lightqnet import LightQNet
from facesieve.fiqa.selection import tracks_of
from facesieve.stream.matching import template
from facesieve.stream.types import F32, U8

FPIR = 0.01
REFERENCES = ("all frames, mean", "random, 1 frame", "sharpest, 1 frame", "LightQNet, 1 frame")


@dataclass(frozen=True)
class Split:
    """enrolling: the videos that enrol, one a person. probes: all other videos."""

    enrolling: np.ndarray
    probes: np.ndarray


def draw_splits(persons: np.ndarray, enrolled: int, count: int, seed: int = 0) -> list[Split]:
    """Draws of `enrolled` people and of the video that enrols each."""
    generator, made = np.random.default_rng(seed), []
    for _ in range(count):
        chosen = generator.choice(np.unique(persons), enrolled, replace=False)
        enrolling = np.array([generator.choice(np.flatnonzero(persons == p)) for p in chosen])
        made.append(Split(enrolling, np.setdiff1d(np.arange(len(persons)), enrolling)))
    return made


def whole_templates(vectors: F32, rows: tuple[np.ndarray, ...]) -> F32:
    """(v, d) the mean of each video's frames."""
    return np.stack([template(vectors[r], np.ones(len(r))) for r in rows])


def searched(
    policy: Policy, videos: Videos, gallery: F32, splits: list[Split], strangers: F32, resamples: int
) -> Figures:
    """One policy under one judge. gallery: (v, d) the template with which each video would enrol. strangers:
    (g, d) templates of people who are enrolled too, but never come."""
    numbers = videos.persons.max() + 1 + np.arange(len(strangers))
    parts = []
    for split in splits:
        templates = np.concatenate([gallery[split.enrolling], strangers]).astype(np.float64)
        people = np.concatenate([videos.persons[split.enrolling], numbers])
        made = [(v, share, vectors) for v in split.probes for share, vectors in policy.picks[v]]
        similar = np.stack([(vectors @ templates.T).max(axis=0) for _, _, vectors in made])
        persons = videos.persons[[video for video, _, _ in made]]
        parts.append(search(similar, persons, people, np.array([share for _, share, _ in made])))
    return identification(joined(parts), FPIR, resamples)


def judge(
    videos: Videos, vectors: F32, scores: Mapping[str, F32], weights: F32, splits: list[Split], strangers: F32,
    resamples: int,
) -> dict[str, Any]:  # fmt: skip
    """All policies under one recogniser."""
    gallery = whole_templates(vectors, videos.rows)
    made = policies(videos, vectors, scores, weights)
    done = {p.name: searched(p, videos, gallery, splits, strangers, resamples) for p in made}
    rows = {}
    for policy in made:
        mine = done[policy.name]
        rows[policy.name] = {
            "calls_per_video": policy.calls,
            "rank_one": _triple(mine.rank_one, mine.rank_ones),
            "fnir": _triple(mine.fnir, mine.fnirs),
            "threshold": mine.threshold,
            "fnir_above": {
                other: _triple(mine.fnir - done[other].fnir, mine.fnirs - done[other].fnirs)
                for other in REFERENCES
            },
        }
    return rows


def _triple(value: float, drawn: np.ndarray) -> list[float]:
    made = interval(value, drawn)
    return [made.value, made.low, made.high]


def table(name: str, rows: Mapping[str, Any]) -> list[str]:
    """One recogniser's figures as Markdown."""
    lines = [
        f"Recogniser {name}",
        "",
        "| frames given to the recogniser | calls a video | rank-1 | FNIR at FPIR 1 % | FNIR less all frames' |",
        "|---|---|---|---|---|",
    ]
    for policy, row in rows.items():
        one, miss, more = (
            f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
            for value, low, high in (row["rank_one"], row["fnir"], row["fnir_above"][REFERENCES[0]])
        )
        lines.append(f"| {policy} | {row['calls_per_video']:.1f} | {one} | {miss} | {more} |")
    return [*lines, ""]


def ytf_videos(folder: Path) -> Videos:
    """The video frames of folder/faces.csv."""
    faces = read_faces(folder)
    tracks = tracks_of(faces.identities, faces.videos)
    assert faces.heights_px is not None
    heights = faces.heights_px.astype(np.float32)
    return Videos(aligned_chips(faces), faces.eye_distances_px(), heights, tracks.rows, tracks.persons)


def scored(videos: Videos) -> tuple[dict[str, F32], F32, F32]:
    """Scores of every policy, the student's calibrated quality, and its embeddings."""
    quality, own = run_student(STUDENT, videos.chips, videos.eyes_px)
    calibration = Calibration.beside(STUDENT)
    assert calibration is not None
    scores = {
        "largest": videos.heights,
        "sharpest": laplacian(videos.chips),
        "LightQNet": LightQNet(SHARED / LIGHTQNET).score(videos.chips),
        STUDENT_NAME: quality,
    }
    return scores, np.array([calibration(float(q)) for q in quality], np.float32), own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "out" / "recognition")
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    foamliu = MobileFaceNetFoamliu(SHARED / "models" / "mobilefacenet_foamliu.onnx")
    judges: dict[str, Callable[[U8], F32]] = {"foamliu": foamliu.embed}
    if DLIB.is_file():
        judges["dlib"] = DlibOnChips(DLIB).embed
    films = ytf_videos(SHARED / "data" / "ytf-dev")
    clips, counts = clip_videos(SHARED, arguments.work)
    film_splits = draw_splits(films.persons, len(np.unique(films.persons)) // 2, arguments.splits)
    clip_splits = draw_splits(clips.persons, 3, arguments.splits)
    film_scores, film_weights, film_own = scored(films)
    clip_scores, clip_weights, clip_own = scored(clips)
    result: dict[str, Any] = {
        "student_sha256": digest(STUDENT),
        "fpir": FPIR,
        "splits": arguments.splits,
        "resamples": arguments.resamples,
        "ytf": {"people": int(films.persons.max()) + 1, "videos": len(films.rows), "recognisers": {}},
        "clips": {**counts, "people": int(clips.persons.max()) + 1, "recognisers": {}},
    }
    for name in (*judges, STUDENT_NAME):
        of_films, of_clips = (
            unit(judges[name](videos.chips) if name in judges else own).astype(np.float32)
            for videos, own in ((films, film_own), (clips, clip_own))
        )
        strangers = whole_templates(of_films, films.rows)[np.unique(films.persons, return_index=True)[1]]
        nobody = strangers[:0]
        result["ytf"]["recognisers"][name] = judge(
            films, of_films, film_scores, film_weights, film_splits, nobody, arguments.resamples
        )
        result["clips"]["recognisers"][name] = judge(
            clips, of_clips, clip_scores, clip_weights, clip_splits, strangers, arguments.resamples
        )
        print(f"{name}: done", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "recognition.json").write_text(json.dumps(result, indent=1) + "\n")
    text = "\n".join(page(result))
    (arguments.out / "recognition.md").write_text(text)
    print(text)


def page(result: Mapping[str, Any]) -> list[str]:
    """Everything as Markdown."""
    films, clips = result["ytf"], result["clips"]
    lines = [
        "# Recognition with the selected frames",
        "",
        f"`python benchmarks/recognition.py`, {result['splits']} splits, 95 % intervals resample people "
        f"({result['resamples']} times), student {result['student_sha256'][:8]}. Rank-1: share of searches whose "
        "mate comes first, %. FNIR at FPIR 1 %: share of searches of enrolled people that do not return the mate "
        "first and above the threshold at which 1 % of searches of others return anybody, %. The last column: "
        "FNIR with the policy less FNIR with the mean of all frames (below 0: the policy is better), in points. "
        "The student's quality labels came from foamliu and dlib (on other people): neither is a stranger to it.",
        "",
        f"## YouTube Faces, {films['people']} people, {films['videos']} videos of 5 frames",
        "",
        "Half the people enrol with one video each, the others are strangers.",
        "",
    ]
    for name, rows in films["recognisers"].items():
        lines += table(name, rows)
    lines += [
        f"## {clips['clips']} clips of {clips['people']} people through the pipeline",
        "",
        f"{clips['decoded']:.0f} frames a clip, {clips['faces']:.0f} scored faces in its longest track. "
        "Three of the people enrol with one clip each, beside 163 strangers from YouTube Faces; facesieve-t: the "
        "shots that `facesieve run` keeps by default. Five people decide this: read the intervals.",
        "",
    ]
    for name, rows in clips["recognisers"].items():
        lines += table(name, rows)
    return lines


if __name__ == "__main__":
    main()
