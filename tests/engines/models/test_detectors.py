"""CenterFace, YuNet and SCRFD against a slow decode of the raw graph in ONNX Runtime, and on real faces."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facesieve.engines import onnx_wire
from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.models.letterbox import Letterbox
from facesieve.engines.models.scrfd import Scrfd
from facesieve.engines.models.yunet import YuNet
from facesieve.engines.onnxruntime import OnnxRuntimeEngine
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.stream.errors import ConfigError, EngineClosed, ModelInvalid
from facesieve.stream.geometry import iou
from facesieve.stream.types import U8, Detections, Frame

ort = pytest.importorskip("onnxruntime")
Kind = type[CenterFace] | type[YuNet] | type[Scrfd]
KINDS: list[Kind] = [CenterFace, YuNet, Scrfd]
Found = tuple[float, list[float], list[tuple[float, float]]]  # score, box, points; pixels of the input


@pytest.fixture(scope="module")
def model_of(weights: Callable[[str], Path], shared: Path) -> Callable[[Kind], Path]:
    def path(kind: Kind) -> Path:
        if kind is CenterFace:
            return weights("centerface")
        return shared / "models" / ("yunet_n_dynamic.onnx" if kind is YuNet else "scrfd_500m_kps.onnx")

    return path


@pytest.fixture(scope="module")
def made(model_of: Callable[[Kind], Path]) -> Iterator[Callable[..., Any]]:
    """A detector of a kind, fp32, kept for the module."""
    kept: dict[Any, Any] = {}

    def make(kind: Kind, side: int = 640, specialise: bool = False) -> Any:
        key = kind, side, specialise
        if key not in kept:
            engine = OpenVinoEngine(
                model_of(kind), pixels=kind.PIXELS, precision="fp32", specialise=specialise
            )
            kept[key] = kind(engine, long_side_px=side)
        return kept[key]

    yield make
    for detector in kept.values():
        detector.close()


def centerface_reference(outputs: list[np.ndarray], _width: int, least: float) -> list[Found]:
    heat, size, offset, marks = (o[0] for o in outputs)
    found: list[Found] = []
    for r in range(heat.shape[1]):
        for c in range(heat.shape[2]):
            if heat[0, r, c] < least:
                continue
            h, w = math.exp(size[0, r, c]) * 4, math.exp(size[1, r, c]) * 4
            x0, y0 = (c + offset[1, r, c] + 0.5) * 4 - w / 2, (r + offset[0, r, c] + 0.5) * 4 - h / 2
            points = [(x0 + marks[2 * k + 1, r, c] * w, y0 + marks[2 * k, r, c] * h) for k in range(5)]
            found.append((float(heat[0, r, c]), [x0, y0, x0 + w, y0 + h], points))
    return found


def yunet_reference(outputs: list[np.ndarray], width: int, least: float) -> list[Found]:
    found: list[Found] = []
    for level, s in enumerate((8, 16, 32)):
        cls, obj, box, kps = (outputs[3 * part + level][0] for part in range(4))
        for i in range(len(cls)):
            score = math.sqrt(min(max(cls[i, 0], 0), 1) * min(max(obj[i, 0], 0), 1))
            if score < least:
                continue
            r, c = divmod(i, width // s)
            x, y = (c + box[i, 0]) * s, (r + box[i, 1]) * s
            w, h = math.exp(box[i, 2]) * s, math.exp(box[i, 3]) * s
            points = [((c + kps[i, 2 * k]) * s, (r + kps[i, 2 * k + 1]) * s) for k in range(5)]
            found.append((score, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], points))
    return found


def scrfd_reference(outputs: list[np.ndarray], width: int, least: float) -> list[Found]:
    found: list[Found] = []
    for level, s in enumerate((8, 16, 32)):
        scores, reach, kps = (outputs[level + 3 * part][0] for part in range(3))
        for i in range(len(scores)):
            if scores[i, 0] < least:
                continue
            r, c = divmod(i // 2, width // s)
            left, top, right, bottom = (float(d) * s for d in reach[i])
            points = [((c + kps[i, 2 * k]) * s, (r + kps[i, 2 * k + 1]) * s) for k in range(5)]
            found.append(
                (float(scores[i, 0]), [c * s - left, r * s - top, c * s + right, r * s + bottom], points)
            )
    return found


REFERENCES = {CenterFace: centerface_reference, YuNet: yunet_reference, Scrfd: scrfd_reference}
SETTINGS = {CenterFace: (0.5, 0.3), YuNet: (0.6, 0.3), Scrfd: (0.5, 0.4)}


def reference(kind: Kind, model: Path, rgb: U8, side: int) -> Detections:
    """The same faces another way: float NCHW blob, ONNX Runtime, loops, pairwise suppression."""
    least, limit = SETTINGS[kind]
    fit = Letterbox.fit(rgb.shape[1], rgb.shape[0], side)
    small = cv2.resize(rgb, (fit.content_width, fit.content_height), interpolation=cv2.INTER_AREA)
    canvas = np.zeros((fit.height, fit.width, 3), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    blob = canvas.astype(np.float32).transpose(2, 0, 1)[None]
    if kind is YuNet:
        blob = blob[:, ::-1]
    if kind is Scrfd:
        blob = (blob - 127.5) / 128
    raw = model.read_bytes()
    (name,) = onnx_wire.input_names(raw)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        onnx_wire.with_input_shapes(raw, {name: (1, 3, None, None)}),
        options,
        providers=["CPUExecutionProvider"],
    )
    found = REFERENCES[kind](session.run(None, {name: np.ascontiguousarray(blob)}), fit.width, least)
    found.sort(key=lambda f: -f[0])
    kept: list[Found] = []
    for face in found:
        if all(iou(np.array([face[1]]), np.array([k[1]]))[0, 0] <= limit for k in kept):
            kept.append(face)
    if not kept:
        return Detections.empty()
    sx, sy = rgb.shape[1] / fit.content_width, rgb.shape[0] / fit.content_height
    boxes = np.array([k[1] for k in kept]) * [sx, sy, sx, sy]
    points = np.array([k[2] for k in kept]) * [sx, sy] - 0.5
    return Detections(
        boxes.astype(np.float32), np.array([k[0] for k in kept], np.float32), points.astype(np.float32)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "side"), [("walking_crowd_1080p.mp4", 1280), ("short_hamilton_clip.mp4", 640)]
)
def test_agrees_with_a_slow_decode_of_the_raw_graph(
    kind: Kind,
    name: str,
    side: int,
    made: Callable[..., Any],
    model_of: Callable[[Kind], Path],
    clip: Callable[..., list[U8]],
    as_frame: Callable[[U8], Frame],
) -> None:
    faces = 0
    for rgb in clip(name, 40, 2):
        found, expected = (
            made(kind, side, True).detect(as_frame(rgb)),
            reference(kind, model_of(kind), rgb, side),
        )
        assert len(found) == len(expected)
        faces += len(found)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)
        np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=0.1)
        assert (np.diff(found.scores) <= 0).all()
    assert faces >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_makes_no_difference(
    kind: Kind,
    made: Callable[..., Any],
    model_of: Callable[[Kind], Path],
    clip: Callable[..., list[U8]],
    as_frame: Callable[[U8], Frame],
) -> None:
    frame = as_frame(clip("single_face.mp4", 1, 1)[0])
    with kind(OnnxRuntimeEngine(model_of(kind), pixels=kind.PIXELS)) as other:
        one, two = made(kind).detect(frame), other.detect(frame)
    assert len(one) == len(two) == 1
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-4)
    np.testing.assert_allclose(one.landmarks, two.landmarks, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_faces_lie_where_they_are_known_to_be(
    kind: Kind, made: Callable[..., Any], shared: Path, as_frame: Callable[[U8], Frame]
) -> None:
    """Every face of a sample of video frames is found; its points lie a tenth of the eye distance off."""
    with (shared / "data/ytf-dev/faces.csv").open() as file:
        rows = list(csv.DictReader(file))[::45]
    errors, found_of = [], 0
    for row in rows:
        rgb = cv2.imread(str(shared / "data/ytf-dev/images" / row["file"]))[..., ::-1]
        found = made(kind).detect(as_frame(rgb))
        known = np.array([[float(row[f"lx{i}"]), float(row[f"ly{i}"])] for i in range(5)])
        if len(found) == 0:
            continue
        off = np.linalg.norm(found.landmarks - known, axis=2).mean(1).min()
        relative = off / np.linalg.norm(known[0] - known[1])
        if relative < 0.3:
            found_of += 1
            errors.append(relative)
    assert found_of >= 0.95 * len(rows)
    assert np.median(errors) < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_mirrored_picture_gives_mirrored_faces(
    kind: Kind, made: Callable[..., Any], shared: Path, as_frame: Callable[[U8], Frame]
) -> None:
    """Points name pixel centres and boxes edges: a bias of half a pixel would show as one of a whole."""
    shifts = []
    for path in sorted((shared / "data/lfw-train/images").glob("*/*.jpg"))[:1600:20]:
        rgb = cv2.imread(str(path))[..., ::-1]
        one, other = (made(kind).detect(as_frame(image)) for image in (rgb, rgb[:, ::-1]))
        if len(one) != 1 or len(other) != 1:
            continue
        mirrored = rgb.shape[1] - 1 - other.landmarks[0, [1, 0, 2, 4, 3], 0]
        shifts.append((one.landmarks[0, :, 0] - mirrored).mean() / 2)
    assert len(shifts) > 50
    assert abs(np.mean(shifts)) < 0.3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (33, 31), (97, 161), (720, 406)])
def test_frames_without_a_face(
    kind: Kind, size: tuple[int, int], made: Callable[..., Any], as_frame: Callable[[U8], Frame]
) -> None:
    found = made(kind).detect(as_frame(np.zeros((*size, 3), np.uint8)))
    assert len(found) == 0
    assert found.landmarks.shape == (0, 5, 2)


def test_odd_sizes_shift_nothing(
    made: Callable[..., Any], clip: Callable[..., list[U8]], as_frame: Callable[[U8], Frame]
) -> None:
    rgb = clip("single_face.mp4", 1, 1)[0]
    whole = made(CenterFace).detect(as_frame(rgb))
    for cut in (1, 7, 30):
        part = made(CenterFace).detect(as_frame(rgb[cut:, cut:]))
        eyes = np.linalg.norm(whole.landmarks[0, 0] - whole.landmarks[0, 1])
        assert np.abs(part.landmarks[0] + cut - whole.landmarks[0]).max() < 0.06 * eyes


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_used(
    kind: Kind, model_of: Callable[[Kind], Path], affine: bytes, tmp_path: Path
) -> None:
    with pytest.raises(ModelInvalid, match="expected"):
        kind(OpenVinoEngine(affine))
    raw = OpenVinoEngine(model_of(kind))
    with pytest.raises(ModelInvalid, match="PIXELS"):
        kind(raw)
    for settings in ({"long_side_px": 31}, {"min_score": 1.5}, {"nms_iou": -0.1}):
        engine = OpenVinoEngine(model_of(kind), pixels=kind.PIXELS, specialise=True)
        with pytest.raises(ConfigError, match="expected"):
            kind(engine, **settings)


def test_closed(model_of: Callable[[Kind], Path], as_frame: Callable[[U8], Frame]) -> None:
    detector = CenterFace(OpenVinoEngine(model_of(CenterFace), pixels=CenterFace.PIXELS, specialise=True))
    detector.close()
    detector.close()
    with pytest.raises(EngineClosed):
        detector.detect(as_frame(np.zeros((32, 32, 3), np.uint8)))


def test_yunet_agrees_with_opencvs_own_detector(
    made: Callable[..., Any],
    model_of: Callable[[Kind], Path],
    clip: Callable[..., list[U8]],
    as_frame: Callable[[U8], Frame],
) -> None:
    """cv2.FaceDetectorYN measures points from the edge and rounds nothing; sizes are multiples of 32."""
    theirs = cv2.FaceDetectorYN.create(str(model_of(YuNet)), "", (640, 352), 0.6, 0.3)
    faces = 0
    for rgb in clip("short_hamilton_clip.mp4", 45, 4):
        image = np.ascontiguousarray(rgb[:352, :, ::-1])
        _, known = theirs.detect(image)
        known = np.zeros((0, 15), np.float32) if known is None else known[np.argsort(-known[:, 14])]
        ours = made(YuNet).detect(as_frame(rgb[:352]))
        assert len(ours) == len(known)
        faces += len(ours)
        np.testing.assert_allclose(ours.scores, known[:, 14], atol=1e-3)
        np.testing.assert_allclose(ours.boxes[:, :2], known[:, :2], atol=0.05)
        np.testing.assert_allclose(ours.boxes[:, 2:] - ours.boxes[:, :2], known[:, 2:4], atol=0.05)
        np.testing.assert_allclose(ours.landmarks + 0.5, known[:, 4:14].reshape(-1, 5, 2), atol=0.05)
    assert faces >= 3
