"""BlazeFace and the face mesh on real faces, and beside MediaPipe's own detector."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.engines.models.blazeface import BlazeFace
from facesieve.engines.models.facemesh import SIDE_PX, FaceMesh, crop
from facesieve.engines.models.mediapipe import MediaPipeTasks
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.stream.errors import ConfigError, EngineClosed, EngineUnavailable, ModelInvalid
from facesieve.stream.testing import ArrayPicture
from facesieve.stream.types import U8, Frame

MEDIAPIPE = os.environ.get("FACESIEVE_MEDIAPIPE_PYTHON")
ASK_MEDIAPIPE = Path(__file__).with_name("ask_mediapipe.py")


@pytest.fixture(scope="module")
def mesh(weights: Callable[[str], Path]) -> Iterator[FaceMesh]:
    with FaceMesh(OpenVinoEngine(weights("face-mesh"), pixels=FaceMesh.PIXELS, precision="fp32")) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def detector(weights: Callable[[str], Path], mesh: FaceMesh) -> BlazeFace:
    engine = OpenVinoEngine(weights("blazeface-full-range"), pixels=BlazeFace.PIXELS, precision="fp32")
    return BlazeFace(engine, mesh)


def known_faces(shared: Path, step: int) -> list[tuple[U8, np.ndarray]]:
    with (shared / "data/ytf-dev/faces.csv").open() as file:
        rows = list(csv.DictReader(file))[::step]
    return [
        (
            cv2.imread(str(shared / "data/ytf-dev/images" / row["file"]))[..., ::-1],
            np.array([[float(row[f"lx{i}"]), float(row[f"ly{i}"])] for i in range(5)]),
        )
        for row in rows
    ]


def test_faces_lie_where_they_are_known_to_be(
    detector: BlazeFace, shared: Path, as_frame: Callable[[U8], Frame]
) -> None:
    errors = []
    faces = known_faces(shared, 90)
    for rgb, known in faces:
        found = detector.detect(as_frame(rgb))
        off = [np.linalg.norm(marks - known, axis=1).mean() for marks in found.landmarks]
        relative = min(off, default=np.inf) / np.linalg.norm(known[0] - known[1])
        if relative < 0.4:
            errors.append(relative)
    assert len(errors) >= 0.9 * len(faces)
    assert np.median(errors) < 0.12


def test_without_a_mesh_the_mouth_is_estimated(
    detector: BlazeFace,
    weights: Callable[[str], Path],
    clip: Callable[..., list[U8]],
    as_frame: Callable[[U8], Frame],
) -> None:
    rgb = clip("single_face.mp4", 1, 1)[0]
    engine = OpenVinoEngine(weights("blazeface-full-range"), pixels=BlazeFace.PIXELS, precision="fp32")
    with BlazeFace(engine) as bare:
        rough, precise = bare.detect(as_frame(rgb)), detector.detect(as_frame(rgb))
    assert len(rough) == len(precise) == 1
    eyes = np.linalg.norm(precise.landmarks[0, 0] - precise.landmarks[0, 1])
    off = np.linalg.norm(rough.landmarks[0] - precise.landmarks[0], axis=1) / eyes
    assert (off < 0.25).all()


@pytest.mark.parametrize("degrees", [-60, -25, 0, 40, 90])
def test_the_mesh_turns_with_the_face(mesh: FaceMesh, shared: Path, degrees: int) -> None:
    """Points found in a turned picture, turned back, lie where those of the upright one do."""
    rgb, known = known_faces(shared, 900)[1]
    height, width = rgb.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    turned = cv2.warpAffine(rgb, turn, (width, height))

    def located(picture: U8, points: np.ndarray) -> np.ndarray:
        # A box that turns with the face: its own size about the middle of the points.
        centre, half = points.mean(0), 1.2 * np.linalg.norm(points[0] - points[1])
        box = np.concatenate([centre - half, centre + half]).astype(np.float32)
        found, presence = mesh.locate(ArrayPicture(picture), box[None], points[None, :2].astype(np.float32))
        assert presence[0] > 0.9
        return found[0]

    upright = located(rgb, known)
    back = located(turned, known @ turn[:, :2].T + turn[:, 2])
    back = (back - turn[:, 2]) @ np.linalg.inv(turn[:, :2]).T
    eyes = np.linalg.norm(known[0] - known[1])
    assert np.linalg.norm(back - upright, axis=1).mean() < 0.03 * eyes


def test_the_crop_is_where_its_matrix_says() -> None:
    """A bright pixel of the frame is found at its place in the crop."""
    image = np.zeros((400, 500, 3), np.uint8)
    image[198:203, 248:253] = 255
    box = np.array([150, 120, 330, 300], np.float32)
    pixels, matrix = crop(ArrayPicture(image), box, np.array([[200, 190], [280, 220]], np.float32))
    weight = pixels[..., 0].astype(np.float64)
    rows, columns = np.indices((SIDE_PX, SIDE_PX))
    middle = [np.average(columns + 0.5, weights=weight), np.average(rows + 0.5, weights=weight)]
    np.testing.assert_allclose(matrix[:, :2] @ middle + matrix[:, 2] - 0.5, [250, 200], atol=0.1)


@pytest.mark.parametrize("origin", [(-60, -50), (420, 330), (-500, 40), (20, 4000)])
def test_crops_over_the_edge_are_black_outside_and_never_enlarge_the_region(origin: tuple[int, int]) -> None:
    image = np.full((400, 500, 3), 200, np.uint8)
    box = np.array([*origin, origin[0] + 100, origin[1] + 100], np.float32)
    picture = ArrayPicture(image)
    pixels, matrix = crop(picture, box, np.array([[30, 30], [70, 34]], np.float32) + np.float32(origin))
    ((x0, y0, x1, y1),) = picture.regions
    assert 0 <= x0 < x1 <= 500
    assert 0 <= y0 < y1 <= 400
    grid = np.stack(np.meshgrid(np.arange(SIDE_PX), np.arange(SIDE_PX)), -1) + 0.5
    at = grid @ matrix[:, :2].T + matrix[:, 2]
    inside = ((at > 1) & (at < [499, 399])).all(-1)
    outside = ((at < -1) | (at > [501, 401])).any(-1)
    assert (pixels[inside] == 200).all()
    assert (pixels[outside] == 0).all()


def test_faces_are_batched(mesh: FaceMesh, shared: Path) -> None:
    rgb, known = known_faces(shared, 900)[0]
    half = 1.2 * np.linalg.norm(known[0] - known[1])
    box = np.concatenate([known.mean(0) - half, known.mean(0) + half]).astype(np.float32)
    picture, eyes = ArrayPicture(rgb), known[:2].astype(np.float32)
    one, presence = mesh.locate(picture, box[None], eyes[None])
    many, presences = mesh.locate(picture, np.repeat(box[None], 11, 0), np.repeat(eyes[None], 11, 0))
    np.testing.assert_allclose(many, np.repeat(one, 11, 0), atol=1e-2)
    np.testing.assert_allclose(presences, np.repeat(presence, 11), atol=1e-4)
    none, presence = mesh.locate(picture, box[None][:0], eyes[None][:0])
    assert none.shape == (0, 468, 2)
    assert presence.shape == (0,)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (97, 161)])
def test_frames_without_a_face(
    detector: BlazeFace, size: tuple[int, int], as_frame: Callable[[U8], Frame]
) -> None:
    assert len(detector.detect(as_frame(np.zeros((*size, 3), np.uint8)))) == 0


def test_what_cannot_be_used(
    weights: Callable[[str], Path], affine: bytes, as_frame: Callable[[U8], Frame], tmp_path: Path
) -> None:
    with pytest.raises(ModelInvalid, match="PIXELS"):
        BlazeFace(OpenVinoEngine(affine))
    wrong = OpenVinoEngine(weights("face-mesh"), pixels=FaceMesh.PIXELS)
    with pytest.raises(ModelInvalid, match="expected outputs"):
        BlazeFace(wrong)
    with pytest.raises(ModelInvalid, match="expected outputs"):
        FaceMesh(OpenVinoEngine(weights("blazeface-full-range"), pixels=BlazeFace.PIXELS))
    engine = OpenVinoEngine(weights("blazeface-full-range"), pixels=BlazeFace.PIXELS)
    with pytest.raises(ConfigError, match="min_score"):
        BlazeFace(engine, min_score=0)
    closed = BlazeFace(engine)
    closed.close()
    closed.close()
    with pytest.raises(EngineClosed):
        closed.detect(as_frame(np.zeros((32, 32, 3), np.uint8)))


def test_mediapipe_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'facesieve\[mediapipe\]'"):
        MediaPipeTasks(tmp_path / "model.tflite")


class MediaPipeSampling(ArrayPicture):
    """Scales as MediaPipe does: bilinear, the first pixel of the source under the first of the target."""

    def scaled(self, width: int, height: int, order: str = "rgb") -> U8:
        step = self.width / width
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            self._rgb, np.array([[step, 0, 0], [0, step, 0.0]]), (width, height), flags=flags
        )


@pytest.mark.skipif(not MEDIAPIPE, reason="FACESIEVE_MEDIAPIPE_PYTHON names no Python with mediapipe")
def test_agrees_with_mediapipe(
    weights: Callable[[str], Path], clip: Callable[..., list[U8]], tmp_path: Path
) -> None:
    """Given the same samples of the frame, the same faces: our runtime and decoding beside theirs."""
    images = clip("single_face.mp4", 20, 4) + clip("WolfgangLanger_Pexels.mp4", 60, 6)
    images += clip("short_hamilton_clip.mp4", 40, 6)
    np.savez(tmp_path / "images.npz", *images)
    command = [MEDIAPIPE, ASK_MEDIAPIPE, weights("mediapipe-full-range"), tmp_path / "images.npz"]
    answer = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, check=True)
    theirs = json.loads(answer.stdout.splitlines()[-1])
    engine = OpenVinoEngine(weights("blazeface-full-range"), pixels=BlazeFace.PIXELS, precision="fp32")
    detector = BlazeFace(engine)
    faces = 0
    for rgb, known in zip(images, theirs, strict=True):
        frame = Frame("test", 0, 0.0, None, MediaPipeSampling(np.ascontiguousarray(rgb)))
        found = detector.detect(frame)
        assert len(found) == len(known)
        for i, face in enumerate(known):
            faces += 1
            assert found.scores[i] == pytest.approx(face["score"], abs=0.01)
            x, y, w, h = face["box"]  # whole pixels, cut off
            np.testing.assert_allclose(found.boxes[i], [x, y, x + w, y + h], atol=2.1)
            # Eyes and nose; theirs are measured from the edge.
            np.testing.assert_allclose(found.landmarks[i, :3] + 0.5, face["points"][:3], atol=0.5)
    assert faces >= 12
