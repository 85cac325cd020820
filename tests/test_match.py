"""`facesieve match`: real faces in a run against galleries, good ones and bad ones."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.build import build
from facesieve.cli import main
from facesieve.config import Config, parse_config
from facesieve.fiqa.faces import Faces, aligned_chips, read_faces
from facesieve.match import match
from facesieve.matches import COLUMNS, Matches, as_csv, as_json
from facesieve.stream.errors import ConfigError, ModelInvalid, NoFrames, SourceMissing, WeightsUnavailable
from facesieve.stream.geometry import ARCFACE_POINTS
from facesieve.stream.sinks.folder import FolderSink
from facesieve.stream.types import BestShot, Crop, Quality, TrackEnd, TrackResult, TrackSummary

SHOTS = 3


@dataclass(frozen=True)
class People:
    """The three people with the largest faces, by name, and the rows of two videos of each: one for the
    gallery, one for the run."""

    faces: Faces
    gallery: tuple[np.ndarray, ...]
    run: tuple[np.ndarray, ...]
    names: tuple[str, ...]


@pytest.fixture(scope="module")
def people(shared: Path) -> People:
    faces = read_faces(shared / "data" / "ytf-dev")
    assert faces.heights_px is not None

    def videos(name: str) -> list[np.ndarray]:
        return [
            np.flatnonzero(faces.videos == video)
            for video in np.unique(faces.videos[faces.identities == name])
        ]

    smallest = {
        name: faces.heights_px[np.concatenate(videos(name)[:2])].min() for name in np.unique(faces.identities)
    }
    names = sorted(sorted(smallest, key=lambda name: -smallest[name])[:3])
    first, second = zip(*(videos(name)[:2] for name in names), strict=True)
    return People(faces, first, second, tuple(map(str, names)))


@pytest.fixture(scope="module")
def config(shared: Path) -> Config:
    weights = shared / "models" / "yunet_n_dynamic.onnx"
    return parse_config({"detector": {"kind": "yunet", "weights": str(weights), "long_side_px": 320}}, "test")


@pytest.fixture(scope="module", autouse=True)
def compiled_once(config: Config) -> Iterator[None]:
    """The detector and the student, compiled once for all tests of this file."""
    with closing(build(config)) as built, pytest.MonkeyPatch.context() as patch:
        patch.setattr("facesieve.match.build", lambda _config: replace(built, close=lambda: None))
        yield


def track(number: int, chips: np.ndarray, calibrated: float | None = 0.9) -> TrackResult:
    shots = tuple(
        BestShot(
            "film.mp4",
            replace(Crop.of_chip(chip, ARCFACE_POINTS, index=rank), track=number),
            Quality(1.0 / rank, "some-model", calibrated),
            rank,
            "test",
        )
        for rank, chip in enumerate(chips, 1)
    )
    seen = len(chips)
    return TrackResult(
        TrackSummary("film.mp4", number, None, 0.0, 1.0, seen, seen, seen, {}, TrackEnd.LOST), shots
    )


def make_run(out: Path, tracks: Iterable[TrackResult]) -> Path:
    with FolderSink(out) as sink:
        for result in tracks:
            sink.write(result)
        sink.finish({"source": {"name": "film.mp4"}})
    return out


@pytest.fixture(scope="module")
def run(people: People, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a track of each of the three."""
    tracks = [
        track(number, aligned_chips(people.faces.take(rows[:SHOTS])))
        for number, rows in enumerate(people.run, 1)
    ]
    return make_run(tmp_path_factory.mktemp("run"), tracks)


def enrol(people: People, out: Path, *who: int) -> Path:
    for person in who:
        folder = out / people.names[person]
        folder.mkdir(parents=True)
        for row in people.gallery[person][:SHOTS]:
            file = people.faces.files[row]
            shutil.copyfile(people.faces.root / "images" / file, folder / file)
    return out


@pytest.fixture(scope="module")
def gallery(people: People, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two people, in folders of pictures."""
    return enrol(people, tmp_path_factory.mktemp("gallery"), 0, 1)


@pytest.fixture(scope="module")
def found(run: Path, gallery: Path, config: Config) -> Matches:
    return match(run, gallery, config)


def test_the_known_are_named_and_the_stranger_is_not(found: Matches, people: People) -> None:
    assert [probe.decision for probe in found.probes] == [people.names[0], people.names[1], None]
    assert [probe.track for probe in found.probes] == [1, 2, 3]
    assert all(probe.shots == SHOTS for probe in found.probes)
    for probe in found.probes:
        similarities = [candidate.similarity for candidate in probe.candidates]
        assert similarities == sorted(similarities, reverse=True)
        assert len(similarities) == 2
        assert (similarities[0] >= found.threshold) == (probe.decision is not None)
    assert found.fmr == 1e-3
    assert found.whole


def test_both_forms_say_the_same(found: Matches) -> None:
    rows = list(csv.DictReader(as_csv(found).splitlines()))
    assert tuple(rows[0]) == COLUMNS
    whole = json.loads(as_json(found))
    assert whole["schema"] == "facesieve.match/1"
    flat = [
        (probe["track"], probe["decision"] or "unknown", rank, one["person"], one["similarity"])
        for probe in whole["probes"]
        for rank, one in enumerate(probe["candidates"], 1)
    ]
    assert flat == [
        (int(r["track"]), r["decision"], int(r["rank"]), r["person"], float(r["similarity"])) for r in rows
    ]
    assert [person["faces"] for person in whole["gallery"]["people"]] == [SHOTS, SHOTS]


def test_a_threshold_of_ones_own_decides(run: Path, gallery: Path, config: Config) -> None:
    strict = match(run, gallery, config, threshold=1.0, top=1)
    assert [probe.decision for probe in strict.probes] == [None, None, None]
    assert {len(probe.candidates) for probe in strict.probes} == {1}
    assert strict.fmr is None


def test_every_picture_of_no_use_is_named_with_its_reason(
    people: People, run: Path, config: Config, tmp_path: Path
) -> None:
    gallery = enrol(people, tmp_path / "gallery", 0)
    good = cv2.imread(str(next((gallery / people.names[0]).iterdir())))
    person = gallery / people.names[0]
    cv2.imwrite(str(person / "two.png"), np.hstack([good, good]))
    cv2.imwrite(str(person / "wall.png"), np.full((200, 200, 3), 127, np.uint8))
    (person / "notes.txt").write_text("not a picture")
    (person / "cut.jpg").write_bytes(next(person.glob("*.jpg")).read_bytes()[:500])
    (person / ".DS_Store").write_text("")
    (person / ".thumbnails").mkdir()
    (person / ".thumbnails/a.png").write_bytes(b"")
    (gallery / "Nobody").mkdir()
    (gallery / "stray.jpg").write_bytes(b"")
    done = match(run, gallery, config)
    reasons = {Path(unused.file).name: unused.reason for unused in done.enrolment.unused}
    assert reasons.keys() == {"two.png", "wall.png", "notes.txt", "cut.jpg", "Nobody", "stray.jpg"}
    assert "2 faces" in reasons["two.png"]
    assert reasons["wall.png"] == "no face found"
    assert "damaged" in reasons["cut.jpg"]
    assert reasons["notes.txt"] == "not an image that FFmpeg can read"
    assert "empty" in reasons["Nobody"]
    assert "person's folder" in reasons["stray.jpg"]
    assert done.enrolment.absent == ("Nobody",)
    assert done.enrolment.files == (SHOTS,)
    assert not done.whole
    assert done.probes[0].decision == people.names[0]


def test_one_person_under_two_names_is_told_of(
    people: People, run: Path, config: Config, tmp_path: Path
) -> None:
    gallery = enrol(people, tmp_path / "gallery", 0, 1)
    shutil.copytree(gallery / people.names[0], gallery / "Alias")
    done = match(run, gallery, config)
    assert [{first, second} for first, second, _ in done.alike] == [{people.names[0], "Alias"}]
    assert done.probes[0].decision == "Alias"  # of equals, the first by name


@pytest.mark.parametrize("calibrated", [0.7, None])
def test_missing_and_hostile_chips(
    people: People, gallery: Path, config: Config, tmp_path: Path, calibrated: float | None
) -> None:
    chips = aligned_chips(people.faces.take(people.run[0][:SHOTS]))
    run = make_run(tmp_path / "run", [track(n, chips, calibrated) for n in (1, 2)])
    (run / "shots/1/1_chip.png").unlink()
    secret = tmp_path / "secret.png"
    cv2.imwrite(str(secret), chips[0])
    (run / "shots/1/2_chip.png").unlink()
    (run / "shots/1/2_chip.png").symlink_to(secret)
    for rank in range(1, SHOTS + 1):
        cv2.imwrite(str(run / f"shots/2/{rank}_chip.png"), np.zeros((90, 90, 3), np.uint8))
    lines = (run / "shots.jsonl").read_text().replace('"chip":"shots/1/3', '"chip":"../../../etc/3')
    (run / "shots.jsonl").write_text(lines)
    done = match(run, gallery, config)
    assert [(probe.shots, probe.decision) for probe in done.probes] == [(1, people.names[0]), (0, None)]
    assert len(done.unused) == 2 + SHOTS
    assert "leads out" in done.unused[1].reason
    assert "112" in done.unused[2].reason
    assert as_csv(done).splitlines()[-1].endswith(",unknown,,,")


def test_a_run_that_saw_nobody(gallery: Path, config: Config, tmp_path: Path) -> None:
    done = match(make_run(tmp_path / "run", []), gallery, config)
    assert done.probes == ()
    assert as_csv(done).splitlines() == [",".join(COLUMNS)]


def test_a_labelled_folder_and_a_run_are_galleries_too(
    people: People, run: Path, config: Config, tmp_path: Path
) -> None:
    labelled = tmp_path / "labelled"
    (labelled / "images").mkdir(parents=True)
    table = (people.faces.root / "faces.csv").read_text().splitlines()
    rows = [row for person in (0, 1) for row in people.gallery[person][:2]]
    (labelled / "faces.csv").write_text("\n".join([table[0], *(table[1 + row] for row in rows)]) + "\n")
    for row in rows[1:]:  # the first is missing
        file = people.faces.files[row]
        shutil.copyfile(people.faces.root / "images" / file, labelled / "images" / file)
    done = match(run, labelled, config)
    assert [probe.decision for probe in done.probes] == [people.names[0], people.names[1], None]
    assert done.enrolment.files == (1, 2)
    assert [unused.file for unused in done.enrolment.unused] == [people.faces.files[rows[0]]]

    earlier = tmp_path / "earlier"
    chips = [aligned_chips(people.faces.take(people.gallery[person][:2])) for person in (0, 1)]
    make_run(earlier, [track(number, chips[number - 1]) for number in (1, 2)])
    with pytest.raises(SourceMissing, match=r"identities\.jsonl"):
        match(run, earlier, config)
    lines = [
        {"schema": "facesieve.identity/1", "identity": n, "shots": [],
         "tracks": [{"folder": ".", "source": "film.mp4", "track": n}], "merged_from": [],
         "first_pts_s": 0, "last_pts_s": 1}
        for n in (1, 2)
    ]  # fmt: skip
    (earlier / "identities.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = match(run, earlier, config)
    assert [probe.decision for probe in done.probes] == ["identity-1", "identity-2", None]


def test_identities_of_the_run_are_searched_too(
    people: People, gallery: Path, config: Config, tmp_path: Path
) -> None:
    chips = aligned_chips(people.faces.take(people.run[1][:SHOTS]))
    run = make_run(tmp_path / "run", [track(1, chips[:1]), track(2, chips[1:])])
    line = {
        "schema": "facesieve.identity/1", "identity": 7, "shots": [], "merged_from": [],
        "tracks": [{"folder": ".", "source": "film.mp4", "track": n} for n in (1, 2)],
        "first_pts_s": 0, "last_pts_s": 1,
    }  # fmt: skip
    (run / "identities.jsonl").write_text(json.dumps(line) + "\n")
    done = match(run, gallery, config)
    whole = done.probes[-1]
    assert (whole.track, whole.identity, whole.shots, whole.decision) == (None, 7, SHOTS, people.names[1])
    assert len(done.probes) == 3


def test_a_recogniser_of_ones_own(run: Path, gallery: Path, config: Config, shared: Path) -> None:
    path = shared / "models" / "mobilefacenet_foamliu.onnx"
    with pytest.raises(ConfigError, match="--threshold"):
        match(run, gallery, config, embedder=str(path))
    done = match(run, gallery, config, embedder=str(path), threshold=0.35)
    assert done.embedder.startswith("mobilefacenet_foamliu@")
    best = [probe.candidates[0].person for probe in done.probes[:2]]
    assert best == list(done.enrolment.enrolled.people)


def test_what_cannot_be_asked(run: Path, gallery: Path, config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got both"):
        match(run, gallery, config, fmr=1e-3, threshold=0.5)
    with pytest.raises(ConfigError, match="measured from"):
        match(run, gallery, config, fmr=0.0)
    with pytest.raises(ConfigError, match="cosine"):
        match(run, gallery, config, threshold=35.0)
    with pytest.raises(WeightsUnavailable, match="no such file"):
        match(run, gallery, config, embedder=str(tmp_path / "absent.onnx"))
    with pytest.raises(SourceMissing, match="no tracks"):
        match(tmp_path, gallery, config)
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelInvalid, match="broken"):
        match(run, gallery, config, embedder=str(tmp_path / "broken.onnx"), threshold=0.5)
    with pytest.raises(SourceMissing, match="gallery"):
        match(run, tmp_path / "absent", config)


def test_a_gallery_without_a_face_enrols_nobody(run: Path, config: Config, tmp_path: Path) -> None:
    (tmp_path / "Ann").mkdir()
    cv2.imwrite(str(tmp_path / "Ann" / "wall.png"), np.full((200, 200, 3), 127, np.uint8))
    with pytest.raises(NoFrames, match=r"1 files of 1 people.*no face found"):
        match(run, tmp_path, config)


Call = Callable[..., int]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, shared: Path, tmp_path: Path) -> Call:
    settings = tmp_path / "yunet.toml"
    weights = shared / "models" / "yunet_n_dynamic.onnx"
    settings.write_text(f'[detector]\nkind = "yunet"\nweights = "{weights}"\nlong_side_px = 320\n')

    def run_it(*arguments: str | Path) -> int:
        given = [*map(str, arguments), "--config", str(settings)]
        monkeypatch.setattr("sys.argv", ["facesieve", "match", *given])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run_it


def test_the_command(
    call: Call, run: Path, gallery: Path, people: People, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "folder" / "matches.csv"
    assert call(run, "--gallery", gallery, "--out", out) == 0
    assert "2 of 3 known, 2 people enrolled" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 1 + 3 * 2
    (run.parent / "partial").mkdir()
    partial = enrol(people, run.parent / "partial", 0)
    (partial / "Nobody").mkdir()
    assert call(run, "--gallery", partial) == 3
    shown = capsys.readouterr()
    assert "unknown" in shown.out
    assert "not enrolled: Nobody" in shown.err
    assert call(run, "--gallery", tmp_path / "absent") == SourceMissing.exit_code
    assert call(run, "--gallery", gallery, "--out", tmp_path / "matches.xlsx") == ConfigError.exit_code
    assert capsys.readouterr().err.count("error: ") == 2
