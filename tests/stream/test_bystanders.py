"""Other faces in the picture of one: no recogniser knows them any more, and the own face stays as it was."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesieve.build import Built, Sharing, build
from facesieve.config import parse_config
from facesieve.stream import bystanders
from facesieve.stream.align import align
from facesieve.stream.bystanders import MARGIN, WithoutOthers
from facesieve.stream.decode.video import VideoSource
from facesieve.stream.pipeline import Pipeline
from facesieve.stream.testing import ArrayPicture, ListSource
from facesieve.stream.types import F32, Crop, Detections, Frame, Quality, Rejection, TrackResult


@pytest.fixture(scope="module")
def built(shared: Path) -> Iterator[Built]:
    weights = str(shared / "models" / "yunet_n_dynamic.onnx")
    table = {"detector": {"kind": "yunet", "weights": weights, "long_side_px": 1280}}
    sharing = Sharing(detectors=1, max_batch=16, max_wait_s=0.0, blur_others=True)
    with closing(build(parse_config(table, "test"), sharing=sharing)) as parts:
        yield parts


@pytest.fixture(scope="module")
def crowd(shared: Path) -> list[Frame]:
    """Eight frames of people who walk close together."""
    with closing(VideoSource(shared / "videos" / "walking_crowd_1080p.mp4")) as source:
        return [frame for frame in itertools.islice(source, 92) if frame.index % 12 == 0]


def scored(built: Built, frame: Frame, found: Detections, index: int) -> tuple[F32, float]:
    """The embedding of a face, and its calibrated quality."""
    made = align(frame, found, index, 1)
    assert isinstance(made, Crop)
    quality = built.scorer.score([made])[0]
    assert quality.embedding is not None
    assert quality.calibrated is not None
    return quality.embedding, quality.calibrated


def moved(found: Detections) -> Detections:
    """The same faces, their points a little off: another look at the same people."""
    rng = np.random.default_rng(0)
    side = (found.boxes[:, 2] - found.boxes[:, 0])[:, None, None]
    points = found.landmarks + rng.normal(0, 0.02, found.landmarks.shape) * side
    return replace(found, landmarks=points.astype(np.float32))


@dataclass(frozen=True)
class Neighbour:
    """Another face in somebody's portrait: its quality, and how alike it is to itself, seen again in the
    clear picture, in the blurred one, and in one where it is plain grey."""

    quality: float
    clear: float
    blurred: float
    grey: float


@pytest.fixture(scope="module")
def neighbours(built: Built, crowd: list[Frame]) -> list[Neighbour]:
    made = []
    for frame in crowd:
        found = built.detector.detect(frame)
        again = moved(found)
        for own, other in itertools.permutations(range(len(found)), 2):
            if found.scores[other] < 0.6 or not _beside(found.boxes[own], found.boxes[other]):
                continue
            rest = np.delete(found.boxes, own, 0)
            alone = replace(frame, picture=WithoutOthers(frame.picture, found.boxes[own], rest))
            known, quality = scored(built, frame, found, other)
            clear, blurred = (float(known @ scored(built, f, again, other)[0]) for f in (frame, alone))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(bystanders, "_coarse", lambda pixels, _cell: np.full_like(pixels, 128))
                grey = float(known @ scored(built, alone, again, other)[0])
            made.append(Neighbour(quality, clear, blurred, grey))
    return made


def test_a_recogniser_no_longer_knows_the_others(built: Built, neighbours: list[Neighbour]) -> None:
    """The control: seen again in the clear picture, those faces are linked; in the blurred one none is. Left
    out are faces that are hopeless before they are blurred: nothing links those, however alike."""
    assert built.linking is not None
    limits = built.linking.thresholds
    others = [n for n in neighbours if n.quality >= limits.min_quality]
    assert len(others) >= 8
    assert np.median([n.clear for n in others]) > limits.join
    assert max(n.blurred for n in others) < limits.join
    assert max(n.blurred for n in others) < 0.3
    assert np.median([n.blurred for n in others]) < 0.1


def test_hopeless_faces_are_no_more_alike_blurred_than_painted_over(
    built: Built, neighbours: list[Neighbour]
) -> None:
    """Bad faces look like each other and like no face at all: the similarity that is left is not theirs."""
    assert built.linking is not None
    hopeless = [n for n in neighbours if n.quality < built.linking.thresholds.min_quality]
    assert len(hopeless) >= 8
    assert max(n.blurred - n.grey for n in hopeless) < 0.15


def _beside(own: F32, other: F32) -> bool:
    """Whether the other face is in the own portrait, not behind the own face."""
    width, height = own[2:] - own[:2]
    x, y = (other[:2] + other[2:]) / 2
    near = own[0] - width < x < own[2] + width and own[1] - height < y < own[3] + height
    apart = other[2] < own[0] or other[0] > own[2] or other[3] < own[1] or other[1] > own[3]
    return bool(near and apart)


def test_the_own_face_is_untouched_bit_for_bit(built: Built, crowd: list[Frame]) -> None:
    same_chips = 0
    for frame in crowd:
        found = built.detector.detect(frame)
        for own in range(len(found)):
            rest = np.delete(found.boxes, own, 0)
            box = found.boxes[own]
            alone = replace(frame, picture=WithoutOthers(frame.picture, box, rest))
            x0, y0, x1, y1 = (int(v) for v in (*np.floor(box[:2]), *np.ceil(box[2:])))
            before, after = frame.picture.region(x0, y0, x1, y1), alone.picture.region(x0, y0, x1, y1)
            y, x = np.mgrid[y0:y1, x0:x1] + 0.5
            middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
            face = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 < 0.999
            np.testing.assert_array_equal(before[face], after[face])
            one, two = align(frame, found, own, 1), align(alone, found, own, 1)
            if isinstance(one, Crop) and isinstance(two, Crop) and _is_alone(box, rest):
                np.testing.assert_array_equal(one.chip, two.chip)
                same_chips += 1
    assert same_chips >= 10


def _is_alone(box: F32, others: F32) -> bool:
    """Whether no other box, with its margin, comes near enough to reach the chip."""
    grown = np.stack([others[:, 2] - others[:, 0], others[:, 3] - others[:, 1]], 1) * MARGIN
    side = (box[2:] - box[:2]) * 0.7
    apart = (others[:, :2] - grown > box[2:] + side) | (others[:, 2:] + grown < box[:2] - side)
    return bool(apart.any(1).all())


class Taken:
    """A candidate sink that keeps every crop."""

    def __init__(self) -> None:
        self.crops: list[Crop] = []

    def offer(self, crop: Crop, quality: Quality, refused: Rejection | None) -> None:
        self.crops.append(crop)

    def settle(self, result: TrackResult) -> None: ...


def test_what_leaves_the_pipeline_has_nobody_else_in_it(built: Built, crowd: list[Frame]) -> None:
    """Also those whom nobody is to look at are unrecognisable: here, all faces but one are not attended."""

    def the_best(frame: Frame, found: Detections) -> np.ndarray:
        return np.arange(len(found)) == found.scores.argmax()

    frames = {frame.index: frame for frame in crowd}
    taken = Taken()
    source = ListSource(crowd)
    list(built.pipeline.run(source, candidates=taken, attend=the_best))
    changed = 0
    for crop in taken.crops:
        frame = frames[crop.frame_index]
        found = built.detector.detect(frame)
        own = int(found.scores.argmax())
        np.testing.assert_array_equal(found.boxes[own], crop.box)
        alone = WithoutOthers(frame.picture, crop.box, np.delete(found.boxes, own, 0))
        assert crop.portrait is not None
        (x, y), (height, width) = crop.portrait_origin, crop.portrait.shape[:2]
        np.testing.assert_array_equal(crop.portrait, alone.region(x, y, x + width, y + height))
        changed += bool((crop.portrait != frame.picture.region(x, y, x + width, y + height)).any())
    assert len(taken.crops) >= 4
    assert changed >= 2


def test_without_the_option_nothing_is_blurred(built: Built, crowd: list[Frame]) -> None:
    picture = crowd[0].picture
    found = built.detector.detect(crowd[0])
    plain = Pipeline(
        detector=built.detector,
        new_tracker=built.pipeline._new_tracker,
        scorer=built.scorer,
        new_selector=built.pipeline._new_selector,
        hz=0.0,
        ahead=False,
    )
    taken = Taken()
    list(plain.run(ListSource(crowd[:1]), candidates=taken))
    assert len(taken.crops) >= len(found) / 2
    for crop in taken.crops:
        assert crop.portrait is not None
        (x, y), (height, width) = crop.portrait_origin, crop.portrait.shape[:2]
        np.testing.assert_array_equal(crop.portrait, picture.region(x, y, x + width, y + height))


@given(
    st.lists(st.tuples(*[st.floats(-50, 150, width=32)] * 4), max_size=4),
    st.tuples(st.integers(-20, 90), st.integers(-20, 60), st.integers(1, 60), st.integers(1, 60)),
)
def test_any_boxes_leave_a_whole_region(others: list, window: tuple[int, int, int, int]) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (70, 100, 3)).astype(np.uint8)
    own = np.array([30, 20, 60, 55], np.float32)
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in others], np.float32)
    picture = WithoutOthers(ArrayPicture(rgb), own, boxes.reshape(-1, 4))
    x, y, width, height = window
    plain = ArrayPicture(rgb).region(x, y, x + width, y + height)
    seen = picture.region(x, y, x + width, y + height)
    assert seen.shape == plain.shape
    if not others:
        np.testing.assert_array_equal(seen, plain)
