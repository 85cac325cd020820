"""Every engine × precision × batch × model side by side, against onnxruntime fp32 and the arithmetic floor.

    python benchmarks/engines.py [--shared ../shared] [--rounds 5] [--seconds 0.4] [--threads 0]
        [--students facesieve-t,ediffiqa-t,ediffiqa-s,ediffiqa-m,ediffiqa-l] [--batches 1,8,32]
        [--detectors centerface,yunet-n,yunet-s,scrfd-500m] [--widths 320,640,1280] [--no-gate]
        [--quick] [--fresh]

--quick: the networks of the targets at one size, few rounds: three minutes, for a look. What was measured is
kept network by network in out/engines, so that a run that was cut off goes on where it stopped when it is
called with the same options again; --fresh begins anew.

Each engine and precision runs in its own process; they take turns, round by round, so that what else the
machine does falls on all of them alike; a cell is the median of the rounds' medians (of two rounds where a
call takes a second). The floor is the network's multiply-accumulates over the best rate that a 2048³ matrix
product reached in the run, in the same arithmetic and threads.
int8, fp16 and bf16 pass the gate of `facesieve models build` first (eDifFIQA's shapes have random weights and
are timed without one); a refused graph is timed all the same and marked. Writes results/engines.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from engine_floor import macs
from engine_graphs import ROOT, Network, detectors, students
from engine_journal import Journal
from engine_report import compared, markdown, targets

HERE = Path(__file__).resolve().parent
# (engine, graph, arithmetic of what is not quantised)
VARIANTS = (
    ("onnxruntime", "fp32", "fp32"),
    ("onnxruntime", "fp16", "fp32"),
    ("onnxruntime", "int8", "fp32"),
    ("openvino", "fp32", "fp32"),
    ("openvino", "fp16", "fp32"),
    ("openvino", "fp16", "fp16"),
    ("openvino", "bf16", "bf16"),
    ("openvino", "int8", "fp32"),
    ("openvino", "int8", "bf16"),
)
LARGEST_BATCH_PX = 8 * 640 * 352
SLOW_MS, SLOW_ROUNDS = 1000, 2
QUICK = {
    "rounds": 2,
    "seconds": 0.15,
    "students": ["facesieve-t", "ediffiqa-t", "ediffiqa-s"],
    "detectors": ["centerface", "yunet-n"],
    "widths": [640],
    "batches": [1, 8],
    "no_gate": True,
}


@dataclass(slots=True)
class Worker:
    """A process with one network open."""

    engine: str
    precision: str
    arithmetic: str
    process: subprocess.Popen[str]
    open_ms: float

    @staticmethod
    def start(engine: str, precision: str, arithmetic: str, network: Network, threads: int) -> Worker | None:
        arguments = [engine, arithmetic, str(network.graphs[precision]), network.kind, str(threads)]
        process = subprocess.Popen(
            [sys.executable, str(HERE / "engine_worker.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout
        assert process.stderr
        first = process.stdout.readline()
        if not first:
            said = process.stderr.read().strip().splitlines()
            print(f"    {engine} {precision} in {arithmetic}: {said[-1] if said else 'ended'}", flush=True)
            process.wait()
            return None
        return Worker(engine, precision, arithmetic, process, json.loads(first)["open_ms"])

    def ask(self, batch: int, size: tuple[int, int], seconds: float) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"batch": batch, "size": size, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended"}

    def stop(self) -> None:
        self.process.communicate()


def cells(network: Network, batches: list[int]) -> list[tuple[int, tuple[int, int]]]:
    """Batches are for chips; of frames only as many as fit a plausible memory."""
    return [
        (batch, size)
        for size in network.sizes
        for batch in batches
        if batch == 1 or batch * size[0] * size[1] <= LARGEST_BATCH_PX
    ]


def timed(network: Network, options: argparse.Namespace) -> list[dict[str, Any]]:
    started = [Worker.start(*variant, network, options.threads) for variant in VARIANTS]
    workers = [worker for worker in started if worker is not None]
    asked = cells(network, options.batches)
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for turn in range(options.rounds):
        for c, (batch, size) in enumerate(asked):
            for w in np.roll(np.arange(len(workers)), turn):
                earlier = found.get((int(w), c), [])
                if turn >= SLOW_ROUNDS and earlier and earlier[0].get("ms", 0) > SLOW_MS:
                    continue
                answer = workers[w].ask(batch, size, options.seconds)
                found.setdefault((int(w), c), []).append(answer)
    rows = []
    for (w, c), answers in sorted(found.items()):
        worker, (batch, (height, width)) = workers[w], asked[c]
        row: dict[str, Any] = {
            "model": network.name,
            "size": [height, width],
            "batch": batch,
            "engine": worker.engine,
            "graph": worker.precision,
            "arithmetic": worker.arithmetic,
            "open_ms": worker.open_ms,
            "gate": network.gates.get(worker.precision, "" if worker.precision == "fp32" else "none"),
        }
        errors = [answer["error"] for answer in answers if "error" in answer]
        if errors:
            rows.append(row | {"error": errors[0]})
            continue
        per_image = [answer["ms"] / batch for answer in answers]
        shape = (batch, height, width, 3) if network.kind == "chips" else (batch, 3, height, width)
        work = macs(network.graphs["fp32"], shape) / batch
        row |= {
            "ms": float(np.median(per_image)),
            "ms_rounds": per_image,
            "peak_mib": max(answer["peak_mib"] for answer in answers),
            "mmacs": work / 1e6,
        }
        rows.append(row)
    for worker in workers:
        worker.stop()
    return rows


def best_rates(rates: dict[str, float], options: argparse.Namespace) -> None:
    """Measure again, and keep the best: other work on the machine only ever slows a product down."""
    measured = subprocess.run(
        [sys.executable, str(HERE / "engine_floor.py"), str(options.threads), str(options.seconds)],
        capture_output=True,
        text=True,
        check=True,
    )
    for kind, rate in json.loads(measured.stdout).items():
        rates[kind] = max(rate, rates.get(kind, 0.0))


def parsed() -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    def numbers(text: str) -> list[int]:
        return [int(name) for name in names(text)]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    shared = Path(os.environ.get("FACESIEVE_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--threads", type=int, default=0)
    default = "facesieve-t,ediffiqa-t,ediffiqa-s,ediffiqa-m,ediffiqa-l"
    parser.add_argument("--students", type=names, default=names(default))
    parser.add_argument("--detectors", type=names, default=names("centerface,yunet-n,yunet-s,scrfd-500m"))
    parser.add_argument("--widths", type=numbers, default=[320, 640, 1280])
    parser.add_argument("--batches", type=numbers, default=[1, 8, 32])
    parser.add_argument("--no-gate", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    return options


def main() -> None:
    options = parsed()
    work = HERE / "out/engines"
    work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    journal = Journal(work, options)
    rates: dict[str, float] = {}
    for entry in journal.done:
        print(f"{entry['network']}: measured before it was cut off", flush=True)
        rates = {kind: max(rate, rates.get(kind, 0.0)) for kind, rate in entry["rates"].items()}
    best_rates(rates, options)
    left = [[n for n in names if not journal.has(n)] for names in (options.students, options.detectors)]
    gated = not options.no_gate
    for networks in (
        students(left[0], work, options.shared, gated) if left[0] else (),
        detectors(left[1], options.widths, work, options.shared, gated) if left[1] else (),
    ):
        for network in networks:
            print(f"{network.name}: timing …", flush=True)
            measured = timed(network, options)
            best_rates(rates, options)
            journal.add(network.name, measured, rates)
    rows = [row for entry in journal.done for row in entry["rows"]]
    compared(rows, rates)
    machine = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "?",
    )
    record = {
        "machine": f"{machine}, {os.cpu_count()} cores",
        "load_average": load,
        "threads": options.threads,
        "rounds": options.rounds,
        "gmacs": rates,
        "targets": targets(rows),
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    stem = "engines-quick" if options.quick else "engines"
    (options.out / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.out / f"{stem}.md").write_text(markdown(record))
    journal.close()
    print(markdown(record))


if __name__ == "__main__":
    main()
