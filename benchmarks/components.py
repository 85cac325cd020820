"""What measuring the quality components costs: CPU time a face, one thread, by batch.

    python benchmarks/components.py [--clip ../shared/videos/WolfgangLanger_Pexels.mp4]

CPU time, not wall time, so that a busy machine distorts it less; the least of several rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from facesieve.build import build
from facesieve.config import Config
from facesieve.stream.align import align
from facesieve.stream.decode.sources import open_source
from facesieve.stream.types import Crop

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FACESIEVE_SHARED", ROOT.parent / "shared"))
ROUNDS = 7


def least_ms(work: Callable[[], object], faces: int) -> float:
    """CPU milliseconds a face."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        rounds.append(time.process_time() - started)
    return min(rounds) / faces * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, default=SHARED / "videos/WolfgangLanger_Pexels.mp4")
    parser.add_argument("--faces", type=int, default=96)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    built = build(Config())
    assert built.assessor is not None
    assess = built.assessor.assess
    crops: list[Crop] = []
    for frame in open_source(str(arguments.clip)):
        found = built.detector.detect(frame)
        made = [align(frame, found, i, 1) for i in range(len(found))]
        crops += [crop for crop in made if isinstance(crop, Crop)]
        if len(crops) >= arguments.faces:
            break
    print(f"{len(crops)} faces, portraits of {crops[0].portrait.shape[1::-1]} px")  # type: ignore[union-attr]
    for batch in (1, 3, 8, 32):
        parts = [crops[start : start + batch] for start in range(0, len(crops), batch)]
        print(
            f"batch {batch:2}: {least_ms(lambda p=parts: [assess(x) for x in p], len(crops)):.2f} ms a face"
        )
    built.close()


if __name__ == "__main__":
    main()
