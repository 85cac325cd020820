"""Does the service stay as it is? Cameras come and go, faces pass, and nothing may grow.

    make soak        (python benchmarks/soak.py [--minutes 30] [--cameras 3])

Films as cameras, over and over, one of them cut off and connected anew every twenty seconds, events to a
folder, people linked. Every two seconds: resident memory, file descriptors, threads. The first quarter is
warm-up; then a straight line through memory must rise by at most 1 MB in ten minutes (a short soak is judged
by 10 MB in ten minutes, for its line is noisy), and descriptors and threads must end where they were.
Writes benchmarks/results/soak.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from facesieve.serve import serving  # noqa: E402
from facesieve.serve_config import parse_serve_config  # noqa: E402

SHARED = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
RESULTS = HERE / "results"
FILMS = ("WolfgangLanger_Pexels.mp4", "short_hamilton_clip.mp4", "single_face.mp4")
EVERY_S, CUT_S, LONG_S = 2.0, 20.0, 1200.0


def _state() -> tuple[float, int, int]:
    """Resident MB, open descriptors, threads."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        len(list(Path("/proc/self/fd").iterdir())),
        threading.active_count(),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--cameras", type=int, default=3)
    args = parser.parse_args()
    films = [SHARED / "videos" / FILMS[i % len(FILMS)] for i in range(args.cameras)]
    with tempfile.TemporaryDirectory() as folder:
        config = parse_serve_config(
            {
                "serve": {"state": f"{folder}/state"},
                "identity": {"retention_shots": 3, "retention_days": 0.01},
                "camera": [
                    {"name": f"c{i}", "url": str(film), "loop": True, "backoff_first_s": 0.5}
                    for i, film in enumerate(films)
                ],
                "sink": [{"kind": "folder", "name": "files", "path": f"{folder}/events"}],
            },
            "soak",
        )
        rows, began, cut = [], time.monotonic(), time.monotonic()
        with serving(config) as running:
            while (now := time.monotonic()) - began < 60 * args.minutes:
                if now - cut > CUT_S:
                    running.service.pause("c0")
                    running.service.resume("c0")
                    cut = now
                rows.append((now - began, *_state()))
                time.sleep(EVERY_S)
            cameras = running.service.cameras()
            events = running.delivery.reports()["files"].sent
    told = judge(np.array(rows))
    told |= {
        "minutes": args.minutes,
        "frames": sum(report.processed for report in cameras.values()),
        "tracks": sum(report.tracks_ended for report in cameras.values()),
        "sessions": sum(report.status.sessions for report in cameras.values()),
        "events": events,
    }
    print(json.dumps(told, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.json").write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / "soak.md").write_text(
        f"{args.minutes:g} minutes, {args.cameras} cameras, {told['sessions']} sessions, "
        f"{told['frames']} frames, {told['tracks']} tracks, {events} events: memory {told['first_mb']} → "
        f"{told['last_mb']} MB, {told['slope_mb']:+} MB in ten minutes; descriptors {told['descriptors']}, "
        f"threads {told['threads']}.\n"
    )
    raise SystemExit(0 if told["ok"] else 1)


def judge(rows: np.ndarray) -> dict[str, object]:
    """What the measurements say. rows: (n, 4) s, MB, descriptors, threads."""
    steady = rows[len(rows) // 4 :]
    slope = float(np.polyfit(steady[:, 0], steady[:, 1], 1)[0]) * 600
    half = len(steady) // 2
    grown = [float(np.median(steady[half:, c]) - np.median(steady[:half, c])) for c in (2, 3)]
    return {
        "first_mb": round(float(np.median(steady[:5, 1])), 1),
        "last_mb": round(float(np.median(steady[-5:, 1])), 1),
        "slope_mb": round(slope, 2),
        "descriptors": [int(steady[:, 2].min()), int(steady[:, 2].max())],
        "threads": [int(steady[:, 3].min()), int(steady[:, 3].max())],
        "ok": slope <= (1.0 if rows[-1, 0] >= LONG_S else 10.0) and max(grown) <= 1,
    }


if __name__ == "__main__":
    main()
