"""Scores of the same faces aligned by different detectors' landmarks (a part of benchmarks/alignment.py)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from facesieve.fiqa.edc import Verification, error_versus_discard, partial_auc, verification
from facesieve.fiqa.faces import Faces, aligned_chips
from facesieve.fiqa.lightqnet import LightQNet
from facesieve.fiqa.selection import Tracks, track_selection, tracks_of
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
    faces: Faces, chips: U8, judge: Callable[[U8], F32], student: Path, shared: Path
) -> dict[str, dict[str, float | dict[str, float]]]:
    """Per detector: faces found, landmarks' distance from the table's (median, share of the eye distance),
    the judge's FNMR at FMR 1e-3 on its chips, and per scorer Spearman to the table's alignment, pAUC@.3 and
    gap closed, over the faces that every detector found.

    chips: by the table's landmarks; judge: embeds chips. pauc30 judges the table's chips whatever was scored;
    pauc30_same and gap_same judge the chips that were scored, as a run recognises with the detector it has.
    """
    boxes, eyes = boxes_of(faces), faces.eye_distances_px()
    points = {}
    for name, detector in detectors(shared):
        points[name] = landmarks_by(detector, faces, boxes)
        detector.close()
    common = np.flatnonzero(np.all([~np.isnan(own).any(axis=(1, 2)) for own in points.values()], axis=0))
    shared_faces, peer = faces.take(common), LightQNet(shared / LIGHTQNET)

    def scores(cut: U8) -> dict[str, F32]:
        return {"facesieve-t": run_student(student, cut, eyes[common])[0], "LightQNet": peer.score(cut)}

    plain, seen = scores(chips[common]), _Judged.of(shared_faces, judge(chips[common]))
    results: dict[str, dict[str, float | dict[str, float]]] = {
        "the table's (YuNet on whole frames)": {
            "faces": float(len(faces)),
            "compared": float(len(common)),
            "landmarks_median": 0.0,
            "fnmr": seen.pairs.fnmr,
            **{name: _row(quality, quality, seen, seen) for name, quality in plain.items()},
        }
    }
    if faces.landmarks is None:
        raise SystemExit("expected faces with landmarks")
    for name, own in points.items():
        apart = np.linalg.norm(own[common] - faces.landmarks[common], axis=2).mean(axis=1) / eyes[common]
        cut = aligned_chips(shared_faces, own[common])
        same = _Judged.of(shared_faces, judge(cut))
        results[name] = {
            "faces": float((~np.isnan(own).any(axis=(1, 2))).sum()),
            "compared": float(len(common)),
            "landmarks_median": float(np.median(apart)),
            "fnmr": same.pairs.fnmr,
            **{scorer: _row(plain[scorer], quality, seen, same) for scorer, quality in scores(cut).items()},
        }
    return results


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a recogniser makes of the chips of one alignment."""

    embeddings: F32
    pairs: Verification
    tracks: Tracks

    @staticmethod
    def of(faces: Faces, embeddings: F32) -> _Judged:
        pairs = verification(embeddings, faces.identities, faces.videos)
        return _Judged(embeddings, pairs, tracks_of(faces.identities, faces.videos))

    def area(self, quality: F32) -> float:
        return partial_auc(error_versus_discard(self.pairs, quality))

    def gap(self, quality: F32) -> float:
        found = track_selection(self.embeddings, self.tracks, quality, self.pairs.threshold, resamples=2)
        return found.gap_closed.value


def _row(plain: F32, quality: F32, table: _Judged, same: _Judged) -> dict[str, float]:
    return {
        "spearman": float(spearmanr(plain, quality).statistic),
        "pauc30": table.area(quality),
        "pauc30_same": same.area(quality),
        "gap_same": same.gap(quality),
    }


def table(results: dict[str, dict[str, float | dict[str, float]]]) -> str:
    """As Markdown."""
    figures = "Spearman | pAUC@.3 | judged on the same chips: pAUC@.3 | gap"
    lines = [
        f"| aligned by | found | landmarks off | FNMR | facesieve-t: {figures} | LightQNet: {figures} |",
        "|---" * 12 + "|",
    ]
    for name, row in results.items():
        cells = [f"{row['faces']:.0f}", f"{row['landmarks_median']:.3f}", f"{row['fnmr']:.3f}"]
        for scorer in ("facesieve-t", "LightQNet"):
            own = row[scorer]
            assert isinstance(own, dict)
            cells += [f"{value:.3f}" for value in own.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
