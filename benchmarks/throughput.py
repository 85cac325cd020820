"""How close to the decoder's own speed does the main job run?

    python benchmarks/throughput.py [--rounds 5] [--seconds 60] [--no-mtcnn] [--no-memory]

In one run on one machine, each measurement in a process of its own, in turns so that a drifting machine
drifts for all: D (bare decoding with PyAV, frame threads), P (the whole main job: decode, detect, track,
align, score, select, write, report) in several configurations, a naive loop as a user would write it today
(cv2.VideoCapture, cv2.FaceDetectorYN on every full frame, onnxruntime on every face), and facenet-pytorch's
MTCNN. Peers need other versions than ours: they get environments of their own under benchmarks/.envs.
Ratios are taken round by round. Writes benchmarks/results/throughput.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import av

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", HERE.parent.parent / "shared"))
OUT, ENVS, RESULTS = HERE / "out", HERE / ".envs", HERE / "results"
CLIPS = {"crowd 1080p": "walking_crowd_1080p.mp4", "Hamilton 360p": "short_hamilton_clip.mp4"}
CONFIGS: dict[str, dict[str, Any]] = {
    "yunet + analytical": {
        "detector": {"kind": "yunet", "weights": str(SHARED / "models/yunet_n_dynamic.onnx")},
        "scorer": {"kind": "analytical"},
    },
    "centerface + analytical": {"detector": {"kind": "centerface"}, "scorer": {"kind": "analytical"}},
    "default (centerface + student)": {},
    "yunet + student": {
        "detector": {"kind": "yunet", "weights": str(SHARED / "models/yunet_n_dynamic.onnx")},
    },
}
NAIVE_S, MTCNN_S = 6.0, 4.0  # slow peers get a shorter stretch of the same film; their rate is steady


def looped(clip: str, seconds: float) -> Path:
    """The clip repeated to at least so many seconds, packets copied, under benchmarks/out."""
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / f"{Path(clip).stem}-{seconds:g}s.mkv"
    if target.exists():
        return target
    part = target.with_suffix(".part.mkv")
    with av.open(str(SHARED / "videos" / clip)) as source:
        packets = [p for p in source.demux(source.streams.video[0]) if p.dts is not None]
        base = source.streams.video[0].time_base
        step = max(p.duration or 1 for p in packets)
        span = max(p.pts for p in packets) - min(p.pts for p in packets) + step
    with av.open(str(SHARED / "videos" / clip)) as source, av.open(str(part), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for turn in range(int(seconds / float(span * base)) + 1):
            source.seek(0)
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is None:
                    continue
                packet.pts += turn * span
                packet.dts += turn * span
                packet.stream = stream
                sink.mux(packet)
    part.rename(target)
    return target


def measure(worker: str, clip: Path, *, python: str = sys.executable, argument: str = "") -> dict[str, Any]:
    """One measurement in a fresh process; peak memory is that process's own."""
    command = [python, str(HERE / "throughput_worker.py"), worker, str(clip), argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def mtcnn_python() -> str:
    """The interpreter of an environment with facenet-pytorch and the old torch and numpy that it needs."""
    home = ENVS / "mtcnn"
    python = home / "bin/python"
    if not (home / "ready").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "facenet-pytorch==2.6.0", "opencv-python-headless<4.11"],
            check=True,
        )
        (home / "ready").touch()
    return str(python)


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def bench_clip(clip: str, args: argparse.Namespace) -> dict[str, Any]:
    film = looped(clip, args.seconds)
    rounds: list[dict[str, dict[str, Any]]] = []
    for _ in range(args.rounds):
        row = {"decode": measure("decode", film)}
        for config, table in CONFIGS.items():
            row[config] = measure("facesieve", film, argument=json.dumps(table))
        rounds.append(row)
    peers = {"naive loop": measure("naive", film, argument=str(NAIVE_S))}
    if args.mtcnn:
        peers["facenet-pytorch MTCNN"] = measure("mtcnn", film, python=mtcnn_python(), argument=str(MTCNN_S))
    rows: dict[str, Any] = {"decode": {"fps": spread([r["decode"]["fps"] for r in rounds])}}
    for config in CONFIGS:
        rows[config] = {
            "fps": spread([r[config]["fps"] for r in rounds]),
            "of_decode": spread([r[config]["fps"] / r["decode"]["fps"] for r in rounds]),
            "times_naive": spread([r[config]["fps"] / peers["naive loop"]["fps"] for r in rounds]),
            "core_ms_per_look": spread([r[config]["core_ms_per_look"] for r in rounds]),
            "start_s": spread([r[config]["start_s"] for r in rounds]),
            "stages_ms_per_frame": {
                stage: statistics.median(r[config]["stages_ms_per_frame"][stage] for r in rounds)
                for stage in rounds[0][config]["stages_ms_per_frame"]
            },
            "peak_mib": statistics.median(r[config]["peak_mib"] for r in rounds),
        }
    for peer, row in peers.items():
        rows[peer] = {"fps": spread([row["fps"]])}
    if args.memory:
        long_film = looped(clip, 10 * args.seconds)
        longer = measure("facesieve", long_film, argument=json.dumps(CONFIGS["yunet + analytical"]))
        long_film.unlink()
        rows["yunet + analytical"]["peak_mib_10x"] = longer["peak_mib"]
        rows["yunet + analytical"]["memory_10x"] = longer["peak_mib"] / rows["yunet + analytical"]["peak_mib"]
    return {"clip": clip, "seconds": args.seconds, "rounds": args.rounds, "rows": rows}


def table(report: dict[str, Any]) -> str:
    lines = [f"Machine: {report['machine']}. Median of {report['rounds']} rounds (least–most).", ""]
    lines += [
        "| clip | what runs | fps | share of bare decoding | × naive loop | peak MiB | core-ms | start s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, clip in report["clips"].items():
        for row, value in clip["rows"].items():
            fps = value["fps"]
            cells = [name, row, f"{fps['median']:.1f} ({fps['min']:.1f}–{fps['max']:.1f})"]
            if "of_decode" in value:
                share = value["of_decode"]
                cells.append(f"**{share['median']:.2f}** ({share['min']:.2f}–{share['max']:.2f})")
                cells.append(f"{value['times_naive']['median']:.0f}")
                longer = f" (10× longer: {value['peak_mib_10x']:.0f})" if "peak_mib_10x" in value else ""
                cells += [f"{value['peak_mib']:.0f}{longer}", f"{value['core_ms_per_look']['median']:.1f}"]
                cells.append(f"{value['start_s']['median']:.2f}")
            else:
                cells += ["1" if row == "decode" else "", "", "", "", ""]
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Core-ms: of all threads together, for each frame that the detector sees. Start: from the first "
        "import to the first detection, networks compiled before. Where the time goes: milliseconds a frame "
        "of the film. `decode` (waiting for it) and detect share a thread, `assess` (the components of kept "
        "shots) and writing another; the rest, with `wait` (for the detector), have a third.",
        "",
    ]
    for name, clip in report["clips"].items():
        for row, value in clip["rows"].items():
            if "stages_ms_per_frame" in value:
                stages = ", ".join(f"{s} {ms:.3f}" for s, ms in value["stages_ms_per_frame"].items())
                lines.append(f"- {name}, {row}: {stages}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mtcnn", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    report = {
        "machine": f"{cpu}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "rounds": args.rounds,
        "clips": {name: bench_clip(clip, args) for name, clip in CLIPS.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "throughput.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "throughput.md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
