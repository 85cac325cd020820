"""Does the service stay as it is? Cameras come and go, faces pass, and nothing may grow.

    make soak        (python benchmarks/soak.py [--minutes 30] [--cameras 3])

Films as cameras, over and over, one of them cut off and connected anew every twenty seconds, events to a
folder, people linked. Every two seconds: resident memory, file descriptors, threads. The first quarter is
warm-up: by then every film has passed many times. Then a straight line by least squares through memory must
rise by at most 1 MB in ten minutes, once with and once without the pages of files, which the system drops as
it likes; and descriptors and threads must end where they were. Writes benchmarks/results/soak.{json,md}.

A soak of less than twenty minutes connects anew every two seconds instead, so that what each connection
leaves adds up, and may rise by 30 MB in ten minutes: its line is noisy (a megabyte in two minutes is nearly 7
in ten). What rises is measured anew, up to three times more with the service running on: a slow machine is
not warm after half a minute, and what leaks goes on leaking. It writes no results.
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
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from facesieve.serve import serving  # noqa: E402
from facesieve.serve_config import parse_serve_config  # noqa: E402
from facesieve.stream.serve.service import Service  # noqa: E402

SHARED = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
RESULTS = HERE / "results"
FILMS = ("WolfgangLanger_Pexels.mp4", "short_hamilton_clip.mp4", "single_face.mp4")
EVERY_S, LONG_S, SERIES_S = 2.0, 1200.0, 30.0
CUT_S, CUT_SHORT_S = 20.0, 2.0
RISE_MB, RISE_SHORT_MB = 1.0, 30.0
"""In ten minutes."""
MORE_SHORT = 3


def _state() -> tuple[float, float, int, int]:
    """Resident MB, those of them that are no file's, open descriptors, threads."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    kilobytes = {words[0]: int(words[1]) for words in lines if words[0] in ("VmRSS:", "RssAnon:")}
    return (
        kilobytes["VmRSS:"] / 1000,
        kilobytes["RssAnon:"] / 1000,
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
        is_long = 60 * args.minutes >= LONG_S
        with serving(config) as running:
            for _ in range(1 if is_long else 1 + MORE_SHORT):
                table = measure(running.service, 60 * args.minutes, CUT_S if is_long else CUT_SHORT_S)
                told = judge(table)
                if told["ok"]:
                    break
            cameras = running.service.cameras()
            events = running.delivery.reports()["files"].sent
    told |= {
        "minutes": args.minutes,
        "cameras": args.cameras,
        "frames": sum(report.processed for report in cameras.values()),
        "tracks": sum(report.tracks_ended for report in cameras.values()),
        "sessions": sum(report.status.sessions for report in cameras.values()),
        "events": events,
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}",
        "series": table[:: round(SERIES_S / EVERY_S), :3].round(1).tolist(),
    }
    print(json.dumps({name: value for name, value in told.items() if name != "series"}, indent=1))
    if is_long:
        record(told)
    raise SystemExit(0 if told["ok"] else 1)


def measure(service: Service, seconds: float, cut_s: float) -> np.ndarray:
    """(n, 5) as judge takes them. cut_s: after so many the first camera is connected anew."""
    rows, began, cut = [], time.monotonic(), time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        if now - cut > cut_s:
            service.pause("c0")
            service.resume("c0")
            cut = now
        rows.append((now - began, *_state()))
        time.sleep(EVERY_S)
    return np.array(rows)


def record(told: dict[str, Any]) -> None:
    """Write the results. series: of the JSON, s, resident MB, anonymous MB."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.json").write_text(json.dumps(told) + "\n")
    (RESULTS / "soak.md").write_text(
        f"{told['minutes']:g} minutes, {told['cameras']} cameras, {told['sessions']} sessions, "
        f"{told['frames']} frames, {told['tracks']} tracks, {told['events']} events ({told['machine']}). "
        f"Resident memory after {told['warm_up_s'] / 60:.1f} minutes of warm-up: {told['first_mb']} → "
        f"{told['last_mb']} MB, {told['slope_mb']:+} MB in ten minutes by least squares, "
        f"{told['anonymous_slope_mb']:+} without pages of files (limit {told['limit_mb']:g}); descriptors "
        f"{told['descriptors'][0]} to {told['descriptors'][1]}, threads {told['threads'][0]} to "
        f"{told['threads'][1]}. "
        f"{'Passed' if told['ok'] else 'Not passed'}.\n"
    )


def judge(rows: np.ndarray) -> dict[str, Any]:
    """What the measurements say. rows: (n, 5) s, resident MB, anonymous MB, descriptors, threads."""
    steady = rows[len(rows) // 4 :]
    slope, anonymous = (np.polyfit(steady[:, 0], steady[:, 1:3], 1)[0] * 600).tolist()
    half = len(steady) // 2
    grown = [float(np.median(steady[half:, c]) - np.median(steady[:half, c])) for c in (3, 4)]
    limit = RISE_MB if rows[-1, 0] >= LONG_S - EVERY_S else RISE_SHORT_MB
    return {
        "warm_up_s": round(float(steady[0, 0])),
        "first_mb": round(float(np.median(steady[:5, 1])), 1),
        "last_mb": round(float(np.median(steady[-5:, 1])), 1),
        "slope_mb": round(slope, 2),
        "anonymous_slope_mb": round(anonymous, 2),
        "limit_mb": limit,
        "descriptors": [int(steady[:, 3].min()), int(steady[:, 3].max())],
        "threads": [int(steady[:, 4].min()), int(steady[:, 4].max())],
        "ok": bool(max(slope, anonymous) <= limit and max(grown) <= 1),
    }


if __name__ == "__main__":
    main()
