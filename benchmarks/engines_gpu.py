"""Runtimes on an NVIDIA GPU: TensorRT, ms an image, images a second and memory, beside the published ones.

    pip install 'facesieve[tensorrt,fiqa]' && python benchmarks/engines_gpu.py [--device 0] [GRAPH.onnx ...]

Students of the authors' shapes with random weights (a network's speed does not hang on its values), the
shipped one, and whatever graphs of uint8 chips are named (those that a build has put into fp16 or int8). Each
with float32 products, with TF32 ones, and with TF32 and CUDA graphs, at batches of 1, 8, 32 and 128; medians
in wall time of a whole call, copies both ways included. Memory is what the device had less of while the
engine stood. Graphs and plans are kept in --work, so only a first run builds. Writes
benchmarks/results/engines_gpu.json and .md.

It has not yet run: no machine of this project had a GPU. tests/engines/tensorrt/test_benchmark.py runs all of
it but the GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import facesieve.engines
from facesieve.engines.tensorrt import TensorRTEngine
from facesieve.engines.tensorrt_device import Cuda, tensorrt
from facesieve.engines.tensorrt_plans import PlanOptions, Profile
from facesieve.engines.zoo.store import cache_folder
from facesieve.stream.errors import EngineUnavailable, FacesieveError
from facesieve.stream.types import CHIP_PX

RESULTS = Path(__file__).resolve().parent / "results"
SHIPPED = Path(facesieve.engines.__file__).parent / "zoo" / "weights" / "facesieve-t.onnx"
BATCHES = (1, 8, 32, 128)
STUDENTS = ("ediffiqa-t", "ediffiqa-s", "ediffiqa-m", "ediffiqa-l", "diffiqa-r", "aikd")
# ms an image on an RTX 3090 with an i9-10900KF, of Babnik et al., TBIOM 2024.
PUBLISHED_MS = {"ediffiqa-s": 0.36, "ediffiqa-m": 0.63, "ediffiqa-l": 1.09, "diffiqa-r": 1.24}
VARIANTS = {
    "TensorRT": (False, False),
    "TensorRT, TF32": (True, False),
    "TensorRT, TF32, CUDA graphs": (True, True),
}
LEAST_S, LEAST_RUNS, WARM_UP_RUNS = 1.0, 20, 10


@dataclass(frozen=True)
class Row:
    """ms_an_image, images_a_second: of one batch size. device_mib: held by the engine."""

    model: str
    engine: str
    batch: int
    ms_an_image: float
    images_a_second: float
    device_mib: float


def graphs(named: list[Path], work: Path, students: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """(name, ONNX file) of all that is measured; students are exported once."""
    yield SHIPPED.stem, SHIPPED
    for path in named:
        yield path.stem, path
    for name in students:
        path = work / f"{name}-random.onnx"
        if not path.is_file():
            from facesieve.fiqa.export import export_student
            from facesieve.fiqa.networks import ARCHITECTURES, build_student

            (architecture,) = (known for known in ARCHITECTURES if known == name)
            print(f"exporting {name} with random weights", file=sys.stderr)
            export_student(build_student(architecture), path)
        yield name, path


def measure(name: str, path: Path, device: int, work: Path) -> Iterator[Row]:
    """One row for each variant and batch size of one graph."""
    cuda = Cuda(device)
    for label, (tf32, cuda_graphs) in VARIANTS.items():
        options = PlanOptions(profile=Profile(1, min(32, BATCHES[-1]), BATCHES[-1]), tf32=tf32)
        TensorRTEngine.build(path, options=options, device=device, cache_dir=work)
        cuda.select()
        free = cuda.free_bytes()
        with TensorRTEngine(
            path, options=options, device=device, cuda_graphs=cuda_graphs, cache_dir=work
        ) as engine:
            seconds = {batch: call_s(engine, batch) for batch in BATCHES}
            held = (free - cuda.free_bytes()) / 2**20
        for batch, taken in seconds.items():
            yield Row(name, label, batch, 1e3 * taken / batch, batch / taken, held)


def call_s(engine: TensorRTEngine, batch: int) -> float:
    """Median wall time of one call with random chips (and eye distances where the graph looks at them)."""
    rng = np.random.default_rng(batch)
    feeds = {
        name: rng.integers(0, 256, (batch, CHIP_PX, CHIP_PX, 3)).astype(dtype)
        if len(shape) == 4
        else rng.uniform(10, 90, batch).astype(dtype)
        for name, (shape, dtype) in engine.inputs.items()
    }
    for _ in range(WARM_UP_RUNS):
        engine.infer(feeds)
    times: list[float] = []
    while len(times) < LEAST_RUNS or sum(times) < LEAST_S:
        start = time.perf_counter()
        engine.infer(feeds)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table(rows: list[Row], heading: str) -> str:
    """Markdown: a line for each model and engine: ms an image at each batch, the best throughput."""
    lines = [
        heading,
        "",
        f"| model | engine | {' | '.join(f'ms at {b}' for b in BATCHES)} | images/s | MiB | published ms |",
        "|---|---|" + "---|" * (len(BATCHES) + 3),
    ]
    for model, engine in dict.fromkeys((row.model, row.engine) for row in rows):
        ours = {row.batch: row for row in rows if (row.model, row.engine) == (model, engine)}
        costs = " | ".join(f"{ours[batch].ms_an_image:.3f}" for batch in BATCHES)
        best = max(row.images_a_second for row in ours.values())
        published = PUBLISHED_MS.get(model)
        lines.append(
            f"| {model} | {engine} | {costs} | {best:.0f} | {ours[BATCHES[-1]].device_mib:.0f} "
            f"| {'' if published is None else published} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graphs", nargs="*", type=Path)
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--work", type=Path, default=cache_folder() / "engines_gpu")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--students", nargs="*", choices=STUDENTS, default=STUDENTS)
    chosen = parser.parse_args(arguments)
    try:
        version = tensorrt().__version__
        gpu = Cuda(chosen.device).gpu()
    except EngineUnavailable as absent:
        print(f"engines_gpu: {absent}", file=sys.stderr)
        return absent.exit_code
    rows: list[Row] = []
    try:
        for name, path in graphs(chosen.graphs, chosen.work, tuple(chosen.students)):
            rows += measure(name, path, chosen.device, chosen.work)
    except FacesieveError as failure:
        print(f"engines_gpu: {failure}", file=sys.stderr)
        return failure.exit_code
    chosen.results.mkdir(parents=True, exist_ok=True)
    record = {"gpu": str(gpu), "tensorrt": version, "rows": [asdict(row) for row in rows]}
    (chosen.results / "engines_gpu.json").write_text(json.dumps(record, indent=1) + "\n")
    text = table(rows, f"{gpu}, TensorRT {version}; published: RTX 3090")
    (chosen.results / "engines_gpu.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
