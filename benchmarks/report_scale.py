"""How a report of thousands of people behaves: time to write and to open, nodes, memory, scrolling.

    python benchmarks/report_scale.py --people 300 1000 5000

Makes folders of results from drawn pictures (two tracks and three shots a person), renders report.html and
opens it in Debian's chromium. Prints a table; nothing of it depends on what the pictures show.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from chromium import chromium

from facesieve.stream.sinks.records import shot_files

PICTURES = 40
SHOTS, POINTS = 3, 60
RENDER = (
    "import sys, time, resource; from pathlib import Path; "
    "from facesieve.stream.sinks.report import render_report; "
    "t = time.process_time(); render_report(Path(sys.argv[1])); "
    "print(time.process_time() - t, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
)


def draw(folder: Path) -> None:
    """PICTURES portraits of 240 × 300 px and one chip."""
    rng = np.random.default_rng(0)
    for i in range(PICTURES):
        field = cv2.resize(
            rng.integers(40, 200, (6, 5, 3), np.uint8), (240, 300), interpolation=cv2.INTER_CUBIC
        )
        tone = tuple(int(v) for v in rng.integers(90, 230, 3))
        cv2.ellipse(field, (120, 150), (70, 100), 0, 0, 360, tone, -1, cv2.LINE_AA)
        noisy = np.clip(field + rng.normal(0, 6, field.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), noisy, [cv2.IMWRITE_JPEG_QUALITY, 95])
    cv2.imwrite(str(folder / "chip.png"), noisy[:112, :112])


def shot(track: int, person: int, rank: int, score: float) -> dict[str, Any]:
    """A line of shots.jsonl."""
    portrait, chip = shot_files(track, rank)
    return {
        "schema": "facesieve.shot/2",
        "source": "street.mp4",
        "track": track,
        "identity": person,
        "rank": rank,
        "reason": "drawn",
        "frame_index": 25 * track + rank,
        "pts_s": track + 0.5 * rank,
        "box": [10, 10, 110, 150],
        "landmarks": [[40, 50], [72, 50], [56, 70], [44, 90], [70, 90]],
        "detection_score": 0.9,
        "eye_distance_px": 32.0,
        "truncated": 0.0,
        "score": score,
        "calibrated": 1 / (1 + np.exp(-score)),
        "model": "drawn",
        "factors": {},
        "components": {f"measure_{i}": (37 * i + track) % 100 for i in range(16)},
        "chip": chip,
        "portrait": portrait,
        "portrait_origin": [0, 0],
        "portrait_size": [240, 300],
    }


def results(out: Path, people: int) -> None:
    """A folder of results as a run writes it."""
    rng = np.random.default_rng(1)
    drawn = out / "drawn"
    drawn.mkdir(parents=True)
    draw(drawn)
    shots, tracks = (out / "shots.jsonl").open("w"), (out / "tracks.jsonl").open("w")
    for track in range(2 * people):
        person, kept = track // 2 + 1, SHOTS if track % 2 == 0 else 0
        times = [round(track + i / 12, 3) for i in range(POINTS)]
        scores = np.round(rng.normal(0, 0.6, POINTS).cumsum() / 4, 4).tolist()
        lines = [shot(track, person, rank, scores[6 * rank]) for rank in range(1, kept + 1)]
        for line in lines:
            portrait, chip = (out / line[kind] for kind in ("portrait", "chip"))
            portrait.parent.mkdir(parents=True, exist_ok=True)
            os.link(drawn / f"{int(rng.integers(PICTURES))}.jpg", portrait)
            os.link(drawn / "chip.png", chip)
            shots.write(json.dumps(line) + "\n")
        track_line = {
            "schema": "facesieve.track/1",
            "source": "street.mp4",
            "track": track,
            "identity": person,
            "first_pts_s": times[0],
            "last_pts_s": times[-1],
            "frames_seen": POINTS,
            "frames_scored": POINTS,
            "kept": kept,
            "rejected": {"small": 9, "outscored": POINTS - 9 - kept},
            "end": "lost",
            "timeline": {"pts_s": times, "score": scores, "rejected": ["outscored"] * POINTS},
        }
        tracks.write(json.dumps(track_line) + "\n")
    shots.close()
    tracks.close()
    source = {"name": "street.mp4", "duration_s": 2.0 * people, "width": 1920, "height": 1080}
    (out / "run.json").write_text(json.dumps({"schema": "facesieve.run/1", "source": source}))


def opened(page: Path) -> dict[str, float]:
    """What a browser makes of it: seconds until the page answers, nodes, MB, scrolling, search."""
    figures: dict[str, float] = {}
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        session = tab.context.new_cdp_session(tab)

        def counted(kind: str) -> None:
            session.send("HeapProfiler.collectGarbage")
            found = session.send("Memory.getDOMCounters")
            figures[f"nodes {kind}"] = found["nodes"]
            figures[f"renderer MB {kind}"] = renderer_mb()

        begun = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        figures["open s"] = time.perf_counter() - begun
        found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
        figures["open CPU s"] = max(one["cpuTime"] for one in found if one["type"] == "renderer")
        counted("opened")
        begun = time.perf_counter()
        tab.evaluate("document.querySelector('.controls [name=sort]').value = 'score'")
        tab.locator("input[name=find]").fill("person 42")
        figures["search s"] = time.perf_counter() - begun
        tab.locator("input[name=find]").fill("")
        begun = time.perf_counter()
        tab.evaluate(
            """async () => {
              for (let still = 0, last = 0; still < 30;) {
                scrollBy({ top: 2500, behavior: "instant" });
                await new Promise(done => requestAnimationFrame(done));
                still = scrollY === last ? still + 1 : 0;
                last = scrollY;
              }
            }"""
        )
        figures["scroll all s"] = time.perf_counter() - begun
        figures["shown"] = tab.locator(".card").count()
        counted("scrolled")
    return figures


def renderer_mb() -> float:
    """Resident memory of the largest renderer process, MB."""
    listed = subprocess.run(["ps", "-eo", "rss,args"], capture_output=True, text=True, check=True).stdout
    sizes = [int(line.split()[0]) for line in listed.splitlines() if "--type=renderer" in line]
    return max(sizes, default=0) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, nargs="+", default=[300, 1000, 5000])
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for people in arguments.people:
        with tempfile.TemporaryDirectory() as temporary:
            out = Path(temporary) / "run"
            results(out, people)
            command = [sys.executable, "-c", RENDER, str(out)]
            cpu_s, peak_mb = map(
                float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            )
            page = out / "report.html"
            figures = {"render CPU s": cpu_s, "render peak MB": peak_mb, "page MB": page.stat().st_size / 1e6}
            figures |= opened(page)
        print(f"{people} people: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
