"""Times one engine × precision × model in a process of its own; started by engines.py.

Reads JSON lines {"batch": n, "size": [h, w] or null, "seconds": s} from standard input, answers each with one
line {"ms": median milliseconds of a call, "runs": n} (or {"error": …}), and ends with its input.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from facesieve.engines.models.scrfd import Scrfd
from facesieve.engines.models.yunet import YuNet
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.signature import PixelInput
from facesieve.engines.timing import call_seconds

KINDS = {"chips": None, "scrfd": Scrfd.PIXELS, "plain": YuNet.PIXELS}


def opened(engine: str, precision: Any, model: Path, kind: str, threads: int) -> Any:
    pixels = KINDS[kind]
    if pixels is not None:
        pixels = PixelInput(pixels.mean, pixels.std, pixels.layout, batch=None)
    if engine == "openvino":
        return OpenVinoEngine(model, pixels=pixels, precision=precision, threads=threads, specialise=True)
    return OnnxRuntimeEngine(model, pixels=pixels, threads=threads)


def main() -> None:
    engine_name, precision, model, kind, threads = sys.argv[1:]
    start = time.perf_counter()
    engine = opened(engine_name, precision, Path(model), kind, int(threads))
    print(json.dumps({"open_ms": (time.perf_counter() - start) * 1e3}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        height, width = asked["size"] or (112, 112)
        try:
            spent = call_seconds(engine, (asked["batch"], height, width, 3), asked["seconds"])
            answer: dict[str, Any] = {
                "ms": statistics.median(spent) * 1e3,
                "least_ms": min(spent) * 1e3,
                "runs": len(spent),
            }
        except Exception as failure:  # noqa: BLE001 - a cell of the table, not the table
            answer = {"error": f"{type(failure).__name__}: {str(failure)[:160]}"}
        answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
