"""Scores of the same faces aligned by different detectors' landmarks (a part of benchmarks/alignment.py)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from quality import LIGHTQNET, run_student
from scipy.stats import spearmanr

from facesieve.engines.models.blazeface import BlazeFace
from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.models.facemesh import FaceMesh
from facesieve.engines.models.scrfd import Scrfd
from facesieve.engines.models.yunet import YuNet
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.zoo.store import Store
from facesieve.fiqa.edc import error_versus_discard, partial_auc, verification
from facesieve.fiqa.faces import Faces, aligned_chips
from facesieve.fiqa.lightqnet import LightQNet
from facesieve.stream.geometry import iou
from facesieve.stream.ports import Detector
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import F32, U8, Frame

LONG_SIDE_PX = 192
"""The crops are twice the face box, so the detectors see faces of about 96 px."""
OVERLAP = 0.3


def detectors(shared: Path) -> Iterator[tuple[str, Detector]]:
    """Each with its own landmarks; BlazeFace's are the face mesh's."""
    store, models = Store(), shared / "models"
    for name, kind, path in (
        ("YuNet n", YuNet, models / "yunet_n_dynamic.onnx"),
        ("CenterFace", CenterFace, store.path("centerface")),
        ("SCRFD 500M", Scrfd, models / "scrfd_500m_kps.onnx"),
    ):
        engine = OpenVinoEngine(path, pixels=kind.PIXELS, precision="fp32", threads=1)
        yield name, kind(engine, long_side_px=LONG_SIDE_PX, min_score=0.3)
    points = OpenVinoEngine(store.path("face-mesh"), pixels=FaceMesh.PIXELS, precision="fp32", threads=1)
    full = OpenVinoEngine(
        store.path("blazeface-full-range"), pixels=BlazeFace.PIXELS, precision="fp32", threads=1
    )
    yield "BlazeFace and mesh", BlazeFace(full, FaceMesh(points), min_score=0.3)


def boxes_of(faces: Faces) -> F32:
    """(n, 4) x0 y0 x1 y1 of these faces in faces.csv, px of the crop."""
    with (faces.root / "faces.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["file"]: [float(row[key]) for key in "xywh"] for row in csv.DictReader(file)}
    table = np.array([rows[name] for name in faces.files], np.float32)
    table[:, 2:] += table[:, :2]
    return table


def landmarks_by(detector: Detector, faces: Faces, boxes: F32) -> F32:
    """(n, 5, 2) of the detection that overlaps the face's box most; NaN where none does by OVERLAP."""
    points = np.full((len(faces), 5, 2), np.nan, np.float32)
    for row in range(len(faces)):
        found = detector.detect(Frame("crop", row, 0.0, None, ArrayPicture(faces.image(row))))
        if len(found):
            overlap = iou(boxes[row : row + 1], found.boxes)[0]
            if overlap.max() >= OVERLAP:
                points[row] = found.landmarks[int(overlap.argmax())]
    return points


def compare(
    faces: Faces, chips: U8, judge: F32, student: Path, shared: Path
) -> dict[str, dict[str, float | dict[str, float]]]:
    """Per detector: faces found, landmarks' distance from the table's (median, share of the eye distance),
    and per scorer Spearman to the table's alignment and pAUC@.3, over the faces that every detector found.

    chips: by the table's landmarks; judge: (n, d) embeddings of those.
    """
    boxes, eyes = boxes_of(faces), faces.eye_distances_px()
    points = {}
    for name, detector in detectors(shared):
        points[name] = landmarks_by(detector, faces, boxes)
        detector.close()
    common = np.flatnonzero(np.all([~np.isnan(own).any(axis=(1, 2)) for own in points.values()], axis=0))
    shared_faces, peer = faces.take(common), LightQNet(shared / LIGHTQNET)
    pairs = verification(judge[common], shared_faces.identities, shared_faces.videos)

    def scores(cut: U8) -> dict[str, F32]:
        return {"facesieve-t": run_student(student, cut, eyes[common])[0], "LightQNet": peer.score(cut)}

    plain = scores(chips[common])
    results: dict[str, dict[str, float | dict[str, float]]] = {
        "the table's (YuNet on whole frames)": {
            "faces": float(len(faces)),
            "compared": float(len(common)),
            "landmarks_median": 0.0,
            **{n: {"spearman": 1.0, "pauc30": _area(pairs, q)} for n, q in plain.items()},
        }
    }
    if faces.landmarks is None:
        raise SystemExit("expected faces with landmarks")
    for name, own in points.items():
        apart = np.linalg.norm(own[common] - faces.landmarks[common], axis=2).mean(axis=1) / eyes[common]
        moved = scores(aligned_chips(shared_faces, own[common]))
        results[name] = {
            "faces": float((~np.isnan(own).any(axis=(1, 2))).sum()),
            "compared": float(len(common)),
            "landmarks_median": float(np.median(apart)),
            **{
                n: {"spearman": float(spearmanr(plain[n], q).statistic), "pauc30": _area(pairs, q)}
                for n, q in moved.items()
            },
        }
    return results


def _area(pairs: object, quality: F32) -> float:
    return partial_auc(error_versus_discard(pairs, quality))  # type: ignore[arg-type]


def table(results: dict[str, dict[str, float | dict[str, float]]]) -> str:
    """As Markdown."""
    lines = [
        "| aligned by | found | landmarks off | facesieve-t: Spearman | pAUC@.3 | LightQNet | pAUC@.3 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        ours, peer = row["facesieve-t"], row["LightQNet"]
        assert isinstance(ours, dict)
        assert isinstance(peer, dict)
        lines.append(
            f"| {name} | {row['faces']:.0f} | {row['landmarks_median']:.3f} | {ours['spearman']:.3f} "
            f"| {ours['pauc30']:.3f} | {peer['spearman']:.3f} | {peer['pauc30']:.3f} |"
        )
    return "\n".join(lines)
