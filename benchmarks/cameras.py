"""How many cameras does this machine carry, how fairly, and how late do the events come?

    python benchmarks/cameras.py [--seconds 40] [--vga 8] [--hd 2] [--step 4] [--most 48] [--detector yunet]

Real RTSP cameras: gst-rtsp-server relays what FFmpeg publishes (people walking in 1080p, and 640×360 at 15
frames a second made from the same film), and one service in this process reads them all; its events go to the
spool and a folder. The servers run on the same cores. First the mixed load (--vga of 640×360, --hd of 1080p),
then growing numbers of 640×360 cameras until one no longer holds: fewer than 95 % of the frames that are due
are looked at, or a cadence is lowered. Latency: from the moment a frame was shown (its PTS on our clock, of
which zero is the fastest frame of the half minute) to its event being in the spool, and from decoded to done
for every frame. Writes benchmarks/results/cameras.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

from live_servers import Rtsp, missing  # noqa: E402

from facesieve.serve import Serving, serving  # noqa: E402
from facesieve.serve_config import parse_serve_config  # noqa: E402

SHARED = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
OUT, RESULTS = HERE / "out" / "cameras", HERE / "results"
FILM = SHARED / "videos" / "walking_crowd_1080p.mp4"
WARM_UP_S = 8.0
HOLDS = 0.95


def clip(width: int, height: int, fps: int) -> Path:
    """The film at that size and rate, without B-frames, a key frame each second."""
    target = OUT / f"{width}x{height}@{fps}.mp4"
    if not target.exists():
        OUT.mkdir(parents=True, exist_ok=True)
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-i", str(FILM), "-an"]
        command += ["-vf", f"scale={width}:{height}", "-r", str(fps), "-c:v", "libx264", "-bf", "0"]
        subprocess.run([*command, "-g", str(fps), "-preset", "veryfast", str(target)], check=True)
    return target


def measure(vga: int, hd: int, seconds: float, detector: dict[str, Any]) -> dict[str, Any]:
    """One load for so long, after a warm-up."""
    server = Rtsp()
    names = [f"vga{i}" for i in range(vga)] + [f"hd{i}" for i in range(hd)]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            server.publish(name, clip(1920, 1080, 25) if name.startswith("hd") else clip(640, 360, 15))
        server.start()
        config = parse_serve_config(
            {
                "serve": {"state": f"{folder}/state"},
                "detector": detector,
                "camera": [{"name": name, "url": server.url(name)} for name in names],
                "sink": [{"kind": "folder", "name": "files", "path": f"{folder}/events"}],
            },
            "benchmark",
        )
        try:
            with serving(config) as running:
                return _watched(running, names, seconds)
        finally:
            server.close()


def _watched(running: Serving, names: list[str], seconds: float) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while any(r.processed < 4 for r in running.service.cameras().values()) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(WARM_UP_S)
    late: list[float] = []
    put = running.spool.put

    def noting(message: Any, now_s: float) -> bool:
        kept = put(message, now_s)
        if message.event.type != "camera_state" and message.event.at.wall_s is not None:
            late.append(time.time() - message.event.at.wall_s)
        return kept

    running.spool.put = noting  # type: ignore[method-assign]
    before, started = running.service.cameras(), time.monotonic()
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(seconds)
    after, spent = running.service.cameras(), time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    done = {n: (after[n].processed - before[n].processed) / spent for n in names}
    lost = {n: after[n].dropped - before[n].dropped for n in names}
    due = {n: done[n] * spent + lost[n] for n in names}
    frames = {n: (after[n].status.frames - before[n].status.frames) / spent for n in names}
    latencies = [s for n in names for s in after[n].latencies_s]
    return {
        "cameras": len(names),
        "looked_at_share": sum(done.values()) * spent / max(sum(due.values()), 1),
        "degraded": sum(after[n].degraded for n in names),
        "live": sum(after[n].status.state == "live" for n in names),
        "fps_in": [min(frames.values()), max(frames.values())],
        "looks_a_second": [min(done.values()), max(done.values())],
        "fairness": min(done.values()) / max(max(done.values()), 1e-9),
        "frame_ms": _percentiles(latencies),
        "event_ms": _percentiles(late),
        "events": len(late),
        "cpu_share": (used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime)
        / spent
        / (os.cpu_count() or 1),
    }


def _spent(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _percentiles(seconds: list[float]) -> list[float] | None:
    return [round(1000 * float(np.percentile(seconds, p)), 1) for p in (50, 95, 99)] if seconds else None


def _joined(values: list[float] | None) -> str:
    return "–" if values is None else " / ".join(f"{value:.0f}" for value in values)


def _holds(row: dict[str, Any]) -> bool:
    return row["looked_at_share"] >= HOLDS and not row["degraded"] and row["live"] == row["cameras"]


def _row(name: str, row: dict[str, Any]) -> str:
    frame, event = (
        ("–" if v is None else " / ".join(f"{x:.0f}" for x in v)) for v in (row["frame_ms"], row["event_ms"])
    )
    looks = " – ".join(f"{x:.1f}" for x in row["looks_a_second"])
    return (
        f"| {name} | {row['looked_at_share']:.0%} | {looks} | {row['fairness']:.2f} | {frame} | {event} "
        f"| {row['cpu_share']:.0%} | {'yes' if _holds(row) else 'no'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--vga", type=int, default=8)
    parser.add_argument("--hd", type=int, default=2)
    parser.add_argument("--most", type=int, default=48)
    parser.add_argument("--step", type=int, default=4)
    parser.add_argument("--detector", choices=["centerface", "yunet"], default="centerface")
    args = parser.parse_args()
    if lacking := missing():
        raise SystemExit(f"this benchmark needs {lacking}")
    detector: dict[str, Any] = {"kind": args.detector}
    if args.detector == "yunet":
        detector["weights"] = str(SHARED / "models/yunet_n_dynamic.onnx")
    rows = {f"{args.vga} × 640×360 + {args.hd} × 1080p": measure(args.vga, args.hd, args.seconds, detector)}
    print(_row(*next(iter(rows.items()))), flush=True)
    largest = 0
    for number in range(args.step, args.most + 1, args.step):
        row = rows[f"{number} × 640×360"] = measure(number, 0, args.seconds / 2, detector)
        print(_row(f"{number} × 640×360", row), flush=True)
        if not _holds(row):
            break
        largest = number
    head = (
        f"`python benchmarks/cameras.py --detector {args.detector}`: {platform.machine()}, "
        f"{os.cpu_count()} cores, the camera servers on the same ones.\n\n"
        "| cameras | due frames looked at | looks a second, least – most | fairness | frame ms p50/95/99 "
        "| event ms p50/95/99 | CPU | holds |\n|---|---|---|---|---|---|---|---|\n"
    )
    text = head + "\n".join(_row(name, row) for name, row in rows.items())
    limit = f"**{largest}**" + (" or more" if largest + args.step > args.most else f" (tried by {args.step})")
    text += f"\n\nLargest number of 640×360@15 cameras that stays real-time here: {limit}.\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cameras.json").write_text(json.dumps({"largest": largest, "rows": rows}, indent=1) + "\n")
    (RESULTS / "cameras.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
