"""`facesieve export`: what other tools read is what the run found."""

from __future__ import annotations

import csv
import functools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from facesieve.cli import main
from facesieve.export import export
from facesieve.stream.errors import EngineUnavailable, OutputExists, SourceMissing
from facesieve.stream.gate import gate
from facesieve.stream.pipeline import Pipeline, Progress
from facesieve.stream.policy import SelectionPolicy
from facesieve.stream.selection import TopKSelector
from facesieve.stream.sinks.boxes import BOXES, BoxFile, read_boxes
from facesieve.stream.sinks.folder import FolderSink
from facesieve.stream.testing import ListSource, ScriptedDetector, ScriptedScorer
from facesieve.stream.types import Detections, Quality
from facesieve.trackers.bytetrack import ByteTrack

SHAPE = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)
FRAMES, WIDTH, HEIGHT, SIDE = 30, 320, 240, 60


def walk(index: int) -> Detections:
    """One face walking out of the picture on the right, one standing."""
    corners = np.array([[200 + 5 * index, 20], [30, 100]], np.float32)
    boxes = np.concatenate([corners, corners + SIDE], 1)
    return Detections(boxes, np.array([0.9, 0.8], np.float32), corners[:, None] + SIDE * SHAPE)


def make_run(out: Path, *, boxes: bool = True, name: str = "=film\n.mp4") -> Path:
    """A run of the real pipeline on scripted detections; the source's name is hostile."""
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(FRAMES)]
    policy = SelectionPolicy(top_k=2, min_gap_s=0.2)
    pipeline = Pipeline(
        detector=ScriptedDetector([walk(i) for i in range(FRAMES)]),
        new_tracker=ByteTrack,
        scorer=ScriptedScorer(
            lambda c: Quality(-c.pts_s, "clock", 0.5, {"=evil": 0.5}, np.eye(4, dtype=np.float32)[0])
        ),
        new_selector=lambda source, stills: TopKSelector(policy, source=source, stills=stills),
        gate=functools.partial(gate, policy=policy),
        hz=0.0,
        scene_cuts=False,
    )
    progress = Progress()
    with FolderSink(out, embeddings=True) as sink:
        file = BoxFile(out) if boxes else None
        for result in pipeline.run(ListSource(pictures, name=name), progress=progress, boxes=file):
            sink.write(result)
        if file is not None:
            file.close()
        source = {"name": name, "width": WIDTH, "height": HEIGHT, "duration_s": FRAMES / 25}
        sink.finish({"source": source, "counts": {"frames": FRAMES}})
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("film"))


def seen(folder: Path) -> Iterator[tuple[int, int, np.ndarray, float]]:
    for record in read_boxes(folder):
        for track, box, score in zip(record.tracks, record.boxes, record.scores, strict=True):
            yield record.frame_index, track, np.array(box), score


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def identify(folder: Path, lines: list[dict[str, object]]) -> None:
    (folder / "identities.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def identity(number: int, tracks: list[int], folder: str = ".") -> dict[str, object]:
    """A line of identities.jsonl whose names and paths are hostile."""
    place = {"folder": folder, "source": "../../x"}
    seen = {"first_pts_s": 0, "last_pts_s": 1, "frames_seen": 2}
    shot = {"window": 0, "rank": 1, "pts_s": 0.0, "score": 0.0, "calibrated": 0.5}
    paths = {"portrait": "/etc/passwd", "chip": "../../../etc/shadow"}
    return {
        "schema": "facesieve.identity/1",
        "identity": number,
        "tracks": [{**place, "track": track, **seen} for track in tracks],
        "shots": [{**place, "track": track, **shot, **paths} for track in tracks],
        "merged_from": [],
        "first_pts_s": 0,
        "last_pts_s": 1,
    }


def test_boxes_hold_each_detection_of_a_track_once_and_the_same_in_each_run(
    run: Path, tmp_path: Path
) -> None:
    counts = Counter(track for _, track, _, _ in seen(run))
    lines = [json.loads(line) for line in (run / "tracks.jsonl").read_text().splitlines()]
    assert counts == {line["track"]: line["frames_seen"] for line in lines}
    again = make_run(tmp_path / "again")
    assert (again / BOXES).read_bytes() == (run / BOXES).read_bytes()


def test_mot_lines_read_back_as_the_boxes_that_were_tracked(run: Path, tmp_path: Path) -> None:
    done = export(run, "mot", tmp_path / "mot")
    (name,) = done.files
    table = np.loadtxt(tmp_path / "mot" / name, delimiter=",")  # as MOTChallenge's own readers do
    assert table.shape[1] == 10
    assert (table[:, 7:] == -1).all()
    wanted = sorted(seen(run), key=lambda one: one[:2])
    assert len(table) == len(wanted) > FRAMES
    for row, (frame, track, box, score) in zip(table, wanted, strict=True):
        assert (row[0], row[1]) == (frame + 1, track)  # frames count from 1
        np.testing.assert_allclose(row[2:4], box[:2] + 1, atol=0.0051)  # so do pixels
        np.testing.assert_allclose(row[4:6], box[2:] - box[:2], atol=0.0051)
        assert row[6] == pytest.approx(score, abs=1e-4)
    info = (tmp_path / "mot" / Path(name).stem / "seqinfo.ini").read_text()
    assert "seqLength=30\nframeRate=25\nimWidth=320\nimHeight=240\n" in info
    assert "film\n.mp4" not in info


def test_coco_keeps_to_the_published_format(run: Path, tmp_path: Path) -> None:
    (name,) = export(run, "coco", tmp_path / "coco").files
    whole = json.loads((tmp_path / "coco" / name).read_text())
    assert whole.keys() == {"info", "licenses", "categories", "images", "annotations"}
    (category,) = whole["categories"]
    assert len(category["keypoints"]) == 5
    images = {image["id"]: image for image in whole["images"]}
    assert len(images) == len(whole["images"]) == FRAMES
    assert all((image["width"], image["height"]) == (WIDTH, HEIGHT) for image in images.values())
    assert [a["id"] for a in whole["annotations"]] == list(range(1, len(whole["annotations"]) + 1))
    boxes = {(frame, track): box for frame, track, box, _ in seen(run)}
    inside = 0
    for annotation in whole["annotations"]:
        assert annotation["image_id"] in images
        assert (annotation["category_id"], annotation["iscrowd"]) == (1, 0)
        x, y, w, h = annotation["bbox"]
        assert 0 <= x < x + w <= WIDTH + 0.01
        assert 0 <= y < y + h <= HEIGHT + 0.01
        assert annotation["area"] == pytest.approx(w * h, abs=0.01)
        box = boxes[annotation["image_id"], annotation["track_id"]]
        np.testing.assert_allclose([x, y], box[:2], atol=0.01)
        points = np.array(annotation["keypoints"]).reshape(5, 3)
        assert annotation["num_keypoints"] == (points[:, 2] == 2).sum()
        assert (points[points[:, 2] == 0] == 0).all()
        inside += annotation["num_keypoints"] == 5
    gone = [key for key, box in boxes.items() if box[0] >= WIDTH]
    assert gone  # the walker leaves the picture; what has no pixel in it is no annotation
    assert len(whole["annotations"]) == len(boxes) - len(gone)
    assert 0 < inside < len(whole["annotations"])


def test_coco_is_read_by_its_own_tool(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    (name,) = export(run, "coco", tmp_path / "coco").files
    read = coco.COCO(str(tmp_path / "coco" / name))
    first = read.loadAnns(read.getAnnIds(imgIds=[0]))
    assert {annotation["track_id"] for annotation in first} == {1, 2}
    assert read.loadCats([1])[0]["name"] == "face"


@pytest.mark.parametrize("form", ["coco", "mot"])
def test_without_boxes_the_kept_shots_can_still_be_had(tmp_path: Path, form: str) -> None:
    run = make_run(tmp_path / "film", boxes=False)
    with pytest.raises(SourceMissing, match=r"--boxes.*--kept-only"):
        export(run, form)  # type: ignore[arg-type]
    assert not (run / f"export-{form}").exists()
    done = export(run, form, kept_only=True)  # type: ignore[arg-type]
    shots = (run / "shots.jsonl").read_text().splitlines()
    assert list(done.files.values()) == [len(shots)]


def test_tables_hold_every_shot_and_track(run: Path, tmp_path: Path) -> None:
    done = export(run, "csv", tmp_path / "csv")
    shots, tracks = rows_of(tmp_path / "csv" / "shots.csv"), rows_of(tmp_path / "csv" / "tracks.csv")
    lines = [json.loads(line) for line in (run / "shots.jsonl").read_text().splitlines()]
    assert done.files == {"shots.csv": len(lines), "tracks.csv": 2}
    for row, line in zip(shots, lines, strict=True):
        assert (int(row["track"]), int(row["rank"])) == (line["track"], line["rank"])
        assert [float(row[k]) for k in ("x0", "y0", "x1", "y1")] == line["box"]
        assert float(row["score"]) == line["score"]
        assert float(row["factor_=evil"]) == 0.5
        assert (run / row["chip"]).is_file()
        assert (run / row["portrait"]).is_file()
        assert row["source"] == "'=film\n.mp4"  # no formula for a spreadsheet
    for row in tracks:
        rejected = sum(int(value or 0) for name, value in row.items() if name.startswith("rejected_"))
        assert int(row["frames_seen"]) == int(row["kept"]) + rejected
    assert "embedding" not in shots[0]


def test_parquet_holds_what_csv_holds(run: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(run, "csv", tmp_path / "csv")
    export(run, "parquet", tmp_path / "parquet", embeddings=True)
    for name in ("shots", "tracks"):
        table = parquet.read_table(tmp_path / "parquet" / f"{name}.parquet").to_pylist()
        for row, text in zip(table, rows_of(tmp_path / "csv" / f"{name}.csv"), strict=True):
            for key, value in text.items():
                mine = row[key]
                assert value.removeprefix("'") == ("" if mine is None else str(mine)), key
    assert len(parquet.read_table(tmp_path / "parquet" / "shots.parquet")["embedding"][0]) == 4
    export(run, "parquet", tmp_path / "parquet", overwrite=True)
    assert "embedding" not in parquet.read_schema(tmp_path / "parquet" / "shots.parquet").names


def test_without_pyarrow_the_extra_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(EngineUnavailable, match=r"facesieve\[parquet\]"):
        export(run, "parquet", tmp_path / "parquet")
    assert not (tmp_path / "parquet").exists()


def test_a_folder_a_track_with_its_shots_best_first(run: Path, tmp_path: Path) -> None:
    export(run, "folder", tmp_path / "out")
    lines = [json.loads(line) for line in (run / "shots.jsonl").read_text().splitlines()]
    index = rows_of(tmp_path / "out" / "index.csv")
    assert len(index) == 2 * len(lines)
    for row in index:
        (line,) = (x for x in lines if (x["track"], x["rank"]) == (int(row["track"]), int(row["rank"])))
        beside = line["chip"] if row["file"].endswith(".png") else line["portrait"]
        assert (tmp_path / "out" / row["file"]).read_bytes() == (run / beside).read_bytes()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["index.csv", "track-0001", "track-0002"]


def test_identities_join_tracks_and_hostile_lines_name_no_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "film")
    identify(run, [identity(3, [1, 2]), identity(4, [99]), identity(5, [1], folder="../../etc")])
    out = tmp_path / "out"
    export(run, "folder", out)
    assert sorted(p.name for p in out.iterdir()) == ["identity-0003", "index.csv"]
    names = sorted(p.name for p in (out / "identity-0003").iterdir())
    assert names == ["01.jpg", "01_chip.png", "02.jpg", "02_chip.png"]
    export(run, "csv", tmp_path / "csv")
    who = rows_of(tmp_path / "csv" / "identities.csv")
    assert [(row["identity"], row["track"]) for row in who] == [("3", "1"), ("3", "2")]
    assert {row["identity"] for row in rows_of(tmp_path / "csv" / "shots.csv")} == {"3"}
    (coco,) = export(run, "coco", tmp_path / "coco").files
    annotations = json.loads((tmp_path / "coco" / coco).read_text())["annotations"]
    assert {annotation["identity"] for annotation in annotations} == {3}


def test_several_sources_give_a_file_each(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / "all" / name)
    assert sorted(export(tmp_path / "all", "mot").files) == ["a.txt", "b.txt"]
    done = export(tmp_path / "all", "csv", tmp_path / "csv")
    shots = rows_of(tmp_path / "csv" / "shots.csv")
    assert Counter(row["folder"] for row in shots) == {"a": len(shots) // 2, "b": len(shots) // 2}
    assert (tmp_path / "all" / shots[-1]["chip"]).is_file()
    assert done.files["tracks.csv"] == 4
    names = sorted(export(tmp_path / "all", "folder").files)
    assert names == [f"source-{s:02d}-track-{t:04d}" for s in (1, 2) for t in (1, 2)]


def test_pictures_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "film")
    (run / "shots/1/1.jpg").unlink()
    (run / "shots/1/2.jpg").write_text("<script>")
    secret = tmp_path / "secret.png"
    cv2.imwrite(str(secret), np.zeros((4, 4, 3), np.uint8))
    (run / "shots/2/1_chip.png").unlink()
    (run / "shots/2/1_chip.png").symlink_to(secret)
    done = export(run, "folder", tmp_path / "out")
    reasons = {unused.file: unused.reason for unused in done.unused}
    assert reasons.keys() == {"shots/1/1.jpg", "shots/1/2.jpg", "shots/2/1_chip.png"}
    assert "No such file" in reasons["shots/1/1.jpg"]
    assert "JPG" in reasons["shots/1/2.jpg"]
    assert "leads out" in reasons["shots/2/1_chip.png"]
    copied = [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".jpg", ".png")]
    assert all(p.read_bytes() != secret.read_bytes() for p in copied)


def test_an_earlier_export_is_replaced_only_when_asked(run: Path, tmp_path: Path) -> None:
    export(run, "folder", tmp_path)
    stale, mine = tmp_path / "track-0001" / "77.jpg", tmp_path / "track-0001" / "notes.txt"
    stale.write_bytes(b"\xff\xd8")
    mine.write_text("mine")
    with pytest.raises(OutputExists, match="not empty"):
        export(run, "folder", tmp_path)
    export(run, "folder", tmp_path, overwrite=True)
    assert not stale.exists()
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("form", ["csv", "parquet", "coco", "mot", "folder"])
def test_a_run_that_saw_nobody_exports_nobody(tmp_path: Path, form: str) -> None:
    with FolderSink(tmp_path / "run") as sink:
        BoxFile(tmp_path / "run").close()
        sink.finish({"source": {"name": "empty"}, "counts": {"frames": 3}})
    if form == "parquet":
        pytest.importorskip("pyarrow")
    done = export(tmp_path / "run", form)  # type: ignore[arg-type]
    assert not done.unused
    assert not any(done.files.values())
    assert all(path.exists() for path in (done.out, *(done.out / name for name in done.files)))


def test_the_command_says_what_it_wrote(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["facesieve", "export", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    assert call(str(run), "--format", "mot", "--out", str(tmp_path / "mot")) == 0
    assert capsys.readouterr().out.strip().endswith(str(sum(1 for _ in seen(run))))
    assert call(str(run), "--format", "mot", "--out", str(tmp_path / "mot")) == OutputExists.exit_code
    assert call(str(tmp_path), "--format", "csv") == SourceMissing.exit_code
    assert capsys.readouterr().err.count("error: ") == 2
    assert (run / BOXES).is_file()
