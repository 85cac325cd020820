"""One measurement of benchmarks/throughput.py, in a process of its own: `WORKER CLIP ARGUMENT`, JSON out.

Each worker imports only what it measures, so that its peak memory is its own and so that the peers can run in
environments without facesieve.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

SHARED = Path(os.environ.get("FACESIEVE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def decode(clip: str, _argument: str) -> dict[str, Any]:
    """Every frame decoded, none looked at."""
    import av

    started, frames = time.perf_counter(), 0
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.thread_type = "FRAME"
        for _ in container.decode(stream):
            frames += 1
    return {"fps": frames / (time.perf_counter() - started)}


def facesieve(clip: str, argument: str) -> dict[str, Any]:
    """The main job as the command line runs it; compiling the networks is the start, not the rate."""
    began = time.perf_counter()
    from facesieve import job
    from facesieve.config import parse_config
    from facesieve.stream.decode import VideoSource

    built_at: list[float] = []
    build = job.build

    def timed_build(config: Any) -> Any:
        built = build(config)
        with VideoSource(clip) as film:  # a detector compiles for the size of the frames when the first comes
            built.detector.detect(next(iter(film)))
        built_at.extend((time.perf_counter(), time.process_time()))
        return built

    job.build = timed_build
    config = parse_config(json.loads(argument), "benchmark")
    watched: list[Any] = []
    with tempfile.TemporaryDirectory() as out:
        outcomes = list(
            job.run_sources(
                [clip],
                Path(out) / "run",
                config,
                overwrite=False,
                stop=threading.Event(),
                watch=lambda spec, source, progress: watched.append(progress),
                on_result=lambda spec, result: None,
            )
        )
        elapsed, cpu_s = time.perf_counter() - built_at[0], time.process_time() - built_at[1]
    if outcomes[0].error is not None:
        raise outcomes[0].error
    progress = watched[0]
    return {
        "fps": progress.frames / elapsed,
        "start_s": built_at[0] - began,
        "core_ms_per_look": 1000 * cpu_s / progress.detected,
        "faces": progress.faces,
        "shots": progress.shots,
        "stages_ms_per_frame": {
            stage: 1000 * spent / progress.frames for stage, spent in progress.stages_s.items()
        },
    }


def naive(clip: str, argument: str) -> dict[str, Any]:
    """What a user writes today: full frames, every frame, every face, one at a time."""
    import cv2
    import numpy as np
    import onnxruntime

    video = cv2.VideoCapture(clip)
    size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    detector = cv2.FaceDetectorYN.create(str(SHARED / "models/yunet_n_dynamic.onnx"), "", size, 0.6, 0.3)
    scorer = onnxruntime.InferenceSession(str(SHARED / "models/mobilefacenet_foamliu.onnx"))
    name = scorer.get_inputs()[0].name
    points = np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    )
    started, frames = time.perf_counter(), 0
    while time.perf_counter() - started < float(argument):
        read, image = video.read()
        if not read:
            break
        frames += 1
        _, faces = detector.detect(image)
        for face in faces if faces is not None else ():
            matrix, _ = cv2.estimateAffinePartial2D(face[4:14].reshape(5, 2), points)
            if matrix is None:
                continue
            chip = cv2.cvtColor(cv2.warpAffine(image, matrix, (112, 112)), cv2.COLOR_BGR2RGB)
            blob = ((chip / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)
            scorer.run(None, {name: blob[None].astype(np.float32)})
    return {"fps": frames / (time.perf_counter() - started)}


def mtcnn(clip: str, argument: str) -> dict[str, Any]:
    """facenet-pytorch's MTCNN with its crops, on every frame."""
    import cv2
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(os.cpu_count() or 1)
    detector = MTCNN(image_size=112, keep_all=True)
    video = cv2.VideoCapture(clip)
    started, frames = time.perf_counter(), 0
    while time.perf_counter() - started < float(argument):
        read, image = video.read()
        if not read:
            break
        frames += 1
        detector(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return {"fps": frames / (time.perf_counter() - started)}


if __name__ == "__main__":
    worker, clip, argument = sys.argv[1:]
    result = {"decode": decode, "facesieve": facesieve, "naive": naive, "mtcnn": mtcnn}[worker](
        clip, argument
    )
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))
