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
from recognition_page import page
from recognition_policies import REFERENCES, STUDENT_NAME, Policy, Videos, policies

from facesieve.engines.models.students import Calibration
from facesieve.engines.zoo.fetch import digest
from facesieve.fiqa.edc import unit
from facesieve.fiqa.embedders import DlibOnChips, MobileFaceNetFoamliu
from facesieve.fiqa.faces import aligned_chips, read_faces
from facesieve.fiqa.identification import Searches, fnir, fpir, identification, interval, joined, search
from facesieve.fiqa.lightqnet import LightQNet
from facesieve.fiqa.selection import tracks_of
from facesieve.stream.identity.thresholds import VerificationTable
from facesieve.stream.matching import template
from facesieve.stream.types import F32, U8

FPIR = 0.01
SHIPPED_FMRS = (1e-3, 1e-4, 1e-5)
ENROLLED_IN_CLIPS = 3


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


def searches(policy: Policy, videos: Videos, gallery: F32, splits: list[Split], strangers: F32) -> Searches:
    """Every search of a policy under one judge.

    gallery: (v, d) the template with which each video would enrol. strangers: (g, d) templates of people who
    are enrolled too, but never come.
    """
    numbers = videos.persons.max() + 1 + np.arange(len(strangers))
    parts = []
    for split in splits:
        templates = np.concatenate([gallery[split.enrolling], strangers]).astype(np.float64)
        people = np.concatenate([videos.persons[split.enrolling], numbers])
        made = [(v, share, vectors) for v in split.probes for share, vectors in policy.picks[v]]
        similar = np.stack([(vectors @ templates.T).max(axis=0) for _, _, vectors in made])
        persons = videos.persons[[video for video, _, _ in made]]
        parts.append(search(similar, persons, people, np.array([share for _, share, _ in made])))
    return joined(parts)


def at_shipped_thresholds(found: Searches) -> list[dict[str, float]]:
    """What `facesieve match` does with the thresholds of the student's own table."""
    table = VerificationTable.beside(STUDENT, digest(STUDENT))
    assert table is not None
    return [
        {"fmr": fmr, "threshold": at, "fnir": fnir(found, at), "fpir": fpir(found, at)}
        for fmr, at in ((fmr, table.at(fmr)) for fmr in SHIPPED_FMRS)
    ]


def enrolled_likewise(policy: Policy, whole: F32, seed: int = 0) -> F32:
    """(v, d) what each video enrols with if the policy picks there too; a random policy draws once."""
    generator = np.random.default_rng(seed)
    drawn = [pick[generator.integers(len(pick))][1] for pick in policy.picks]
    return np.stack([v[0] if len(v) == 1 else mean for v, mean in zip(drawn, whole, strict=True)])


@dataclass(frozen=True)
class Trial:
    """One set of videos: its splits, scores by policy (n,), the student's calibrated quality (n,) and its own
    embeddings (n, d)."""

    videos: Videos
    splits: list[Split]
    scores: Mapping[str, F32]
    weights: F32
    own: F32


def judge(trial: Trial, vectors: F32, strangers: F32, resamples: int, *, own: bool) -> dict[str, Any]:
    """All policies under one recogniser. vectors: (n, d) its embeddings. own: it is the student itself."""
    videos = trial.videos
    gallery = whole_templates(vectors, videos.rows)
    made = policies(videos, vectors, trial.scores, trial.weights)
    found = {p.name: searches(p, videos, gallery, trial.splits, strangers) for p in made}
    done = {name: identification(those, FPIR, resamples) for name, those in found.items()}
    both = {
        p.name: identification(
            searches(p, videos, enrolled_likewise(p, gallery), trial.splits, strangers), FPIR, resamples
        )
        for p in made
    }
    rows = {}
    for policy in made:
        mine = done[policy.name]
        rows[policy.name] = {
            "calls_per_video": policy.calls,
            "rank_one": _triple(mine.rank_one, mine.rank_ones),
            "fnir": _triple(mine.fnir, mine.fnirs),
            "threshold": mine.threshold,
            "fnir_enrolled_likewise": _triple(both[policy.name].fnir, both[policy.name].fnirs),
            "at_shipped_thresholds": at_shipped_thresholds(found[policy.name]) if own else None,
            "fnir_above": {
                other: _triple(mine.fnir - done[other].fnir, mine.fnirs - done[other].fnirs)
                for other in REFERENCES
            },
        }
    return rows


def _triple(value: float, drawn: np.ndarray) -> list[float]:
    made = interval(value, drawn)
    return [made.value, made.low, made.high]


def ytf_videos(folder: Path) -> Videos:
    """The video frames of folder/faces.csv."""
    faces = read_faces(folder)
    tracks = tracks_of(faces.identities, faces.videos)
    assert faces.heights_px is not None
    heights = faces.heights_px.astype(np.float32)
    return Videos(aligned_chips(faces), faces.eye_distances_px(), heights, tracks.rows, tracks.persons)


def prepared(videos: Videos, splits: list[Split]) -> Trial:
    """The videos with all scores."""
    quality, own = run_student(STUDENT, videos.chips, videos.eyes_px)
    calibration = Calibration.beside(STUDENT)
    assert calibration is not None
    scores = {
        "largest": videos.heights,
        "sharpest": laplacian(videos.chips),
        "LightQNet": LightQNet(SHARED / LIGHTQNET).score(videos.chips),
        STUDENT_NAME: quality,
    }
    weights = np.array([calibration(float(q)) for q in quality], np.float32)
    return Trial(videos, splits, scores, weights, own)


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
    people = len(np.unique(films.persons))
    of_films = prepared(films, draw_splits(films.persons, people // 2, arguments.splits))
    of_clips = prepared(clips, draw_splits(clips.persons, ENROLLED_IN_CLIPS, arguments.splits))
    result: dict[str, Any] = {
        "student_sha256": digest(STUDENT),
        "fpir": FPIR,
        "splits": arguments.splits,
        "resamples": arguments.resamples,
        "ytf": {"people": people, "videos": len(films.rows), "recognisers": {}},
        "clips": {**counts, "people": len(np.unique(clips.persons)), "recognisers": {}},
    }
    firsts = np.unique(films.persons, return_index=True)[1]
    for name in (*judges, STUDENT_NAME):
        own = name == STUDENT_NAME
        film_vectors, clip_vectors = (
            unit(trial.own if own else judges[name](trial.videos.chips)).astype(np.float32)
            for trial in (of_films, of_clips)
        )
        strangers = whole_templates(film_vectors, films.rows)[firsts]
        rows = judge(of_films, film_vectors, strangers[:0], arguments.resamples, own=own)
        result["ytf"]["recognisers"][name] = rows
        rows = judge(of_clips, clip_vectors, strangers, arguments.resamples, own=own)
        result["clips"]["recognisers"][name] = rows
        print(f"{name}: done", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "recognition.json").write_text(json.dumps(result, indent=1) + "\n")
    text = "\n".join(page(result))
    (arguments.out / "recognition.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
