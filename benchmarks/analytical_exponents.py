"""Where the analytical scorer's exponents come from, and how it ranks video frames that it was not fitted on.

    python benchmarks/analytical_exponents.py [--shared ../shared] [--images 4500]

Fits on lfw-train: each picture is degraded at random, detected anew by YuNet and aligned; its target is the
mean similarity, under the shared recogniser, to the same person's other pictures as they are. Prints the rank
correlation (Spearman) of target and score, for the exponents in use and for the best found with detection
held at its share, on faces drawn evenly over yaw. ytf-dev, as it is, is reported only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
from scipy.optimize import minimize
from scipy.stats import spearmanr

from facesieve.stream.align import align
from facesieve.stream.analytical import EXPONENTS, AnalyticalScorer, factors
from facesieve.stream.geometry import iou, warp_chip
from facesieve.stream.pose import head_pose
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import U8, Crop, Detections, Frame

F64 = npt.NDArray[np.float64]
Rows = list[dict[str, str]]
YAW_BINS = ((0, 15), (15, 30), (30, 40), (40, 90))


def read(folder: Path) -> Rows:
    with (folder / "faces.csv").open(newline="") as table:
        return list(csv.DictReader(table))


def picture(folder: Path, row: dict[str, str]) -> U8:
    return np.ascontiguousarray(cv2.imread(str(folder / "images" / row["file"]))[..., ::-1], np.uint8)


def labelled(row: dict[str, str]) -> Detections:
    x, y, w, h = (float(row[name]) for name in "xywh")
    points = [[float(row[f"l{axis}{i}"]) for axis in "xy"] for i in range(5)]
    return Detections(
        np.array([[x, y, x + w, y + h]], np.float32),
        np.array([float(row["score"])], np.float32),
        np.array([points], np.float32),
    )


def embedder(model: Path) -> Callable[[list[U8]], F64]:
    session = onnxruntime.InferenceSession(str(model))
    name = session.get_inputs()[0].name
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def embed(chips: list[U8]) -> F64:
        rows = []
        for chip in chips:
            tensor = ((chip / 255 - mean) / deviation).astype(np.float32).transpose(2, 0, 1)[None]
            vector = session.run(None, {name: tensor})[0][0].astype(np.float64)
            rows.append(vector / np.linalg.norm(vector))
        return np.array(rows)

    return embed


def jpeg(image: U8, quality: int) -> U8:
    return np.asarray(
        cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8
    )


def noisy(image: npt.NDArray[np.floating], sigma: float, rng: np.random.Generator) -> U8:
    return np.clip(image + rng.normal(0, sigma, image.shape), 0, 255).round().astype(np.uint8)


def moved(image: U8, rng: np.random.Generator) -> U8:
    length, angle = int(rng.integers(3, 21)), rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    half = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    ends = [tuple(int(v) for v in length / 2 + sign * half) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def cut(image: U8, rng: np.random.Generator) -> tuple[U8, tuple[int, int]]:
    lost = int(rng.uniform(0.2, 0.55) * image.shape[1])
    match int(rng.integers(4)):
        case 0:
            return image[lost:], (0, -lost)
        case 1:
            return image[:-lost], (0, 0)
        case 2:
            return image[:, lost:], (-lost, 0)
        case _:
            return image[:, :-lost], (0, 0)


def degrade(image: U8, eye_px: float, rng: np.random.Generator) -> tuple[U8, float, tuple[int, int]]:
    """The picture made worse; the factor and then the shift by which its coordinates changed."""
    factor, shift = 1.0, (0, 0)
    height, width = image.shape[:2]
    kinds = ["none", "down", "video", "soft", "blur", "motion", "dark", "bright", "cut"]
    match rng.choice(kinds, p=[0.13, 0.11, 0.27, 0.13, 0.11, 0.11, 0.05, 0.04, 0.05]):
        case "down" | "video" as kind:
            factor = np.exp(rng.uniform(np.log(7), np.log(max(eye_px, 8)))) / eye_px
            size = max(round(width * factor), 8), max(round(height * factor), 8)
            image = noisy(cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(float), 1.5, rng)
            factor = size[0] / width
            if kind == "video":
                image = jpeg(image, int(rng.integers(10, 70)))
        case "soft":
            share = np.exp(rng.uniform(np.log(0.12), 0))
            small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
            blown = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
            image = jpeg(blown, int(rng.integers(15, 70)))
        case "blur":
            sigma = np.exp(rng.uniform(np.log(0.5), np.log(5))) * height / 200
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
        case "motion":
            image = moved(image, rng)
        case "dark":
            image = noisy(image * np.exp(rng.uniform(np.log(0.03), np.log(0.6))), 2, rng)
        case "bright":
            image = noisy(image * rng.uniform(1.3, 5), 0, rng)
        case "cut":
            image, shift = cut(image, rng)
    return np.ascontiguousarray(image), factor, shift


class Redetector:
    """Finds a known face again with YuNet, as a detector would see the degraded picture."""

    def __init__(self, model: Path) -> None:
        self._model = cv2.FaceDetectorYN.create(str(model), "", (320, 320), 0.02, 0.3)

    def find(self, image: U8, expected: npt.NDArray[np.floating]) -> Detections | None:
        """The face that overlaps the expected box (4,) most, None below an IoU of .35."""
        padded = cv2.copyMakeBorder(image, 32, 32, 32, 32, cv2.BORDER_CONSTANT)
        self._model.setInputSize((padded.shape[1], padded.shape[0]))
        faces = self._model.detect(np.ascontiguousarray(padded[..., ::-1]))[1]
        if faces is None:
            return None
        boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], 1) - 32
        overlap = iou(expected[None], boxes)[0]
        best = int(overlap.argmax())
        if overlap[best] < 0.35:
            return None
        points = faces[best, 4:14].reshape(1, 5, 2) - 32
        score = np.clip(faces[best : best + 1, 14], 0, 1)
        return Detections(boxes[best : best + 1].astype(np.float32), score, points.astype(np.float32))


def chip_of(image: U8, found: Detections) -> Crop | None:
    made = align(Frame("", 0, 0.0, None, ArrayPicture(image)), found, 0, 0, portrait=False)
    return made if isinstance(made, Crop) else None


def degraded_crops(folder: Path, rows: Rows, detector: Redetector) -> list[Crop | None]:
    rng = np.random.default_rng(0)
    crops = []
    for row in rows:
        known = labelled(row)
        eye_px = float(np.hypot(*(known.landmarks[0, 1] - known.landmarks[0, 0])))
        image, factor, shift = degrade(picture(folder, row), eye_px, rng)
        found = detector.find(image, known.boxes[0] * factor + np.tile(shift, 2))
        crops.append(chip_of(image, found) if found else None)
    return crops


def targets(embeddings: F64, clean: F64, rows: Rows) -> F64:
    """(n,) mean similarity to the clean pictures of the same person, of other videos; NaN without one."""
    people = np.array([row["identity"] for row in rows])
    videos = np.array([row["video"] or row["file"] for row in rows])
    values = np.full(len(rows), np.nan)
    for i, (person, video) in enumerate(zip(people, videos, strict=True)):
        others = (people == person) & (videos != video)
        if others.any():
            values[i] = (clean[others] @ embeddings[i]).mean()
    return values


def correlation(weights: npt.NDArray[np.floating], logs: F64, target: F64) -> float:
    return float(spearmanr(logs @ weights, target).statistic)


def fit(logs: F64, target: F64, share: float) -> F64:
    """Exponents of highest rank correlation that add up to 1, the last one (detection) held at its share."""

    def whole(free: F64) -> F64:
        return np.append(np.abs(free) / np.abs(free).sum() * (1 - share), share)

    start = np.array([0.4, 0.25, 0.1, 0.1, 0.15])
    options = {"maxiter": 200, "xatol": 5e-3, "fatol": 1e-4}
    found = minimize(
        lambda free: -correlation(whole(free), logs, target), start, method="Nelder-Mead", options=options
    )
    return whole(found.x)


def on_training(shared: Path, images: int, embed: Callable[[list[U8]], F64]) -> dict[str, object]:
    folder = shared / "data/lfw-train"
    rows = read(folder)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["identity"]] = counts.get(row["identity"], 0) + 1
    taken: dict[str, int] = {}
    chosen = []
    for row in rows:
        taken[row["identity"]] = taken.get(row["identity"], 0) + 1
        if counts[row["identity"]] > 1 and taken[row["identity"]] <= 4:
            chosen.append(row)
    chosen = chosen[:images]
    clean = embed([warp_chip(picture(folder, row), labelled(row).landmarks[0]) for row in chosen])
    made = degraded_crops(folder, chosen, Redetector(shared / "models/yunet_n_dynamic.onnx"))
    seen = [i for i, crop in enumerate(made) if crop is not None]
    crops = [crop for crop in made if crop is not None]
    embeddings = np.zeros_like(clean)
    embeddings[seen] = embed([crop.chip for crop in crops])
    target = targets(embeddings, clean, chosen)[seen]
    known = ~np.isnan(target)
    logs = np.log(np.maximum(np.stack(list(factors(crops).values()), 1), 1e-3))
    yaw = np.abs(head_pose(np.stack([crop.landmarks for crop in crops]))[:, 0])
    rng = np.random.default_rng(0)
    even = np.concatenate(
        [rng.choice(np.flatnonzero(known & (yaw >= a) & (yaw < b)), len(crops) // 6) for a, b in YAW_BINS]
    )
    ours = np.array(list(EXPONENTS.values()))
    best = fit(logs[even], target[even], EXPONENTS["detection"])
    return {
        "faces": int(known.sum()),
        "spearman": correlation(ours, logs[known], target[known]),
        "spearman_even_yaw": correlation(ours, logs[even], target[even]),
        "best_even_yaw": correlation(best, logs[even], target[even]),
        "best_exponents": dict(zip(EXPONENTS, best.round(3).tolist(), strict=True)),
    }


def on_video(shared: Path, embed: Callable[[list[U8]], F64]) -> dict[str, object]:
    folder = shared / "data/ytf-dev"
    rows = read(folder)
    crops = [chip_of(picture(folder, row), labelled(row)) for row in rows]
    found = [crop for crop in crops if crop is not None]
    if len(found) < len(rows):
        raise SystemExit(f"expected a chip of every labelled face, got {len(found)} of {len(rows)}")
    embeddings = embed([crop.chip for crop in found])
    target = targets(embeddings, embeddings, rows)
    known = ~np.isnan(target)
    scores = np.array([quality.score for quality in AnalyticalScorer().score(found)])
    columns = {"score": scores, **factors(found)}
    return {
        "faces": int(known.sum()),
        **{
            name: float(spearmanr(values[known], target[known]).statistic) for name, values in columns.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("FACESIEVE_SHARED", "../shared")))
    parser.add_argument("--images", type=int, default=4500)
    options = parser.parse_args()
    embed = embedder(options.shared / "models/mobilefacenet_foamliu.onnx")
    report = {
        "exponents": dict(EXPONENTS),
        "lfw_train_degraded": on_training(options.shared, options.images, embed),
        "ytf_dev": on_video(options.shared, embed),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
