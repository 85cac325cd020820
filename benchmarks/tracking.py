"""Our trackers beside Roboflow's `trackers` and norfair, fed the same public detections.

    python benchmarks/tracking.py [--shared ../shared]

Each peer, and the two evaluators, get an environment of their own under benchmarks/.envs, made on the first
run, and a process of their own.
Every tracker is run at every point of one small grid; a setting holds for both sequences; the best is that of
the highest mean HOTA, and its MOTA, IDF1 and HOTA are reported as the mean of both sequences. All trackers
are handed every public detection with its score (each splits by score itself; norfair, which does not, gets
those from high_score up) and are scored by the boxes of the detections they gave an id; norfair also by its
filter's estimates of all active objects, its default output, whichever is better. Our OC-SORT runs in the
paper's form (fresh_first=False) and both of ours with lost_iou = max(0.3, match_iou) and without their limit
on growth, which is for heads: the box of someone who walks doubles its width with every step, and no peer has
such a limit. Nothing else differs from the defaults. Writes benchmarks/results/tracking.json and .md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SEQUENCES = {"TUD-Campus": 25.0, "TUD-Stadtmitte": 25.0}
ENVIRONMENTS = {
    "roboflow": ["trackers==2.6.1"],
    "norfair": ["norfair==2.3.0"],
    "metrics": ["motmetrics==1.4.0", "trackeval==1.3.0"],
}
GRID: dict[str, list[Any]] = {
    "high_score": [0.6, 0.75, 0.9],
    "match_iou": [0.1, 0.2, 0.3],
    "lost_s": [1.0, 2.0],
    "min_hits": [1, 2],
    "expand": [0.0, 0.3],
}
"""high_score: detections are confident from here on (norfair, OC-SORT: others are ignored). match_iou: least
overlap. lost_s: life without a sight. min_hits: sights before an id. expand: growth of boxes before overlap
is taken (theirs: buffered IoU everywhere; ours: in the look for what was left over)."""
NEW_SCORES = [0.6, 0.75, 0.9]
"""Scores that start a track, where not below high_score; norfair and Roboflow's OC-SORT have none."""
OUTPUTS = ["detections", "estimates"]  # norfair only: which boxes are taken as its answer
ROWS = {
    "facesieve ByteTrack": ("ours", "bytetrack"),
    "Roboflow trackers ByteTrack": ("roboflow", "bytetrack"),
    "facesieve OC-SORT": ("ours", "ocsort"),
    "Roboflow trackers OC-SORT": ("roboflow", "ocsort"),
    "norfair": ("norfair", "norfair"),
}


def environment(name: str) -> Path:
    """The interpreter of the named environment, made if it is not there."""
    if name == "ours":
        return Path(sys.executable)
    folder = HERE / ".envs" / f"tracking-{name}"
    python, done = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(ENVIRONMENTS[name])
    if not (done.exists() and done.read_text() == wanted):
        print(f"installing {', '.join(ENVIRONMENTS[name])}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *ENVIRONMENTS[name]], check=True)
        done.write_text(wanted)
    return python


def worker(name: str, script: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run one script of tracking_peers in its environment, in a process of its own with one thread."""
    python = environment(name)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # The caller's PYTHONPATH may lead to our own `trackers`, in the place of the peer's.
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    path = {"PYTHONPATH": str(HERE.parent)} if name == "ours" else {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "job.json", Path(folder) / "out.json"
        source.write_text(json.dumps(job))
        subprocess.run(
            [python, HERE / "tracking_peers" / script, source, target],
            check=True,
            env={**inherited, **threads, **path},
        )
        return dict(json.loads(target.read_text()))


def read(folder: Path, fps: float) -> tuple[dict[str, Any], list[list[list[float]]]]:
    """Detections and ground truth of one MOTChallenge sequence, as corner boxes by frame."""
    found, truth = (np.loadtxt(folder / name, delimiter=",") for name in ("det.txt", "gt.txt"))
    count = int(max(found[:, 0].max(), truth[:, 0].max()))
    detections: list[list[list[float]]] = [[] for _ in range(count)]
    people: list[list[list[float]]] = [[] for _ in range(count)]
    for frame, _, x, y, w, h, score in found[:, :7].tolist():
        detections[int(frame) - 1].append([x, y, x + w, y + h, score])
    for frame, person, x, y, w, h, counts in truth[:, :7].tolist():
        if counts:
            people[int(frame) - 1].append([int(person), x, y, x + w, y + h])
    return {"fps": fps, "frames": detections}, people


def grid(name: str, family: str) -> list[dict[str, Any]]:
    """Every setting tried for one tracker: those of the grid that it has."""
    points = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    if family == "bytetrack" or name == "ours":
        return [p | {"new_score": s} for p in points for s in NEW_SCORES if s >= p["high_score"]]
    if family == "norfair":
        return [p | {"output": o} for p in points for o in OUTPUTS]
    return points


def mean(per: dict[str, dict[str, float]], metric: str) -> float:
    """Mean over sequences."""
    return float(np.mean([scores[metric] for scores in per.values()]))


def measure(row: str, sequences: dict[str, Any], truth: dict[str, Any]) -> dict[str, Any]:
    """The best of the grid for one tracker, scored in full."""
    name, family = ROWS[row]
    settings = grid(name, family)
    answer = worker(
        name, f"{name}_worker.py", {"family": family, "sequences": sequences, "settings": settings}
    )
    first = worker("metrics", "score_worker.py", {"truth": truth, "runs": answer["runs"], "full": False})
    best = max(range(len(settings)), key=lambda k: mean(first["scores"][k], "HOTA"))
    full = worker(
        "metrics", "score_worker.py", {"truth": truth, "runs": [answer["runs"][best]], "full": True}
    )
    per = full["scores"][0]
    return {
        "tracker": row,
        "MOTA": mean(per, "MOTA"),
        "IDF1": mean(per, "IDF1"),
        "HOTA": mean(per, "HOTA"),
        "switches": sum(int(scores["switches"]) for scores in per.values()),
        "update_us": answer["update_us"],
        "settings": settings[best],
        "tried": len(settings),
        "by_sequence": per,
        "versions": answer["versions"] | full["versions"],
    }


def table(results: list[dict[str, Any]], machine: str) -> str:
    """Markdown."""
    lines = [
        "| tracker | MOTA | IDF1 | HOTA | switches | µs/update | best setting |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        chosen = ", ".join(f"{k} {v}" for k, v in r["settings"].items())
        figures = " | ".join(f"{r[m]:.2f}" for m in ("MOTA", "IDF1", "HOTA"))
        lines.append(f"| {r['tracker']} | {figures} | {r['switches']} | {r['update_us']:.0f} | {chosen} |")
    versions = {k: v for r in results for k, v in r["versions"].items() if k not in ("python", "numpy")}
    named = ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))
    note = "Mean of " + " and ".join(SEQUENCES) + ", public detections, one setting for both, best mean HOTA."
    return "\n".join([*lines, "", f"{note} {named}. {machine}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=default)
    shared = parser.parse_args().shared
    data = {name: read(shared / "mot" / name, fps) for name, fps in SEQUENCES.items()}
    sequences, truth = ({name: pair[k] for name, pair in data.items()} for k in (0, 1))
    results = []
    for row in ROWS:
        results.append(measure(row, sequences, truth))
        print(
            f"{row}: " + ", ".join(f"{m} {results[-1][m]:.2f}" for m in ("MOTA", "IDF1", "HOTA")), flush=True
        )
    python = platform.python_version()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {python}"
    out = HERE / "results"
    out.mkdir(exist_ok=True)
    record = {"machine": machine, "grid": GRID | {"new_score": NEW_SCORES}, "results": results}
    (out / "tracking.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "tracking.md").write_text(table(results, machine))
    print(table(results, machine))


if __name__ == "__main__":
    main()
