"""What is computed from every chip: embeddings of the judges, baselines, scores of quality networks."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray

from ...stream.errors import ConfigError, ModelInvalid, SourceMissing
from ...stream.sinks.files import make_folder, write_whole
from ...stream.types import F32, U8
from ..edc import unit
from ..embedders import IMAGENET_MEAN, IMAGENET_STD, compile_onnx
from ..methods import Preprocessing, plain
from ..recognisers import KNOWN, PREPROCESSINGS, load_recogniser
from .chips import Finder, read_chips
from .datasets import Dataset

BATCH: Final = 32
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Column:
    """key: names the computation, with the hash of its weights. compute: chips (m, 112, 112, 3) and eye
    distances (m,) px → (m, d)."""

    key: str
    compute: Callable[[U8, F32], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Measured:
    """values: per key (n, d) of all faces of the set; rows that are not `found` are NaN."""

    values: dict[str, F32]
    found: NDArray[np.bool_]


def measure(
    dataset: Dataset, columns: Sequence[Column], finder: Finder | None, cache: Path | None, tick: Progress
) -> Measured:
    """Every column of every face, reading the images once; with a cache, only what it lacks."""
    fingerprint = dataset.fingerprint()
    values = {c.key: kept for c in columns if (kept := _kept(cache, fingerprint, c.key)) is not None}
    wanted = [c for c in columns if c.key not in values]
    if wanted or not values:
        parts: dict[str, list[NDArray[Any]]] = {c.key: [] for c in wanted}
        rows: list[NDArray[np.intp]] = []
        done = 0
        for chips in read_chips(dataset, np.arange(len(dataset), dtype=np.intp), finder, BATCH):
            if len(chips.rows):
                rows.append(chips.rows)
                for column in wanted:
                    parts[column.key].append(column.compute(chips.chips, chips.eyes_px).astype(np.float32))
            done += len(chips.rows) + len(chips.missing)
            tick(done, len(dataset))
        if not rows:
            raise SourceMissing(f"{dataset.name}: not one of its {len(dataset)} faces could be aligned")
        for key, part in parts.items():
            whole = np.concatenate(part).reshape(sum(map(len, part)), -1)
            values[key] = np.full((len(dataset), whole.shape[1]), np.nan, np.float32)
            values[key][np.concatenate(rows)] = whole
            _keep(cache, fingerprint, key, values[key])
    found = np.isfinite(np.concatenate([v[:, :1] for v in values.values()], 1)).all(1)
    return Measured(values, found)


def _slot(cache: Path, fingerprint: str, key: str) -> Path:
    return cache / f"{hashlib.sha256(f'{fingerprint} {key}'.encode()).hexdigest()[:32]}.npy"


def _kept(cache: Path | None, fingerprint: str, key: str) -> F32 | None:
    if cache is None or not _slot(cache, fingerprint, key).is_file():
        return None
    try:
        return np.asarray(np.load(_slot(cache, fingerprint, key), allow_pickle=False), np.float32)
    except (ValueError, EOFError):  # a damaged cache is computed anew
        return None


def _keep(cache: Path | None, fingerprint: str, key: str, values: F32) -> None:
    if cache is not None:
        make_folder(cache)
        content = io.BytesIO()
        np.save(content, values, allow_pickle=False)
        write_whole(_slot(cache, fingerprint, key), content.getvalue())


def laplacian() -> Column:
    """Variance of the Laplacian of the grey chip (Pech-Pacheco et al. 2000)."""

    def compute(chips: U8, _eyes: F32) -> NDArray[Any]:
        grey = [cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY) for chip in chips]
        return np.array([np.var(cv2.Laplacian(image, cv2.CV_64F)) for image in grey])

    return Column("Laplacian variance", compute)


def lightqnet(weights: Path) -> Column:
    """LightQNet (Chen et al. 2021): 96×96 RGB, (x − 128)/128."""
    digest = _digest(weights, "LightQNet")
    try:
        network = cv2.dnn.readNetFromTensorflow(str(weights))
    except cv2.error as damage:
        raise ModelInvalid(f"expected LightQNet's frozen graph at {weights}: {damage.err}") from damage

    def compute(chips: U8, _eyes: F32) -> NDArray[Any]:
        scores = []
        for chip in chips:
            small = cv2.resize(chip, (96, 96))
            network.setInput(cv2.dnn.blobFromImage(small, 1 / 128, (96, 96), (128, 128, 128)))
            scores.append(float(network.forward().ravel()[0]))
        return np.array(scores)

    return Column(f"LightQNet {digest}", compute)


def judge(path: Path, preprocessing: Preprocessing | None) -> Column:
    """Unit embeddings of a recogniser: ONNX by OpenVINO or onnxruntime, torch weights and dlib's by torch.

    preprocessing must be given for an ONNX file that is neither one of ours (uint8 chips) nor known.
    """
    digest, preprocessing = _digest(path, "recogniser"), plain(preprocessing)
    if path.suffix.lower() != ".onnx":
        recogniser = load_recogniser(path, preprocessing)
        return Column(f"judge {digest} {recogniser.preprocessing}", _by_torch(recogniser))
    if _takes_uint8(path):
        return Column(f"judge {digest} chips", _exported(path, "embedding"))
    usual = preprocessing or KNOWN.get(hashlib.sha256(path.read_bytes()).hexdigest())
    if usual not in ("imagenet", "symmetric", "symmetric-bgr"):
        raise ConfigError(
            f"expected a preprocessing for this ONNX recogniser, one of {', '.join(PREPROCESSINGS)}: {path}"
        )
    run = compile_onnx(path, BATCH)

    def compute(chips: U8, _eyes: F32) -> NDArray[Any]:
        padded = np.zeros((BATCH, 3, *chips.shape[1:3]), np.float32)
        padded[: len(chips)] = normalised(chips, usual)
        return unit(np.array(run(padded)).reshape(BATCH, -1)[: len(chips)])

    return Column(f"judge {digest} {usual}", compute)


def normalised(chips: U8, preprocessing: Preprocessing) -> F32:
    """(m, 112, 112, 3) uint8 → (m, 3, 112, 112) float32 as a recogniser takes it."""
    pixels = chips.astype(np.float32) / 255
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if preprocessing == "imagenet" else (0.5, 0.5)
    pixels = (pixels - mean) / std
    if preprocessing == "symmetric-bgr":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def scorer(path: Path) -> Column:
    """Raw quality of a network of facesieve's form (uint8 chips in) or of the authors' eDifFIQA exports."""
    return Column(f"scorer {_digest(path, 'quality network')}", _exported(path, "quality"))


def _by_torch(recogniser: torch.nn.Module) -> Callable[[U8, F32], NDArray[Any]]:
    def compute(chips: U8, _eyes: F32) -> NDArray[Any]:
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(chips)).permute(0, 3, 1, 2).float() / 255
            return unit(recogniser(pixels).numpy())

    return compute


def _exported(path: Path, output: str) -> Callable[[U8, F32], NDArray[Any]]:
    """Runs a network with uint8 chips, and perhaps eye distances, or float32 (x/255 − .5)/.5 in NCHW; of its
    outputs the one with one value a chip is the quality, the wider one the embedding."""
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as damage:  # onnxruntime's own classes have no base in common
        raise ModelInvalid(f"expected an ONNX network at {path}: {damage}") from damage
    inputs = {entry.name: entry.type for entry in session.get_inputs()}
    images = [name for name in inputs if name != "eye_distance_px"]
    if len(images) != 1 or inputs[images[0]] not in ("tensor(uint8)", "tensor(float)"):
        raise ModelInvalid(f"expected chips, and perhaps eye_distance_px, as inputs of {path}, got {inputs}")
    raw = inputs[images[0]] == "tensor(uint8)"

    def compute(chips: U8, eyes: F32) -> NDArray[Any]:
        feeds = {images[0]: chips if raw else normalised(chips, "symmetric"), "eye_distance_px": eyes}
        outputs = session.run(None, {name: feeds[name] for name in inputs})
        flat = [np.asarray(part).reshape(len(chips), -1) for part in outputs]
        fits = [part for part in flat if (part.shape[1] == 1) == (output == "quality")]
        if len(fits) != 1:
            raise ModelInvalid(f"expected one {output} among the outputs of {path}, got {len(fits)}")
        return fits[0] if output == "quality" else unit(fits[0])

    return compute


def _takes_uint8(path: Path) -> bool:
    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as damage:
        raise ModelInvalid(f"expected an ONNX recogniser at {path}: {damage}") from damage
    return any(entry.element_type == openvino.Type.u8 for entry in model.inputs)


def _digest(path: Path, what: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as cause:
        raise SourceMissing(f"expected a {what} at {path}: {cause.strerror}") from cause
