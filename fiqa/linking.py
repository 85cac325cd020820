"""How alike two templates must be to be of one person: a network's similarities at stated false match rates.

    python -m facesieve.fiqa.linking [MODEL.onnx] [--shared ../shared] [--out TABLE.json]

Measured on people whom the shipped student was never trained on (those that its recipe holds out), each
photograph as it is and degraded as its training chips are, so that "a track" is a handful of versions of one
photograph and a genuine comparison is between two photographs. Without --out the table goes into the model's
card (`<stem>.json` beside it) as `verification`. It has to be measured again whenever the weights change: a
run refuses a table of other weights. docs/identities.md says what it is used for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engines.models.recognisers import KNOWN, PIXELS, OnnxEmbedder, Pixels
from ..engines.models.students import Calibration, OnnxScorer, scorer_name
from ..engines.openvino import OpenVinoEngine
from ..engines.signature import sole_input
from ..engines.zoo.fetch import digest
from ..stream.errors import ConfigError, FacesieveError
from ..stream.geometry import ARCFACE_POINTS
from ..stream.identity.templates import LEAST_WEIGHT, mean_template
from ..stream.ports import Embedder
from ..stream.types import F32, U8, Crop
from .faces import CHIP_EYE_DISTANCE_PX, Faces, read_faces
from .student.dataset import Versions, degradations
from .student.degrade import degrade
from .student.labels import held_out

STUDENT = Path(__file__).resolve().parent.parent / "engines/zoo/weights/facesieve-t.onnx"
FOLDERS = ("lfw-train", "glint-train")
"""In the order in which the student's chips are made: people are numbered by it, and held out by number."""
VERSIONS, SEED = 4, 0
MOST_PHOTOGRAPHS = 24
"""Of one person: a few people with hundreds must not decide."""
RATES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
SIZES = (1, 3)
MIN_QUALITY = 0.1
"""Below it impostors' similarities rise without bound (bad faces look like each other), so that no threshold
holds; above it they hardly depend on quality."""


@dataclass(frozen=True, slots=True)
class Photographs:
    """Held-out photographs in VERSIONS versions each. chips: (p, v, 112, 112, 3). eyes_px: (p, v) float32.
    people: (p,) number of the person."""

    chips: U8
    eyes_px: F32
    people: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Templates:
    """vectors: (t, d) unit. photographs: (t,) of which each is made. people: (t,)."""

    vectors: F32
    photographs: NDArray[np.intp]
    people: NDArray[np.int32]


def held_out_photographs(shared: Path) -> Photographs:
    """Reads and degrades them; the same every time."""
    tables = [read_faces(shared / "data" / name) for name in FOLDERS]
    counts = [len(table) for table in tables]
    names = np.concatenate([table.identities for table in tables])
    people = np.unique(names, return_inverse=True)[1].astype(np.int32)
    total = len(people)
    whole = Versions(
        np.zeros((0, 112, 112, 3), np.uint8),
        np.arange(total, dtype=np.int32),
        np.zeros(total, np.int8),
        people,
        np.zeros(total, np.float32),
    )
    generator = np.random.default_rng(SEED)
    chosen: list[int] = []
    for person in np.unique(people[held_out(whole)]):
        own = np.flatnonzero(people == person)
        chosen += np.sort(generator.permutation(own)[:MOST_PHOTOGRAPHS]).tolist()
    made = [_versions(tables, counts, source) for source in chosen]
    return Photographs(
        np.stack([chips for chips, _ in made]),
        np.array([eyes for _, eyes in made], np.float32),
        people[chosen],
    )


def _versions(tables: Sequence[Faces], counts: Sequence[int], source: int) -> tuple[U8, list[float]]:
    """(v, 112, 112, 3) chips and eye distances of one source, by its number over all folders."""
    row, table = source, tables[0]
    for candidate, count in zip(tables, counts, strict=True):
        table = candidate
        if row < count:
            break
        row -= count
    image = table.image(row)
    landmarks = ARCFACE_POINTS if table.landmarks is None else table.landmarks[row]
    made = [degrade(image, landmarks, how) for how in degradations(source, VERSIONS, SEED)]
    return np.stack([chip for chip, _ in made]), [eyes for _, eyes in made]


def crops_of(photographs: Photographs) -> list[Crop]:
    """Every version as a crop, photograph by photograph."""
    chips = photographs.chips.reshape(-1, *photographs.chips.shape[2:])
    return [
        Crop(
            track=0,
            frame_index=index,
            pts_s=float(index),
            wall_s=None,
            chip=chip,
            portrait=None,
            portrait_origin=(0, 0),
            box=np.array([0, 0, 112, 112], np.float32),
            landmarks=ARCFACE_POINTS,
            detection_score=1.0,
            eye_distance_px=float(eyes) if np.isfinite(eyes) else CHIP_EYE_DISTANCE_PX,
            truncated=0.0,
        )
        for index, (chip, eyes) in enumerate(zip(chips, photographs.eyes_px.reshape(-1), strict=True))
    ]


def templates(vectors: F32, quality: NDArray[np.float64], people: NDArray[np.int32], size: int) -> Templates:
    """Of the best `size` versions of each photograph that reach MIN_QUALITY, as in a track; of size 1 each
    version by itself. vectors: (p, v, d). quality: (p, v)."""
    made: list[F32] = []
    source: list[int] = []
    for photograph in range(len(people)):
        order = np.argsort(-quality[photograph], kind="stable")
        good = order[quality[photograph][order] >= MIN_QUALITY]
        groups = [good[i : i + 1] for i in range(len(good))] if size == 1 else [good[:size]]
        for group in groups:
            if len(group) == size:
                weights = np.maximum(quality[photograph][group], LEAST_WEIGHT)
                made.append(mean_template(vectors[photograph][group], weights))
                source.append(photograph)
    index = np.array(source, np.intp)
    return Templates(np.stack(made), index, people[index])


def similarities(found: Templates) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Impostor comparisons (different people) and genuine ones (one person, different photographs)."""
    table = found.vectors.astype(np.float64) @ found.vectors.T.astype(np.float64)
    first, second = np.triu_indices(len(table), 1)
    same = found.people[first] == found.people[second]
    apart = found.photographs[first] != found.photographs[second]
    values = table[first, second]
    return values[~same], values[same & apart]


def measure(vectors: F32, quality: NDArray[np.float64], people: NDArray[np.int32]) -> dict[str, Any]:
    """The table: at each rate the threshold (the highest over template sizes, so that it holds for all), and
    what was measured for each size."""
    sizes: dict[str, Any] = {}
    for size in SIZES:
        found = templates(vectors, quality, people, size)
        impostor, genuine = similarities(found)
        thresholds = np.quantile(impostor, 1 - np.array(RATES))
        sizes[str(size)] = {
            "templates": len(found.vectors),
            "impostor_pairs": len(impostor),
            "genuine_pairs": len(genuine),
            "threshold": [round(float(t), 4) for t in thresholds],
            "fnmr": [round(float((genuine < t).mean()), 4) for t in thresholds],
        }
    return {
        "people": len(np.unique(people)),
        "photographs": len(people),
        "min_quality": MIN_QUALITY,
        "fmr": list(RATES),
        "threshold": [max(sizes[key]["threshold"][i] for key in sizes) for i in range(len(RATES))],
        "template_sizes": sizes,
    }


def open_model(path: Path, pixels: Pixels | None) -> Embedder | OnnxScorer:
    """A student, or a recogniser; in fp32."""
    engine = OpenVinoEngine(path, threads=1, precision="fp32")
    if len(engine.outputs) == 2:
        return OnnxScorer(engine, name=scorer_name(path), calibration=Calibration.beside(path))
    _, image = engine.inputs[sole_input(engine.inputs, str(path))]
    if image != np.uint8:
        engine.close()
        wanted = pixels or KNOWN.get(digest(path))
        if wanted is None:
            raise ConfigError(f"{path}: an unknown recogniser: give --pixels, one of {', '.join(PIXELS)}")
        engine = OpenVinoEngine(path, threads=1, precision="fp32", pixels=PIXELS[wanted])
    return OnnxEmbedder(engine, name=scorer_name(path))


def measure_model(model: Path, shared: Path, pixels: Pixels | None = None) -> dict[str, Any]:
    """The verification table of a network. Qualities are the shipped student's where it has none itself."""
    photographs = held_out_photographs(shared)
    crops = crops_of(photographs)
    shape = photographs.chips.shape[:2]
    with closing(open_model(model, pixels)) as network:
        if isinstance(network, OnnxScorer):
            scored = network.score(crops)
            vectors = np.stack([row.embedding for row in scored if row.embedding is not None])
        else:
            with closing(open_model(STUDENT, None)) as student:
                if not isinstance(student, OnnxScorer):
                    raise ConfigError(f"{STUDENT}: expected a student with a quality and an embedding")
                scored = student.score(crops)
            vectors = network.embed(crops)
    quality = np.array([1.0 if row.calibrated is None else row.calibrated for row in scored])
    table = measure(vectors.reshape(*shape, -1), quality.reshape(shape), photographs.people)
    return {"model_sha256": digest(model), **table}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m facesieve.fiqa.linking", description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=STUDENT)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument(
        "--pixels", choices=list(PIXELS), help="of a recogniser that is not known by its hash"
    )
    parser.add_argument("--out", type=Path, help="a file of its own instead of the model's card")
    arguments = parser.parse_args()
    try:
        table = measure_model(arguments.model, arguments.shared, arguments.pixels)
        target: Path = arguments.out or arguments.model.with_suffix(".json")
        known = json.loads(target.read_text("utf-8")) if target.is_file() else {}
        target.write_text(json.dumps({**known, "verification": table}, indent=1) + "\n", "utf-8")
    except FacesieveError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    print(f"{target}: {dict(zip(table['fmr'], table['threshold'], strict=True))}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
